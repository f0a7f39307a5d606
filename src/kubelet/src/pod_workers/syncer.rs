//! What a pod's worker does: keeping it running. Its end is in `syncer_end`.

use super::state::AfterSync;
use crate::admission::{self, NodeView};
use crate::cm::{CgroupError, Cgroups};
use crate::events::Events;
use crate::fields::FieldContext;
use crate::images::Keyring;
use crate::objects::{ObjectError, Objects};
use crate::pod;
use crate::prober::{Outcome, ProbeKind, ProbeManager, Results};
use crate::runtime_manager::{ObservedPod, RuntimeManager, SyncInputs, known_restarts};
use crate::runtime_state::RuntimeState;
use crate::status::{Override, Phase, StatusInputs, StatusManager, WaitingReason, failed_status, generate};
use crate::volume_manager::{PodVolumes, VolumeManager};
use client::rest::Rest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// After the runtime did not answer.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);
/// While the network is not ready: only a net, the news of its being ready comes at once.
const NETWORK_RETRY: Duration = Duration::from_secs(10);
/// While a pod uses more memory than it is to have: it gives back when it pleases.
const RESIZE_RETRY: Duration = Duration::from_secs(10);
/// The first and the longest pause after a volume could not be set up (upstream's values).
const FIRST_VOLUME_RETRY: Duration = Duration::from_millis(500);
const LAST_VOLUME_RETRY: Duration = Duration::from_secs(122);
/// The first and the longest pause after a sandbox could not be made; the latter is a stock kubelet's after any failure.
const FIRST_SANDBOX_RETRY: Duration = Duration::from_millis(250);
const LAST_SANDBOX_RETRY: Duration = Duration::from_secs(10);

/// The pause after another failure: twice the one before.
fn longer(before: Option<Duration>, first: Duration, last: Duration) -> Duration {
    before.map_or(first, |before| (before * 2).min(last))
}

/// The parts that pods are kept running with.
pub struct SyncerParts {
    /// Sandboxes and containers.
    pub runtime: Arc<RuntimeManager>,
    /// Whether the runtime is up.
    pub runtime_state: Arc<RuntimeState>,
    /// Volumes.
    pub volumes: Arc<VolumeManager>,
    /// Secrets, for pulls.
    pub secrets: Objects<Secret>,
    /// Statuses.
    pub status: StatusManager,
    /// Probes.
    pub probes: ProbeManager,
    /// What they found.
    pub results: Arc<Results>,
    /// Events.
    pub events: Events,
    /// Cgroups.
    pub cgroups: Cgroups,
    /// The most processes of a pod.
    pub pids_limit: Option<i64>,
    /// The node for admission.
    pub node: Arc<RwLock<NodeView>>,
    /// The API server.
    pub rest: Rest,
    /// The pods that are to be kept running.
    pub active_pods: Box<dyn Fn() -> Vec<Arc<Pod>> + Send + Sync>,
}

/// Does the work of all pods' workers. Cloning shares it.
#[derive(Clone)]
pub struct PodSyncer {
    pub(super) parts: Arc<SyncerParts>,
    pub(super) memory: Arc<Mutex<HashMap<String, PodMemory>>>,
    /// One pod at a time: what one takes the next must see.
    admitting: Arc<tokio::sync::Mutex<()>>,
}

/// What is remembered of a pod between syncs; all of it can be found out again after a restart.
#[derive(Debug, Default)]
pub(super) struct PodMemory {
    admitted: bool,
    waiting: BTreeMap<String, WaitingReason>,
    volumes: Option<PodVolumes>,
    volume_retry: Option<Duration>,
    /// How long it waited for another attempt at a sandbox; None once there is one.
    sandbox_retry: Option<Duration>,
    /// The generation whose limits its cgroup has.
    cgroup_generation: Option<i64>,
}

/// What came of one sync.
#[derive(Debug)]
pub struct SyncOutcome {
    /// What it means for the pod.
    pub after: AfterSync,
    /// Sync again at once: something was done and more may have become possible.
    pub again: bool,
    /// Sync again after this long.
    pub retry_after: Option<Duration>,
}

