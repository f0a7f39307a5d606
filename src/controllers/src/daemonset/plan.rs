//! What a DaemonSet lacks or has too much of, and its status. Pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetStatus},
    core::v1::{Node, Pod},
};

use super::{
    placement::{Placement, node_of, placement},
    update::{self, OnNode},
};
use crate::pods;

/// Pods created or deleted in one go (upstream's burst).
const BURST: usize = 250;

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) create: Vec<String>,
    /// Pods that go.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Of those, the ones that ended by themselves: their node and pod.
    pub(super) ended: Vec<(String, Arc<Pod>)>,
}

/// What is known when a sync begins.
pub(super) struct Observed<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    /// Pods that it controls.
    pub(super) pods: &'a [Arc<Pod>],
    /// Hash of the current revision.
    pub(super) hash: &'a str,
    /// Nodes where the daemon failed so often that it has to wait.
    pub(super) backing_off: &'a (dyn Fn(&str) -> bool + Sync),
    pub(super) now: Timestamp,
}

type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

fn by_node(pods: &[Arc<Pod>]) -> ByNode {
    let mut all = ByNode::new();
    for pod in pods {
        all.entry(node_of(pod).unwrap_or_default().to_owned()).or_default().push(pod.clone());
    }
    for pods in all.values_mut() {
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    }
    all
}

