//! Removes pods that nobody else will: of nodes that are gone, that ended long ago, or that were deleted before
//! they were scheduled.
//!
//! Upstream counterpart: `pod-garbage-collector-controller`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Event, Informer, ObjectKey, Rest, nodes,
    rest::{self, DeleteOptions},
};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    node_taints, pods,
};

const NAME: &str = "pod-garbage-collector-controller";
/// Ended pods that are kept for people to look at (upstream's default).
const TERMINATED_KEPT: usize = 12_500;
/// A node must have been gone for this long (upstream's value): it may be registering again.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Everything is looked at this often without an event. It is a pass over memory.
const SWEEP: Duration = Duration::from_secs(60);

/// The controller; there is one key for the whole cluster.
pub struct PodGarbageCollector {
    context: Context,
    rest: Rest,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    // Nodes that pods name and that do not exist, since when.
    missing: Mutex<HashMap<String, Instant>>,
}

impl PodGarbageCollector {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            pods: context.pods(),
            nodes: context.nodes(),
            missing: Mutex::default(),
        }
    }

    /// Updates how long nodes have been missing; returns those gone for good.
    fn gone_nodes(&self, pods: &[Arc<Pod>]) -> Vec<String> {
        let named = pods.iter().map(|pod| pods::node_name(pod)).filter(|name| !name.is_empty());
        let absent: Vec<&str> = named.filter(|name| self.nodes.find("", name).is_none()).collect();
        let mut missing = self.missing.lock();
        missing.retain(|name, _| absent.contains(&name.as_str()));
        for name in absent {
            if !missing.contains_key(name) {
                missing.insert(name.to_owned(), Instant::now());
            }
        }
        missing
            .iter()
            .filter(|(_, since)| since.elapsed() >= QUARANTINE)
            .map(|(name, _)| name.clone())
            .collect()
    }

    async fn remove(&self, removal: &Removal) -> Result<(), ReconcileError> {
        let pod = &removal.pod;
        let key = ObjectKey::of(&**pod);
        if removal.disrupted && !pods::is_terminal(pod) {
            self.mark_disrupted(&key, pod, removal.reason, &removal.message).await?;
        }
        tracing::info!(pod = %key, reason = removal.message, "deleting");
        let options = DeleteOptions::uid(pod.metadata.uid.clone().unwrap_or_default()).grace(0);
        match self.rest.delete::<Pod>(&key, &options).await {
            Err(error) if rest::is_conflict(&error) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Owners must see a pod that failed, not one that vanished: their retry policies depend on it.
    async fn mark_disrupted(
        &self,
        key: &ObjectKey,
        pod: &Pod,
        reason: &str,
        message: &str,
    ) -> Result<(), ReconcileError> {
        let now = self.context.now();
        let uid = pod.metadata.uid.clone();
        self.rest
            .update::<Pod>(key, "status", |fresh| {
                if fresh.metadata.uid != uid {
                    return false;
                }
                let status = fresh.status.get_or_insert_default();
                status.phase = Some("Failed".into());
                let condition = PodCondition {
                    type_: "DisruptionTarget".into(),
                    status: "True".into(),
                    reason: Some(reason.to_owned()),
                    message: Some(message.to_owned()),
                    ..PodCondition::default()
                };
                pods::set_condition(status, condition, now);
                true
            })
            .await?;
        Ok(())
    }
}

/// A pod to remove, and why.
#[derive(Debug, PartialEq)]
struct Removal {
    pod: Arc<Pod>,
    reason: &'static str,
    message: String,
    disrupted: bool,
}

/// Decides which pods go. Pure.
fn plan(
    pods: &[Arc<Pod>],
    gone_nodes: &[String],
    out_of_service: impl Fn(&str) -> bool,
    kept: usize,
) -> Vec<Removal> {
    let mut removals = Vec::new();
    let mut ended: Vec<&Arc<Pod>> = pods.iter().filter(|pod| pods::is_terminal(pod)).collect();
    ended.sort_by_key(|pod| {
        // Those that were evicted say least; then the oldest go first.
        let evicted = pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
        (!evicted, pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
    });
    for pod in ended.iter().take(ended.len().saturating_sub(kept)) {
        let message = "PodGC: too many ended pods".to_owned();
        removals.push(Removal { pod: (*pod).clone(), reason: "Terminated", message, disrupted: false });
    }
    for pod in pods {
        let node = pods::node_name(pod);
        if pods::is_terminating(pod) && node.is_empty() {
            let message = "PodGC: deleted before it was scheduled".to_owned();
            removals.push(Removal { pod: pod.clone(), reason: "Unscheduled", message, disrupted: false });
        } else if gone_nodes.iter().any(|gone| gone == node) {
            let message = "PodGC: node no longer exists".to_owned();
            removals.push(Removal { pod: pod.clone(), reason: "DeletionByPodGC", message, disrupted: true });
        } else if pods::is_terminating(pod) && out_of_service(node) {
            let message = "PodGC: node is out of service".to_owned();
            removals.push(Removal { pod: pod.clone(), reason: "DeletionByPodGC", message, disrupted: true });
        }
    }
    removals
}

#[async_trait]
impl Controller for PodGarbageCollector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.singleton();
        watches.mapped(&self.pods, |event, keys| {
            if let Event::Applied(pod, _) = event
                && pods::is_terminating(pod)
                && pods::node_name(pod).is_empty()
            {
                keys.add(ObjectKey::default());
            }
        });
        watches.mapped(&self.nodes, |event, keys| {
            if matches!(event, Event::Deleted(_)) {
                keys.add(ObjectKey::default());
                keys.add_after(ObjectKey::default(), QUARANTINE + Duration::from_secs(1));
            }
        });
    }

    fn workers(&self) -> usize {
        1
    }

    async fn reconcile(&self, _key: &ObjectKey) -> Result<Action, ReconcileError> {
        let pods = self.pods.list();
        let mut gone = Vec::new();
        for name in self.gone_nodes(&pods) {
            // The cache may have missed the node; the API server has not.
            if self.rest.get::<Node>(&ObjectKey::cluster(name.clone())).await?.is_none() {
                gone.push(name);
            }
        }
        let out_of_service = |name: &str| {
            self.nodes.find("", name).is_some_and(|node| {
                !nodes::is_ready(&node) && node_taints::has(&node, node_taints::OUT_OF_SERVICE)
            })
        };
        let mut failure = None;
        for removal in plan(&pods, &gone, out_of_service, TERMINATED_KEPT) {
            // One pod that cannot be removed must not hold up the others.
            if let Err(error) = self.remove(&removal).await {
                failure = Some(error);
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Action::RequeueAfter(SWEEP)),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn only_pods_that_nobody_else_removes_go() {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let healthy = pod("healthy", "n1", Some(10), now);
        let lost = pod("lost", "ghost", Some(10), now);
        let mut unscheduled = pod("unscheduled", "", None, now);
        unscheduled.metadata.deletion_timestamp = Some(Time(now));
        let mut leaving = pod("leaving", "n1", Some(10), now);
        leaving.metadata.deletion_timestamp = Some(Time(now));
        let mut stuck = pod("stuck", "broken", Some(10), now);
        stuck.metadata.deletion_timestamp = Some(Time(now));
        let all: Vec<_> = [healthy, lost, unscheduled, leaving, stuck].into_iter().map(Arc::new).collect();
        let removals = plan(&all, &["ghost".to_owned()], |name| name == "broken", 10);
        let mut found: Vec<_> = removals
            .iter()
            .map(|removal| (removal.pod.metadata.name.clone().unwrap(), removal.disrupted))
            .collect();
        found.sort();
        assert_eq!(found, [("lost".into(), true), ("stuck".into(), true), ("unscheduled".into(), false)]);
    }

    #[test]
    fn ended_pods_beyond_the_limit_go_oldest_first() {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let all: Vec<_> = (0..5)
            .map(|n| {
                let mut pod = pod(&format!("p{n}"), "n1", None, now);
                pod.status.as_mut().unwrap().phase = Some("Succeeded".into());
                pod.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(100 - n).unwrap()));
                Arc::new(pod)
            })
            .collect();
        let removals = plan(&all, &[], |_| false, 3);
        let names: Vec<_> =
            removals.iter().map(|removal| removal.pod.metadata.name.clone().unwrap()).collect();
        assert_eq!(names, ["p4", "p3"]);
    }
}
