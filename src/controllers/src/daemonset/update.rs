//! Which pods a rolling update replaces next. Pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::DaemonSet, core::v1::Pod},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{history, percent, pods};

/// What a rolling update does now.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Update {
    /// Nodes that get a new pod beside the old one.
    pub(super) create: Vec<String>,
    /// Old pods that make way.
    pub(super) delete: Vec<Arc<Pod>>,
}

/// `maxSurge` and `maxUnavailable` as numbers of nodes.
pub(super) fn limits(set: &DaemonSet, desired: usize) -> (usize, usize) {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let desired = i32::try_from(desired).unwrap_or(i32::MAX);
    let number = |value: Option<&IntOrString>, default: i32| {
        // Both round up: a percentage that came to nothing would stop the update.
        let value = value.map_or(Some(default), |value| percent::resolve(value, desired, true));
        usize::try_from(value.unwrap_or(default)).unwrap_or(0)
    };
    let surge = number(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 0);
    let unavailable = number(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 1);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// The pods of one node by whether they are of the current revision.
pub(super) struct OnNode {
    pub(super) old: Option<Arc<Pod>>,
    pub(super) new: Option<Arc<Pod>>,
}

impl OnNode {
    pub(super) fn new(pods: &[Arc<Pod>], hash: &str) -> Self {
        let is_new = |pod: &&Arc<Pod>| {
            let labels = pod.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get(history::HASH)).is_some_and(|found| found == hash)
        };
        Self {
            old: pods.iter().find(|pod| !is_new(pod)).cloned(),
            new: pods.iter().find(|pod| is_new(pod)).cloned(),
        }
    }
}

/// Decides about every node that should run the daemon.
pub(super) fn update(
    nodes: &BTreeMap<String, OnNode>,
    limits: (usize, usize),
    min_ready_seconds: i32,
    now: Timestamp,
) -> Update {
    let available = |pod: &Arc<Pod>| pods::is_available(pod, min_ready_seconds, now);
    let (surge, unavailable) = limits;
    if surge > 0 { with_surge(nodes, surge, &available) } else { in_place(nodes, unavailable, &available) }
}

/// Old pods go first; nodes are without the daemon for a while, `limit` of them at a time.
fn in_place(nodes: &BTreeMap<String, OnNode>, limit: usize, available: &dyn Fn(&Arc<Pod>) -> bool) -> Update {
    let mut unavailable = 0;
    let mut update = Update::default();
    let mut candidates = Vec::new();
    for node in nodes.values() {
        match (&node.old, &node.new) {
            // In between: the one is going and the other has not come.
            (None, None) | (Some(_), Some(_)) => unavailable += 1,
            (None, Some(new)) => unavailable += usize::from(!available(new)),
            (Some(old), None) if available(old) && !pods::is_terminating(old) => candidates.push(old.clone()),
            (Some(old), None) => {
                unavailable += 1;
                if !pods::is_terminating(old) {
                    // It does not serve anyway.
                    update.delete.push(old.clone());
                }
            }
        }
    }
    update.delete.extend(candidates.into_iter().take(limit.saturating_sub(unavailable)));
    update
}

/// New pods start beside old ones on `limit` nodes at a time; the old go when the new are available.
fn with_surge(
    nodes: &BTreeMap<String, OnNode>,
    limit: usize,
    available: &dyn Fn(&Arc<Pod>) -> bool,
) -> Update {
    let mut surging = 0;
    let mut update = Update::default();
    let mut candidates = Vec::new();
    for (name, node) in nodes {
        match (&node.old, &node.new) {
            (None, _) => {}
            (Some(old), None) if available(old) => candidates.push(name.clone()),
            (Some(_), None) => update.create.push(name.clone()),
            (Some(old), Some(new)) if available(new) => {
                if !pods::is_terminating(old) {
                    update.delete.push(old.clone());
                }
            }
            (Some(_), Some(_)) => surging += 1,
        }
    }
    update.create.extend(candidates.into_iter().take(limit.saturating_sub(surging)));
    update
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::pod;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn nodes(all: &[(&str, Option<bool>, Option<bool>)]) -> BTreeMap<String, OnNode> {
        let make = |node: &str, kind: &str, ready: Option<bool>| {
            ready.map(|ready| Arc::new(pod(&format!("{kind}-{node}"), node, ready.then_some(10), now())))
        };
        all.iter()
            .map(|(node, old, new)| {
                ((*node).to_owned(), OnNode { old: make(node, "old", *old), new: make(node, "new", *new) })
            })
            .collect()
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect()
    }

    #[test]
    fn in_place_no_more_nodes_than_allowed_are_without_the_daemon() {
        let ready = Some(true);
        let all = nodes(&[("a", ready, None), ("b", ready, None), ("c", ready, None)]);
        assert_eq!(names(&update(&all, (0, 1), 0, now()).delete), ["old-a"]);
        assert_eq!(names(&update(&all, (0, 2), 0, now()).delete), ["old-a", "old-b"]);
        let busy = nodes(&[("a", None, Some(false)), ("b", ready, None)]);
        assert!(update(&busy, (0, 1), 0, now()).delete.is_empty());
        let broken = nodes(&[("a", Some(false), None), ("b", ready, None)]);
        assert_eq!(names(&update(&broken, (0, 1), 0, now()).delete), ["old-a"]);
    }

    #[test]
    fn with_surge_old_pods_go_only_when_new_ones_are_available() {
        let ready = Some(true);
        let all =
            nodes(&[("a", ready, ready), ("b", ready, Some(false)), ("c", ready, None), ("d", ready, None)]);
        let step = update(&all, (2, 0), 0, now());
        assert_eq!(names(&step.delete), ["old-a"]);
        assert_eq!(step.create, ["c"]);
    }
}