impl SyncOutcome {
    fn alive(retry_after: Option<Duration>) -> Self {
        Self { after: AfterSync::Alive, again: false, retry_after }
    }

    fn end(after: AfterSync) -> Self {
        Self { after, again: false, retry_after: None }
    }
}

impl PodSyncer {
    /// A syncer of these parts.
    pub fn new(parts: SyncerParts) -> Self {
        Self { parts: Arc::new(parts), memory: Arc::default(), admitting: Arc::default() }
    }

    /// The parts.
    pub fn parts(&self) -> &SyncerParts {
        &self.parts
    }

    /// Takes note of a pod's version before its worker does.
    pub fn pod_seen(&self, pod: &Pod) {
        self.parts.status.observe(pod);
    }

    /// Brings one pod closer to its spec.
    ///
    /// # Cancel safety
    /// Not to be dropped but at the end of the process; `cancel` ends its long waits.
    pub(super) async fn sync(&self, pod: &Arc<Pod>, cancel: &CancellationToken) -> SyncOutcome {
        let parts = &self.parts;
        let uid = pod::uid(pod);
        if let Err(verdict) = self.admit(pod).await {
            return SyncOutcome::end(AfterSync::Verdict(verdict));
        }
        let observed = match parts.runtime.observe(uid).await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::debug!(pod = pod::describe(pod), %error, "asking the runtime for the pod failed");
                return SyncOutcome::alive(Some(RUNTIME_RETRY));
            }
        };
        let phase = self.publish(pod, &observed, None, false);
        if phase.is_terminal() {
            return SyncOutcome::end(AfterSync::Finished);
        }
        let now = Timestamp::now();
        let deadline = match self.deadline(pod, now) {
            Some(left) if left.is_zero() => {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                parts.events.pod(pod, false, "DeadlineExceeded", &message);
                return SyncOutcome::end(AfterSync::Verdict(Override {
                    reason: "DeadlineExceeded".to_owned(),
                    message,
                }));
            }
            left => left,
        };
        let mut outcome = self.run(pod, &observed, now, cancel).await;
        if let Some(deadline) = deadline {
            outcome.retry_after = Some(outcome.retry_after.map_or(deadline, |retry| retry.min(deadline)));
        }
        outcome
    }

    /// Cgroup, volumes, secrets, then sandbox and containers.
    async fn run(
        &self,
        pod: &Arc<Pod>,
        observed: &ObservedPod,
        now: Timestamp,
        cancel: &CancellationToken,
    ) -> SyncOutcome {
        let parts = &self.parts;
        let uid = pod::uid(pod);
        let condition = parts.runtime_state.get();
        let needs_network = !pod::host_network(pod) && observed.active_sandbox().is_none();
        if let Some(reason) = condition.network.as_ref().filter(|_| needs_network) {
            if !condition.is_unknown() {
                parts.events.pod(pod, true, "NetworkNotReady", &format!("network is not ready: {reason}"));
            }
            // Whoever notices that it is ready wakes all pods.
            return SyncOutcome::alive(Some(NETWORK_RETRY));
        }
        let resize_error = match self.limit(pod) {
            Ok(()) => None,
            Err(error @ CgroupError::MemoryInUse { .. }) => Some(error.to_string()),
            Err(error) => {
                let message = format!("unable to ensure pod container exists: {error}");
                parts.events.pod(pod, true, "FailedCreatePodContainer", &message);
                return SyncOutcome::alive(Some(RUNTIME_RETRY));
            }
        };
        if let Some(error) = &resize_error {
            parts.events.pod(pod, true, "ResizeError", error);
        }
        let volumes = match self.set_up_volumes(pod, now).await {
            Ok(volumes) => volumes,
            Err(retry) => return SyncOutcome::alive(Some(retry)),
        };
        let keyring = self.keyring(pod).await;
        if cancel.is_cancelled() {
            return SyncOutcome::alive(None);
        }
        parts.probes.add_pod(pod);
        let restarts = parts.status.get(uid).map(|status| {
            let with_status = Pod { status: Some((*status).clone()), ..Pod::default() };
            known_restarts(&with_status)
        });
        let inputs = SyncInputs {
            pod,
            observed,
            volumes: &volumes,
            keyring: &keyring,
            known_restarts: &restarts.unwrap_or_default(),
            may_resize: resize_error.is_none(),
            cancel,
        };
        let mut result = parts.runtime.sync_pod(&inputs).await;
        let waiting_changed = {
            let mut memory = self.memory.lock();
            let memory = memory.entry(uid.to_owned()).or_default();
            let changed = memory.waiting != result.waiting;
            memory.waiting = result.waiting;
            let pause = longer(memory.sandbox_retry, FIRST_SANDBOX_RETRY, LAST_SANDBOX_RETRY);
            memory.sandbox_retry = result.lacks_sandbox.then_some(pause);
            result.retry_after = memory.sandbox_retry.or(result.retry_after);
            changed
        };
        if result.acted || result.made {
            match parts.runtime.observe(uid).await {
                Ok(observed) => drop(self.publish(pod, &observed, None, false)),
                Err(error) => {
                    tracing::debug!(pod = pod::describe(pod), %error, "asking the runtime for the pod failed")
                }
            }
        } else if waiting_changed {
            self.publish(pod, observed, None, false);
        }
        let renew =
            volumes.renew_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(RUNTIME_RETRY));
        let resize = (resize_error.is_some() || result.resize_failed).then_some(RESIZE_RETRY);
        let retry_after = [result.retry_after, renew, resize].into_iter().flatten().min();
        SyncOutcome { after: AfterSync::Alive, again: result.acted, retry_after }
    }

    /// Computes and posts the pod's status; returns its phase.
    pub(super) fn publish(
        &self,
        pod: &Pod,
        observed: &ObservedPod,
        verdict: Option<&Override>,
        stopped: bool,
    ) -> Phase {
        let parts = &self.parts;
        let uid = pod::uid(pod);
        let previous = parts.status.get(uid).unwrap_or_else(|| Arc::new(pod::status(pod).clone()));
        let waiting = self.memory.lock().get(uid).map(|memory| memory.waiting.clone()).unwrap_or_default();
        let results = parts.results.clone();
        let probes = move |id: &str, kind: ProbeKind| -> Option<Outcome> { results.get(id, kind) };
        let host_ips = parts.runtime.settings().host_ips.read().clone();
        let identity = parts.runtime_state.identity();
        let status = generate(&StatusInputs {
            pod,
            previous: &previous,
            observed,
            waiting: &waiting,
            probes: &probes,
            verdict,
            stopped_for_good: stopped,
            runtime_name: if identity.name.is_empty() { "containerd" } else { &identity.name },
            host_ips: &host_ips,
            now: &now_in_seconds(),
        });
        let phase = match status.phase.as_deref() {
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            _ => Phase::Pending,
        };
        parts.status.set(uid, status);
        parts.probes.status_changed(uid);
        phase
    }

    /// Whether the pod got past admission, on this or an earlier run of the kubelet.
    pub(super) fn is_admitted(&self, uid: &str) -> bool {
        self.memory.lock().get(uid).is_some_and(|memory| memory.admitted)
    }

    /// The reason that a container waits for, if any.
    pub fn waiting_reason(&self, uid: &str, container: &str) -> Option<WaitingReason> {
        self.memory.lock().get(uid)?.waiting.get(container).cloned()
    }

    async fn admit(&self, pod: &Arc<Pod>) -> Result<(), Override> {
        let uid = pod::uid(pod);
        if self.is_admitted(uid) {
            return Ok(());
        }
        let _one = self.admitting.lock().await;
        // A start time says that some run of the kubelet admitted it before.
        if pod::status(pod).start_time.is_none() {
            let admitted: Vec<Arc<Pod>> = (self.parts.active_pods)()
                .into_iter()
                .filter(|other| {
                    pod::uid(other) != uid
                        && (self.is_admitted(pod::uid(other)) || pod::status(other).start_time.is_some())
                })
                .collect();
            let node = self.parts.node.read().clone();
            if let Err(verdict) = admission::admit(pod, &admitted, &node) {
                self.parts.events.pod(pod, true, &verdict.reason, &verdict.message);
                self.parts.status.set(uid, failed_status(pod, &verdict, &now_in_seconds()));
                return Err(verdict);
            }
        }
        self.memory.lock().entry(uid.to_owned()).or_default().admitted = true;
        self.weigh();
        Ok(())
    }

    /// Gives the burstable class its weight anew.
    pub(super) fn weigh(&self) {
        let pods = (self.parts.active_pods)();
        if let Err(error) = self.parts.cgroups.weigh_burstable(pods.iter().map(AsRef::as_ref)) {
            tracing::warn!(%error, "weighing burstable pods failed");
        }
    }

    fn limit(&self, pod: &Pod) -> Result<(), CgroupError> {
        let generation = pod.metadata.generation.unwrap_or(0);
        let known = self.memory.lock().get(pod::uid(pod)).and_then(|memory| memory.cgroup_generation);
        if known == Some(generation) {
            return Ok(());
        }
        self.parts.cgroups.apply_pod(pod, self.parts.pids_limit)?;
        self.memory.lock().entry(pod::uid(pod).to_owned()).or_default().cgroup_generation = Some(generation);
        Ok(())
    }

    /// The pod's volumes, or when to try again.
    async fn set_up_volumes(&self, pod: &Arc<Pod>, now: Timestamp) -> Result<PodVolumes, Duration> {
        let uid = pod::uid(pod);
        let settings = self.parts.runtime.settings();
        let fields = FieldContext { allocatable: settings.allocatable.clone(), ..FieldContext::default() };
        let result = self.parts.volumes.set_up(pod, &fields, now).await;
        let mut memory = self.memory.lock();
        let memory = memory.entry(uid.to_owned()).or_default();
        match result {
            Ok(volumes) => {
                memory.volume_retry = None;
                memory.volumes = Some(volumes.clone());
                Ok(volumes)
            }
            Err(failure) => {
                self.parts.events.pod(pod, true, "FailedMount", &failure.to_string());
                let retry = longer(memory.volume_retry, FIRST_VOLUME_RETRY, LAST_VOLUME_RETRY);
                memory.volume_retry = Some(retry);
                // What was set up before stays usable; only its news are missing.
                match &memory.volumes {
                    Some(volumes) => {
                        let renew_at =
                            now.saturating_add(jiff::SignedDuration::try_from(retry).unwrap_or_default());
                        Ok(PodVolumes { renew_at: renew_at.ok(), ..volumes.clone() })
                    }
                    None => Err(retry),
                }
            }
        }
    }

    async fn keyring(&self, pod: &Pod) -> Keyring {
        let mut secrets = Vec::new();
        for reference in pod::spec(pod).image_pull_secrets.iter().flatten() {
            match self.parts.secrets.get(pod::uid(pod), pod::namespace(pod), &reference.name).await {
                Ok(secret) => secrets.push(secret),
                Err(ObjectError::NotFound { .. }) => {
                    let message = format!(
                        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                        reference.name
                    );
                    self.parts.events.pod(pod, true, "FailedToRetrieveImagePullSecret", &message);
                }
                Err(error) => tracing::warn!(pod = pod::describe(pod), %error, "reading pull secret failed"),
            }
        }
        Keyring::from_secrets(secrets.iter().map(AsRef::as_ref))
    }

    /// What is left of `activeDeadlineSeconds`, none without one.
    fn deadline(&self, pod: &Pod, now: Timestamp) -> Option<Duration> {
        let allowed = pod::spec(pod).active_deadline_seconds?;
        let status = self.parts.status.get(pod::uid(pod))?;
        let started = status.start_time.as_ref()?.0;
        let until = started.saturating_add(jiff::SignedDuration::from_secs(allowed)).ok()?;
        Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
    }
}

/// Now as the API writes times: in whole seconds.
fn now_in_seconds() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
