//! Starts and stops the probe workers of pods.

use super::metrics::ProbeMetrics;
use super::outcome::{ProbeKind, Results};
use super::worker::Worker;
use crate::events::Events;
use crate::pod;
use crate::status::StatusManager;
use cri::Runtime;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Tells a pod's worker that a verdict changed, or asks it something; the argument is the pod's uid.
pub type PodCallback<T> = Box<dyn Fn(&str) -> T + Send + Sync>;

/// What all workers share.
pub(super) struct Shared {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) status: StatusManager,
    pub(super) results: Arc<Results>,
    pub(super) events: Events,
    pub(super) changed: PodCallback<()>,
    pub(super) is_stopping: PodCallback<bool>,
    pub(super) now: fn() -> jiff::Timestamp,
    pub(super) metrics: ProbeMetrics,
    pods: Mutex<HashMap<String, Workers>>,
}

/// The workers of one pod, by container and kind.
type Workers = BTreeMap<(String, ProbeKind), Handle>;

struct Handle {
    wake: Arc<Notify>,
    cancel: CancellationToken,
}

impl Shared {
    /// Lets the workers of a pod look at its status again.
    pub(super) fn wake_probes(&self, uid: &str) {
        for handle in self.pods.lock().get(uid).into_iter().flat_map(BTreeMap::values) {
            handle.wake.notify_one();
        }
    }
}

/// The node's probes.
#[derive(Clone)]
pub struct ProbeManager {
    shared: Arc<Shared>,
}

impl ProbeManager {
    /// A manager without pods. `changed` is called with the uid of a pod one of whose verdicts changed,
    /// `is_stopping` says whether a pod is being stopped.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        status: StatusManager,
        results: Arc<Results>,
        events: Events,
        changed: PodCallback<()>,
        is_stopping: PodCallback<bool>,
    ) -> Self {
        let pods = Mutex::default();
        let now = jiff::Timestamp::now;
        let metrics = ProbeMetrics::default();
        let shared = Shared { runtime, status, results, events, changed, is_stopping, now, metrics, pods };
        Self { shared: Arc::new(shared) }
    }

    /// Starts the workers of a pod that are not there yet.
    pub fn add_pod(&self, pod: &Arc<Pod>) {
        let mut pods = self.shared.pods.lock();
        let workers = pods.entry(pod::uid(pod).to_owned()).or_default();
        let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
        for container in pod::containers(pod).iter().chain(sidecars) {
            for (kind, probe) in probes(container) {
                let handle = workers.entry((container.name.clone(), kind));
                handle.or_insert_with(|| self.start(pod, container, kind, probe));
            }
        }
        if workers.is_empty() {
            pods.remove(pod::uid(pod));
        }
    }

    /// Lets a pod's workers see its new status.
    pub fn status_changed(&self, uid: &str) {
        self.shared.wake_probes(uid);
    }

    /// Ends the probes that could kill, when the pod begins to stop; readiness goes on.
    pub fn stop_liveness_and_startup(&self, uid: &str) {
        if let Some(workers) = self.shared.pods.lock().get_mut(uid) {
            workers.retain(|(_, kind), handle| {
                let keep = *kind == ProbeKind::Readiness;
                if !keep {
                    handle.cancel.cancel();
                }
                keep
            });
        }
    }

    /// Ends all of a pod's probes.
    pub fn remove_pod(&self, uid: &str) {
        for handle in self.shared.pods.lock().remove(uid).into_iter().flat_map(BTreeMap::into_values) {
            handle.cancel.cancel();
        }
    }

    /// What the probes came to.
    pub fn metrics(&self) -> &ProbeMetrics {
        &self.shared.metrics
    }

    fn start(&self, pod: &Arc<Pod>, container: &Container, kind: ProbeKind, probe: &Probe) -> Handle {
        let handle = Handle { wake: Arc::default(), cancel: CancellationToken::new() };
        let worker = Worker {
            shared: self.shared.clone(),
            pod: pod.clone(),
            container: container.clone(),
            kind,
            probe: probe.clone(),
            wake: handle.wake.clone(),
            cancel: handle.cancel.clone(),
        };
        tokio::spawn(worker.run());
        handle
    }
}

fn probes(container: &Container) -> impl Iterator<Item = (ProbeKind, &Probe)> {
    [
        (ProbeKind::Startup, container.startup_probe.as_ref()),
        (ProbeKind::Liveness, container.liveness_probe.as_ref()),
        (ProbeKind::Readiness, container.readiness_probe.as_ref()),
    ]
    .into_iter()
    .filter_map(|(kind, probe)| Some((kind, probe?)))
}
