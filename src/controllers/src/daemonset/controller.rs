//! Watching daemon sets, nodes and pods; writing pods and revisions.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Event, EventRecorder, EventType, Informer, ObjectKey, OwnWrites, Rest, Selector, informer::index,
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    placement,
    plan::{self, Observed, Plan},
};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    history, ownership,
    pod_control::PodControl,
    pods,
};

const NAME: &str = "daemonset-controller";
/// First and longest pause before a failed daemon is started again on its node (upstream's values).
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15 * 60));

/// The controller; keys are DaemonSets.
pub struct DaemonSetController {
    context: Context,
    rest: Rest,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    recorder: EventRecorder,
    control: PodControl,
    writes: OwnWrites,
    failures: Mutex<HashMap<(ObjectKey, String), Failures>>,
}

struct Failures {
    pause: Duration,
    until: Instant,
}

impl DaemonSetController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        let recorder = context.recorder(NAME);
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            sets: context.informers.get(),
            pods: context.pods(),
            nodes: context.nodes(),
            revisions: context.controller_revisions(),
            control: PodControl::new(context.rest.clone(), recorder.clone()),
            writes: OwnWrites::new(),
            recorder,
            failures: Mutex::default(),
        }
    }

    fn pod(&self, set: &DaemonSet, node: &str, hash: &str) -> Pod {
        let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let owner = ownership::controller_reference(set);
        let mut pod = pods::from_template(&template, namespace, &format!("{name}-"), owner);
        pod.metadata.labels.get_or_insert_default().insert(history::HASH.to_owned(), hash.to_owned());
        placement::pin(pod.spec.get_or_insert_default(), node);
        pod
    }

    async fn manage(
        &self,
        key: &ObjectKey,
        set: &DaemonSet,
        hash: &str,
        plan: &Plan,
    ) -> Result<(), ReconcileError> {
        for (node, pod) in &plan.ended {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if pods::phase(pod) == "Failed" {
                self.note_failure(key, node);
                let message =
                    format!("Found failed daemon pod {key}/{name} on node {node}, will try to kill it");
                self.recorder.about(set, EventType::Warning, "FailedDaemonPod", message);
            } else {
                let message =
                    format!("Found succeeded daemon pod {key}/{name} on node {node}, will try to delete it");
                self.recorder.about(set, EventType::Normal, "SucceededDaemonPod", message);
            }
        }
        let created: Vec<Pod> = plan.create.iter().map(|node| self.pod(set, node, hash)).collect();
        let create = self.control.create(set, &created).await;
        self.control.delete(set, &plan.delete).await.and(create)
    }

    fn note_failure(&self, key: &ObjectKey, node: &str) {
        let mut failures = self.failures.lock();
        let slot = (key.clone(), node.to_owned());
        let pause = failures.get(&slot).map_or(BACKOFF.0, |known| (known.pause * 2).min(BACKOFF.1));
        failures.insert(slot, Failures { pause, until: Instant::now() + pause });
    }

    /// When the first of this set's nodes may try again.
    fn retry_in(&self, key: &ObjectKey) -> Option<Duration> {
        let mut failures = self.failures.lock();
        // Long after the last failure it is forgotten.
        failures.retain(|_, known| known.until.elapsed() < BACKOFF.1);
        let mine = failures.iter().filter(|((owner, _), _)| owner == key);
        let left = mine.map(|(_, known)| known.until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero()).min()
    }

    fn is_backing_off(&self, key: &ObjectKey, node: &str) -> bool {
        let failures = self.failures.lock();
        failures.get(&(key.clone(), node.to_owned())).is_some_and(|known| known.until > Instant::now())
    }

    async fn revision(&self, set: &DaemonSet) -> Result<Arc<ControllerRevision>, ReconcileError> {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let existing = self.revisions.by_index(index::CONTROLLER_UID, uid);
        let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let data = history::data(&template)?;
        let found = history::synchronise(&self.rest, set, &existing, data, labels, collisions).await?;
        if let Some(found) = found {
            return Ok(found);
        }
        let mut next = set.clone();
        let count = &mut next.status.get_or_insert_default().collision_count;
        *count = Some(count.unwrap_or(0).saturating_add(1));
        self.writes.note(&self.rest.replace_status(&next).await?);
        Err(ReconcileError::Retry("the hash of the pod template collides with another one's".into()))
    }
}

