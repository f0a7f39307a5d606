//! The rim: informers feed queue and cache, decisions are bound in tasks of their own.

use crate::bind_volumes;
use crate::cache::{Cache, uid};
use crate::framework::plugins::Choice;
use crate::framework::{ClusterEvent, Namespaces, Plugin, Snapshot, plugins};
use crate::nominations::Nominations;
use crate::preemption::{DISRUPTED, Preemption, World, preempt};
use crate::queue::{Queue, Taken};
use crate::schedule_one::{Decision, decide};
use crate::volumes::Volumes;
use crate::workloads::SharedWorkloads;
use client::rest::{self, DeleteOptions, Patch};
use client::{Event, EventRecorder, EventType, Informer, LeaderElection, ObjectKey, Rest, SharedInformers};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The one profile.
const SCHEDULER_NAME: &str = "default-scheduler";

/// What the scheduler needs.
#[derive(Clone)]
pub struct Config {
    /// A client as `system:kube-scheduler`.
    pub client: kube::Client,
    /// Informers shared with the rest of the process.
    pub informers: SharedInformers,
    /// Who it is among the candidates for leadership, such as the node's name and a random part.
    pub identity: String,
    /// Whether to act only while holding the lease `kube-system/kube-scheduler`.
    pub leader_elect: bool,
}

struct NamespaceLabels(Informer<Namespace>);

impl Namespaces for NamespaceLabels {
    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.0.find("", namespace)?.metadata.labels.clone()
    }
}

/// What became of a pod that fits nowhere.
#[derive(Default)]
struct Outcome {
    message: String,
    preemption: Option<Preemption>,
    /// Pods that waited for the node and do not any more.
    displaced: Vec<Arc<Pod>>,
    /// Whether it waited for a node and does not any more.
    gave_up: bool,
}

#[derive(Default)]
pub(crate) struct State {
    queue: Queue,
    pub(crate) cache: Cache,
    pub(crate) volumes: Volumes,
    nominations: Nominations,
}

pub(crate) struct Scheduler {
    pub(crate) rest: Rest,
    recorder: EventRecorder,
    plugins: Vec<Box<dyn Plugin>>,
    namespaces: NamespaceLabels,
    workloads: SharedWorkloads,
    budgets: Informer<PodDisruptionBudget>,
    pub(crate) state: Mutex<State>,
    /// For pods that wait for their volumes.
    pub(crate) volumes_changed: watch::Sender<()>,
    wake: Notify,
}

/// Schedules until `cancel`.
pub async fn run(config: Config, cancel: CancellationToken) {
    if !config.leader_elect {
        return lead(&config, cancel).await;
    }
    let election = LeaderElection::new(config.client.clone(), "kube-scheduler", config.identity.clone());
    election.run(&cancel, |term| lead(&config, term)).await;
}

