//! Deletes pods from nodes with NoExecute taints that they do not tolerate, or no longer.
//!
//! Upstream counterpart: `taint-eviction-controller`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Event, EventRecorder, EventType, Informer, ObjectKey, Rest,
    informer::index,
    rest::{self, DeleteOptions},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use parking_lot::Mutex;

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    node_taints::{self, NO_EXECUTE, Stay},
    pods,
};

const NAME: &str = "taint-eviction-controller";

/// The controller; keys are Pods.
pub struct TaintEviction {
    context: Context,
    rest: Rest,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    recorder: EventRecorder,
    // Since when pods have been on a tainted node; for taints that do not say when they were added.
    since: Mutex<HashMap<ObjectKey, Timestamp>>,
}

impl TaintEviction {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            pods: context.pods(),
            nodes: context.nodes(),
            recorder: context.recorder(NAME),
            since: Mutex::default(),
        }
    }

    async fn evict(&self, key: &ObjectKey, pod: &Pod) -> Result<(), ReconcileError> {
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.about(pod, EventType::Normal, "TaintManagerEviction", message);
        let (now, uid) = (self.context.now(), pod.metadata.uid.clone());
        self.rest
            .update::<Pod>(key, "status", |fresh| {
                if fresh.metadata.uid != uid {
                    return false;
                }
                let condition = PodCondition {
                    type_: "DisruptionTarget".into(),
                    status: "True".into(),
                    reason: Some("DeletionByTaintManager".into()),
                    message: Some("Taint manager: deleting due to NoExecute taint".into()),
                    ..PodCondition::default()
                };
                pods::set_condition(fresh.status.get_or_insert_default(), condition, now)
            })
            .await?;
        let options = DeleteOptions::uid(uid.unwrap_or_default());
        match self.rest.delete::<Pod>(key, &options).await {
            Err(error) if rest::is_conflict(&error) => Ok(()),
            result => Ok(result?),
        }
    }
}

fn is_tainted(node: &Node) -> bool {
    node_taints::taints(node).iter().any(|taint| taint.effect == NO_EXECUTE)
}

#[async_trait]
impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        let pods = self.pods.store().clone();
        watches.mapped(&self.nodes, move |event, keys| {
            let Event::Applied(new, old) = event else { return };
            let before = old.as_ref().map(|old| node_taints::taints(old)).unwrap_or_default();
            if before == node_taints::taints(new) {
                return;
            }
            let name = new.metadata.name.as_deref().unwrap_or_default();
            for pod in pods.by_index(index::NODE_NAME, name) {
                keys.add(ObjectKey::of(&*pod));
            }
        });
        let nodes = self.nodes.store().clone();
        let this = self.clone();
        watches.mapped(&self.pods, move |event, keys| {
            let pod = event.object();
            if matches!(event, Event::Deleted(_)) {
                this.since.lock().remove(&ObjectKey::of(&**pod));
            } else if nodes.find("", pods::node_name(pod)).is_some_and(|node| is_tainted(&node)) {
                keys.add(ObjectKey::of(&**pod));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pods::is_terminating(pod)) else {
            return Ok(Action::Done);
        };
        let Some(node) = self.nodes.find("", pods::node_name(&pod)).filter(|node| is_tainted(node)) else {
            self.since.lock().remove(key);
            return Ok(Action::Done);
        };
        let now = self.context.now();
        let since = *self.since.lock().entry(key.clone()).or_insert(now);
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        match node_taints::stay(tolerations, node_taints::taints(&node), since, now) {
            Stay::Forever => Ok(Action::Done),
            Stay::Over => self.evict(key, &pod).await.map(|()| Action::Done),
            Stay::Until(end) => {
                let wait = Duration::try_from(end.duration_since(now)).unwrap_or(Duration::ZERO);
                Ok(Action::RequeueAfter(wait.max(Duration::from_millis(100))))
            }
        }
    }
}