fn min_ready(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

fn is_rolling(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

/// Decides which pods come and go.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let pods = by_node(observed.pods);
    let mut plan = Plan::default();
    let mut running: BTreeMap<String, OnNode> = BTreeMap::new();
    let desired = observed.nodes.iter().filter(|node| placement(observed.set, node).should_run).count();
    let limits = update::limits(observed.set, desired);
    for node in observed.nodes {
        let name = node.metadata.name.clone().unwrap_or_default();
        let here = pods.get(&name).map(Vec::as_slice).unwrap_or_default();
        let placement = placement(observed.set, node);
        manage(observed, &name, placement, here, limits.0 > 0, &mut plan);
        if placement.should_run {
            let alive: Vec<_> = here.iter().filter(|pod| !pods::is_terminal(pod)).cloned().collect();
            running.insert(name, OnNode::new(&alive, observed.hash));
        }
    }
    // Pods for nodes that are gone and that were never bound: nobody else deletes them.
    let known = |name: &str| observed.nodes.iter().any(|node| node.metadata.name.as_deref() == Some(name));
    let lost = pods.iter().filter(|(name, _)| !known(name)).flat_map(|(_, pods)| pods);
    plan.delete
        .extend(lost.filter(|pod| pods::node_name(pod).is_empty() && !pods::is_terminating(pod)).cloned());
    if is_rolling(observed.set) {
        let update = update::update(&running, limits, min_ready(observed.set), observed.now);
        for pod in update.delete {
            if !plan.delete.iter().any(|gone| gone.metadata.uid == pod.metadata.uid) {
                plan.delete.push(pod);
            }
        }
        for node in update.create {
            if !plan.create.contains(&node) {
                plan.create.push(node);
            }
        }
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

fn manage(
    observed: &Observed<'_>,
    name: &str,
    placement: Placement,
    here: &[Arc<Pod>],
    surges: bool,
    plan: &mut Plan,
) {
    let leaving_alone = |pod: &&Arc<Pod>| !pods::is_terminating(pod);
    if placement.should_run && here.is_empty() {
        plan.create.push(name.to_owned());
        return;
    }
    if !placement.may_stay {
        plan.delete.extend(here.iter().filter(leaving_alone).cloned());
        return;
    }
    let mut alive = Vec::new();
    for pod in here.iter().filter(leaving_alone) {
        match pods::phase(pod) {
            "Failed" if (observed.backing_off)(name) => {}
            "Failed" | "Succeeded" => {
                plan.ended.push((name.to_owned(), pod.clone()));
                plan.delete.push(pod.clone());
            }
            _ => alive.push(pod.clone()),
        }
    }
    // One is enough, the oldest. With surge, one of the current revision may stand beside an old one.
    let surplus: Vec<Arc<Pod>> = if surges {
        let on_node = OnNode::new(&alive, observed.hash);
        let kept = |pod: &Arc<Pod>| {
            let same = |kept: &Option<Arc<Pod>>| {
                kept.as_ref().is_some_and(|kept| kept.metadata.uid == pod.metadata.uid)
            };
            same(&on_node.old) || same(&on_node.new)
        };
        alive.iter().filter(|pod| !kept(pod)).cloned().collect()
    } else {
        alive.into_iter().skip(1).collect()
    };
    plan.delete.extend(surplus);
}

/// The status that follows from what is observed.
pub(super) fn status(observed: &Observed<'_>) -> DaemonSetStatus {
    let pods = by_node(observed.pods);
    let min_ready = min_ready(observed.set);
    let mut status = DaemonSetStatus {
        observed_generation: observed.set.metadata.generation,
        collision_count: observed.set.status.as_ref().and_then(|status| status.collision_count),
        conditions: observed.set.status.as_ref().and_then(|status| status.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for node in observed.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let here = pods.get(name).map(Vec::as_slice).unwrap_or_default();
        if !placement(observed.set, node).should_run {
            status.number_misscheduled += i32::from(!here.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(oldest) = here.first() else { continue };
        status.current_number_scheduled += 1;
        if pods::is_ready(oldest) {
            status.number_ready += 1;
            available += i32::from(pods::is_available(oldest, min_ready, observed.now));
        }
        let on_node = OnNode::new(std::slice::from_ref(oldest), observed.hash);
        updated += i32::from(on_node.new.is_some());
    }
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    status.updated_number_scheduled = nonzero(updated);
    status
}

/// Whether two statuses say the same; an absent number says zero.
pub(super) fn same_status(a: &DaemonSetStatus, b: &DaemonSetStatus) -> bool {
    let filled = |status: &DaemonSetStatus| {
        let mut status = status.clone();
        for count in [
            &mut status.number_available,
            &mut status.number_unavailable,
            &mut status.updated_number_scheduled,
        ] {
            count.get_or_insert(0);
        }
        status.conditions.get_or_insert_default();
        status
    };
    filled(a) == filled(b)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::{
            apps::v1::{DaemonSetSpec, DaemonSetUpdateStrategy},
            core::v1::PodTemplateSpec,
        },
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;
    use crate::{history, pods::tests::pod};

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn node(name: &str) -> Arc<Node> {
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        Arc::new(Node { metadata, ..Node::default() })
    }

    fn daemon(name: &str, node: &str, hash: &str) -> Pod {
        let mut pod = pod(name, node, Some(10), now());
        pod.metadata.labels = Some([(history::HASH.to_owned(), hash.to_owned())].into());
        pod
    }

    fn observe<'a>(set: &'a DaemonSet, nodes: &'a [Arc<Node>], pods: &'a [Arc<Pod>]) -> Observed<'a> {
        Observed { set, nodes, pods, hash: "h1", backing_off: &|node| node == "slow", now: now() }
    }

    fn set() -> DaemonSet {
        let template = PodTemplateSpec::default();
        DaemonSet {
            spec: Some(DaemonSetSpec { template, ..DaemonSetSpec::default() }),
            ..DaemonSet::default()
        }
    }

    #[test]
    fn every_node_gets_exactly_one_pod() {
        let nodes = [node("a"), node("b")];
        let pods: Vec<_> = [daemon("a1", "a", "h1"), daemon("a2", "a", "h1"), daemon("lost", "ghost", "h1")]
            .into_iter()
            .map(Arc::new)
            .collect();
        let set = set();
        let plan = plan(&observe(&set, &nodes, &pods));
        assert_eq!(plan.create, ["b"]);
        let gone: Vec<_> = plan.delete.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(gone, ["a2"]);
        let status = status(&observe(&set, &nodes, &pods));
        assert_eq!(
            (status.desired_number_scheduled, status.current_number_scheduled, status.number_ready),
            (2, 1, 1)
        );
        assert_eq!((status.updated_number_scheduled, status.number_unavailable), (Some(1), Some(1)));
    }

    #[test]
    fn pods_that_ended_are_replaced_unless_they_fail_all_the_time() {
        let nodes = [node("a"), node("slow")];
        let failed = |name: &str, node: &str| {
            let mut pod = daemon(name, node, "h1");
            pod.status.as_mut().unwrap().phase = Some("Failed".into());
            Arc::new(pod)
        };
        let pods = [failed("f1", "a"), failed("f2", "slow")];
        let plan = plan(&observe(&set(), &nodes, &pods));
        assert_eq!(plan.ended.len(), 1);
        assert_eq!(plan.ended[0].0, "a");
    }

    #[test]
    fn on_delete_leaves_old_pods_alone() {
        let nodes = [node("a")];
        let pods = [Arc::new(daemon("old", "a", "h0"))];
        let mut set = set();
        assert_eq!(plan(&observe(&set, &nodes, &pods)).delete.len(), 1);
        set.spec.as_mut().unwrap().update_strategy =
            Some(DaemonSetUpdateStrategy { type_: Some("OnDelete".into()), rolling_update: None });
        assert!(plan(&observe(&set, &nodes, &pods)).delete.is_empty());
    }
}