fn limit(set: &DaemonSet) -> i32 {
    // The API's default.
    set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10)
}

#[async_trait]
impl Controller for DaemonSetController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.sets);
        watches.owned::<_, DaemonSet>(&self.revisions);
        let sets = self.sets.store().clone();
        let control = self.control.clone();
        watches.mapped(&self.pods, move |event, keys| {
            control.observe::<DaemonSet>(event);
            for state in event.states() {
                if let Some(key) = ownership::controller_key::<DaemonSet>(&state.metadata) {
                    keys.add(key);
                } else if matches!(event, Event::Applied(..))
                    && ownership::controller_of(&state.metadata).is_none()
                {
                    for set in sets.list_namespace(state.metadata.namespace.as_deref().unwrap_or_default()) {
                        let selector = Selector::new(set.spec.as_ref().map(|spec| &spec.selector));
                        if selector.matches(state.metadata.labels.as_ref()) {
                            keys.add(ObjectKey::of(&*set));
                        }
                    }
                }
            }
        });
        let sets = self.sets.store().clone();
        watches.mapped(&self.nodes, move |event, keys| {
            if let Event::Applied(new, Some(old)) = event
                && old.metadata.labels == new.metadata.labels
                && old.spec == new.spec
            {
                return;
            }
            for set in sets.list() {
                let before = event.states().last().map(|node| placement::placement(&set, node));
                let after = placement::placement(&set, event.object());
                let update = matches!(event, Event::Applied(_, Some(_)));
                if !update || before != Some(after) {
                    keys.add(ObjectKey::of(&*set));
                }
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            self.control.expectations().forget(key);
            self.writes.forget(key);
            return Ok(Action::Done);
        };
        if self.writes.is_behind(&*set) {
            return Ok(Action::Done);
        }
        let selector = Selector::new(set.spec.as_ref().map(|spec| &spec.selector));
        if selector.is_empty() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.about(&*set, EventType::Warning, "SelectingAll", message);
            return Ok(Action::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let settled = self.control.expectations().satisfied(key);
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let mut candidates = self.pods.by_index(index::CONTROLLER_UID, uid);
        candidates.extend(self.pods.by_index(ownership::ORPHANS, &key.namespace));
        let pods = ownership::claim_all(&self.rest, &*set, &selector, candidates).await?;
        let revision = self.revision(&set).await?;
        let nodes = self.nodes.list();
        let backing_off = |node: &str| self.is_backing_off(key, node);
        let observed = Observed {
            set: &set,
            nodes: &nodes,
            pods: &pods,
            hash: history::hash(&revision),
            backing_off: &backing_off,
            now: self.context.now(),
        };
        let managed = if settled {
            self.manage(key, &set, history::hash(&revision), &plan::plan(&observed)).await
        } else {
            Ok(())
        };
        let status = plan::status(&observed);
        if !set.status.as_ref().is_some_and(|old| plan::same_status(old, &status)) {
            let next = DaemonSet { status: Some(status), ..(*set).clone() };
            self.writes.note(&self.rest.replace_status(&next).await?);
        }
        managed?;
        let in_use = |revision: &ControllerRevision| {
            let hash = history::hash(revision);
            let made = |pod: &Arc<Pod>| {
                pod.metadata
                    .labels
                    .as_ref()
                    .is_some_and(|labels| labels.get(history::HASH).is_some_and(|found| found == hash))
            };
            hash == observed.hash || pods.iter().any(made)
        };
        let revisions = self.revisions.by_index(index::CONTROLLER_UID, uid);
        history::truncate(&self.rest, &revisions, in_use, limit(&set)).await?;
        let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let waits = pods.iter().filter_map(|pod| pods::available_in(pod, min_ready, observed.now));
        let next_available =
            waits.filter(|wait| !wait.is_zero()).min().map(|wait| wait + Duration::from_millis(10));
        Ok(Action::after([next_available, self.retry_in(key)].into_iter().flatten().min()))
    }
}