async fn lead(config: &Config, cancel: CancellationToken) {
    let informers = &config.informers;
    let scheduler = Arc::new(Scheduler {
        rest: Rest::new(config.client.clone()),
        recorder: EventRecorder::new(config.client.clone(), SCHEDULER_NAME, ""),
        plugins: plugins::all(),
        namespaces: NamespaceLabels(informers.get::<Namespace>()),
        workloads: SharedWorkloads::new(informers),
        budgets: informers.get::<PodDisruptionBudget>(),
        state: Mutex::default(),
        volumes_changed: watch::Sender::new(()),
        wake: Notify::new(),
    });
    // The guards end the handlers with this term.
    let (pods, nodes) = (informers.pods(), informers.get::<Node>());
    let (claims, volumes) = (informers.get::<PersistentVolumeClaim>(), informers.get::<PersistentVolume>());
    let classes = informers.get::<StorageClass>();
    let s = scheduler.clone();
    let _nodes = nodes.add_handler(move |event| s.on_node(event));
    let s = scheduler.clone();
    let _claims = claims.add_handler(move |event| s.on_claim(event));
    let s = scheduler.clone();
    let _volumes = volumes.add_handler(move |event| s.on_volume(event));
    let s = scheduler.clone();
    let _classes = classes.add_handler(move |event| s.on_class(event));
    let (drivers, capacities) = (informers.get::<CSIDriver>(), informers.get::<CSIStorageCapacity>());
    let s = scheduler.clone();
    let _drivers = drivers.add_handler(move |event| s.on_driver(event));
    let s = scheduler.clone();
    let _capacities = capacities.add_handler(move |event| s.on_capacity(event));
    let csi_nodes = informers.get::<CSINode>();
    let s = scheduler.clone();
    let _csi_nodes = csi_nodes.add_handler(move |event| s.on_csi_node(event));
    let s = scheduler.clone();
    let _pods = pods.add_handler(move |event| s.on_pod(event));
    tokio::select! {
        () = cancel.cancelled() => return,
        // A decision over half of the nodes or pods would be wrong.
        () = async {
            nodes.synced().await;
            classes.synced().await;
            claims.synced().await;
            volumes.synced().await;
            scheduler.budgets.synced().await;
            scheduler.workloads.synced().await;
            drivers.synced().await;
            capacities.synced().await;
            csi_nodes.synced().await;
            pods.synced().await;
        } => {}
    }
    while !cancel.is_cancelled() {
        if scheduler.schedule_one() {
            // Handlers and bindings get their turn between two decisions.
            tokio::task::yield_now().await;
            continue;
        }
        let due = scheduler.state.lock().queue.next_due(Instant::now());
        tokio::select! {
            () = cancel.cancelled() => return,
            () = scheduler.wake.notified() => {}
            () = sleep_until(due) => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl State {
    /// What the pod's claims get on the node that was decided for.
    fn choose_volumes(&self, pod: &Pod, node: &str) -> Choice {
        let node = self.cache.nodes().find(|known| known.name() == node);
        node.and_then(|node| plugins::choose(pod, node, &self.volumes).ok()).unwrap_or_default()
    }
}

impl Scheduler {
    fn on_node(&self, event: &Event<Node>) {
        let mut state = self.state.lock();
        match event {
            Event::Applied(node, old) => {
                let happened = match old {
                    None => Some(ClusterEvent::NodeAdded),
                    Some(old) => changed(old, node).then_some(ClusterEvent::NodeChanged),
                };
                state.cache.apply_node(node.clone());
                if let Some(happened) = happened {
                    state.queue.happened(happened, Instant::now());
                }
            }
            Event::Deleted(node) => state.cache.remove_node(node.metadata.name.as_deref().unwrap_or("")),
        }
        drop(state);
        self.wake.notify_one();
    }

    fn on_pod(&self, event: &Event<Pod>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        match event {
            Event::Applied(pod, old) => {
                let placed =
                    pod.spec.as_ref().is_some_and(|s| s.node_name.as_deref().is_some_and(|n| !n.is_empty()));
                if ended(pod) {
                    state.queue.remove(uid(pod));
                    state.nominations.remove(uid(pod));
                    if state.cache.remove_pod(uid(pod)) {
                        state.queue.happened(ClusterEvent::PodDeleted, now);
                    }
                } else if placed {
                    state.queue.remove(uid(pod));
                    state.nominations.remove(uid(pod));
                    state.cache.apply_pod(pod.clone());
                    let labels = |p: &Pod| p.metadata.labels.clone();
                    if old.as_ref().is_none_or(|old| labels(old) != labels(pod) || old.spec != pod.spec) {
                        state.queue.happened(ClusterEvent::PodAdded, now);
                    }
                } else if is_ours(pod) {
                    state.nominations.observe(pod, old.as_deref());
                    state.queue.apply(pod.clone(), now);
                }
            }
            Event::Deleted(pod) => {
                state.queue.remove(uid(pod));
                // Those who kept off its place may have it, as if it had been there.
                let waited = state.nominations.remove(uid(pod));
                if state.cache.remove_pod(uid(pod)) || waited {
                    state.queue.happened(ClusterEvent::PodDeleted, now);
                }
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    fn on_claim(&self, event: &Event<PersistentVolumeClaim>) {
        self.on_volumes(|volumes| match event {
            Event::Applied(claim, _) => volumes.apply_claim(claim.clone()),
            Event::Deleted(claim) => volumes.remove_claim(claim),
        });
    }

    fn on_volume(&self, event: &Event<PersistentVolume>) {
        self.on_volumes(|volumes| match event {
            Event::Applied(volume, _) => volumes.apply_volume(volume.clone()),
            Event::Deleted(volume) => volumes.remove_volume(volume),
        });
    }

    fn on_class(&self, event: &Event<StorageClass>) {
        self.on_volumes(|volumes| match event {
            Event::Applied(class, _) => volumes.apply_class(class.clone()),
            Event::Deleted(class) => volumes.remove_class(class),
        });
    }

    fn on_driver(&self, event: &Event<CSIDriver>) {
        self.on_volumes(|volumes| match event {
            Event::Applied(driver, _) => volumes.apply_driver(driver.clone()),
            Event::Deleted(driver) => volumes.remove_driver(driver),
        });
    }

    fn on_capacity(&self, event: &Event<CSIStorageCapacity>) {
        self.on_volumes(|volumes| match event {
            Event::Applied(capacity, _) => volumes.apply_capacity(capacity.clone()),
            Event::Deleted(capacity) => volumes.remove_capacity(capacity),
        });
    }

    fn on_csi_node(&self, event: &Event<CSINode>) {
        self.on_volumes(|volumes| match event {
            Event::Applied(node, _) => volumes.apply_csi_node(node.clone()),
            Event::Deleted(node) => volumes.remove_csi_node(node),
        });
    }

    fn on_volumes(&self, change: impl FnOnce(&mut Volumes)) {
        let mut state = self.state.lock();
        change(&mut state.volumes);
        state.queue.happened(ClusterEvent::VolumeChanged, Instant::now());
        drop(state);
        self.volumes_changed.send_replace(());
        self.wake.notify_one();
    }

    /// Decides for the next pod; answers whether there was one.
    fn schedule_one(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        let Some(taken) = state.queue.take(Instant::now()) else { return false };
        let snapshot = Snapshot {
            cache: &state.cache,
            volumes: &state.volumes,
            namespaces: &self.namespaces,
            workloads: &self.workloads,
        };
        let tie = rand::random_range(0..usize::MAX);
        match decide(&self.plugins, &taken.pod, &snapshot, &state.nominations, tie) {
            Decision::Node(node) => {
                // Reserve: from now on the next decision counts this pod in.
                let choice = state.choose_volumes(&taken.pod, &node);
                state.volumes.assume(&choice);
                state.cache.assume(taken.pod.clone(), &node);
                drop(state);
                let scheduler = self.clone();
                tokio::spawn(async move { scheduler.bind(taken, node, choice).await });
            }
            Decision::Unschedulable(mut refusal) => {
                let budgets = self.budgets.list();
                let world = World {
                    plugins: &self.plugins,
                    snapshot,
                    nominations: &state.nominations,
                    budgets: &budgets,
                };
                let helped = preempt(&world, &taken.pod, &refusal);
                let mut outcome = Outcome { message: refusal.message, ..Outcome::default() };
                match helped {
                    Ok(preemption) => {
                        refusal.wakes.insert(ClusterEvent::PodDeleted);
                        outcome.displaced = state.nominations.below(&taken.pod, &preemption.node);
                        for other in &outcome.displaced {
                            state.nominations.remove(uid(other));
                        }
                        state.nominations.set(taken.pod.clone(), &preemption.node);
                        outcome.preemption = Some(preemption);
                    }
                    Err(unhelped) => {
                        let message = format!("{} {}", outcome.message, unhelped.message);
                        message.trim_end().clone_into(&mut outcome.message);
                        outcome.gave_up =
                            !unhelped.keeps_waiting && state.nominations.remove(uid(&taken.pod));
                    }
                }
                state.queue.unschedulable(uid(&taken.pod), refusal.wakes, Instant::now());
                drop(state);
                let scheduler = self.clone();
                tokio::spawn(async move { scheduler.report(&taken, outcome).await });
            }
        }
        true
    }

    /// Tells that a pod fits nowhere, and removes whoever is to go for it.
    async fn report(&self, taken: &Taken, outcome: Outcome) {
        let pod = &taken.pod;
        let node = match &outcome.preemption {
            Some(preemption) => Some(json!(preemption.node)),
            None => outcome.gave_up.then_some(serde_json::Value::Null),
        };
        self.tell(pod, &outcome.message, node).await;
        for other in &outcome.displaced {
            self.patch_status(other, json!({"nominatedNodeName": null})).await;
        }
        let Some(preemption) = outcome.preemption else { return };
        for victim in &preemption.victims {
            if let Err(error) = self.remove(pod, victim, &preemption.node).await {
                tracing::warn!(pod = %ObjectKey::of(victim.as_ref()), "cannot remove it for another: {error}");
                return self.put_back(taken);
            }
        }
    }

    /// Removes a pod for a more important one.
    async fn remove(&self, pod: &Pod, victim: &Pod, node: &str) -> Result<(), kube::Error> {
        let (condition, reason) = DISRUPTED;
        let status = json!({"conditions": [{
            "type": condition, "status": "True", "reason": reason,
            "message": format!("{SCHEDULER_NAME}: preempting to accommodate a higher priority pod"),
            "lastTransitionTime": apimachinery::time::rfc3339(jiff::Timestamp::now()),
        }]});
        self.patch_status(victim, status).await;
        match self.rest.delete::<Pod>(&ObjectKey::of(victim), &DeleteOptions::uid(uid(victim))).await {
            // Gone, or another with its name.
            Err(error) if rest::is_not_found(&error) || rest::is_conflict(&error) => {}
            result => result?,
        }
        let message = format!("Preempted by pod {} on node {node}", uid(pod));
        self.recorder.about(victim, EventType::Normal, "Preempted", message);
        Ok(())
    }

    async fn bind(&self, taken: Taken, node: String, choice: Choice) {
        let pod = &taken.pod;
        let key = ObjectKey::of(pod.as_ref());
        let bound = bind_volumes::bind(self, &choice, &node).await;
        self.state.lock().volumes.forget(&choice);
        if let Err(why) = bound {
            let message = format!("running PreBind plugin \"VolumeBinding\": {why}");
            return self.give_up(&taken, &node, &message);
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let path = rest::path::<Pod>(&key, "binding");
        match self.rest.raw(http::Method::POST, &path, Some(binding.to_string().into_bytes())).await {
            Ok(_) => {
                let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.recorder.about(pod.as_ref(), EventType::Normal, "Scheduled", message);
            }
            Err(error) if rest::is_not_found(&error) => self.put_back(&taken),
            Err(error) => self.give_up(&taken, &node, &format!("binding rejected: {error}")),
        }
    }

    fn give_up(&self, taken: &Taken, node: &str, message: &str) {
        self.put_back(taken);
        tracing::warn!(pod = %ObjectKey::of(taken.pod.as_ref()), node, attempt = taken.attempt, "cannot bind: {message}");
        self.recorder.about(taken.pod.as_ref(), EventType::Warning, "FailedScheduling", message);
    }

    fn put_back(&self, taken: &Taken) {
        let mut state = self.state.lock();
        state.cache.forget(uid(&taken.pod));
        state.queue.failed(uid(&taken.pod), Instant::now());
        drop(state);
        self.wake.notify_one();
    }

    /// Tells the person why a pod waits: an event, and the pod's condition where it changed.
    ///
    /// `nominated` is the node that it waits for from now on, null for none, `None` where that stays as it is.
    async fn tell(&self, pod: &Pod, message: &str, nominated: Option<serde_json::Value>) {
        self.recorder.about(pod, EventType::Warning, "FailedScheduling", message);
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
        let told = conditions.into_iter().flatten().any(|c| {
            c.type_ == "PodScheduled" && c.status == "False" && c.message.as_deref() == Some(message)
        });
        if told && nominated.is_none() {
            return;
        }
        let mut status = json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": apimachinery::time::rfc3339(jiff::Timestamp::now()),
        }]});
        if let (Some(status), Some(node)) = (status.as_object_mut(), nominated) {
            status.insert("nominatedNodeName".to_owned(), node);
        }
        self.patch_status(pod, status).await;
    }

    async fn patch_status(&self, pod: &Pod, status: serde_json::Value) {
        let patch = Patch::Strategic(json!({"metadata": {"uid": uid(pod)}, "status": status}));
        if let Err(error) = self.rest.patch::<Pod>(&ObjectKey::of(pod), "status", &patch).await
            && !rest::is_not_found(&error)
        {
            tracing::warn!(pod = %ObjectKey::of(pod), "cannot write its status: {error}");
        }
    }
}

fn ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whether a pod without a node is this scheduler's to place now.
fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.scheduler_name.as_deref().unwrap_or(SCHEDULER_NAME) == SCHEDULER_NAME
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
        && pod.metadata.deletion_timestamp.is_none()
}

/// Whether a node changed in something that a plugin looks at.
fn changed(old: &Node, new: &Node) -> bool {
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    old.metadata.labels != new.metadata.labels || old.spec != new.spec || allocatable(old) != allocatable(new)
}
