//! The decision for one pod: which node, or why none.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The node.
    Node(String),
    /// No node fits.
    Unschedulable {
        /// For the event and the pod's condition, in upstream's words.
        message: String,
        /// What may change that.
        wakes: BTreeSet<ClusterEvent>,
    },
}

/// Decides. `tie` chooses among equally good nodes: any number, such as a random one.
pub fn decide(plugins: &[Box<dyn Plugin>], pod: &Pod, snapshot: &Snapshot<'_>, tie: usize) -> Decision {
    let total = snapshot.cache.nodes().count();
    if total == 0 {
        let message = "no nodes available to schedule pods".to_owned();
        return Decision::Unschedulable { message, wakes: BTreeSet::from([ClusterEvent::NodeAdded]) };
    }
    let mut wakes = BTreeSet::new();
    for plugin in plugins {
        if let Err(unfit) = plugin.pre_filter(pod, snapshot) {
            let message = format!("0/{total} nodes are available: {}.", unfit.reasons.join(", "));
            wakes.extend(plugin.events_to_register());
            return Decision::Unschedulable { message, wakes };
        }
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    for node in snapshot.cache.nodes() {
        match plugins.iter().find_map(|p| Some((p, p.filter(pod, node, snapshot).err()?))) {
            None => fitting.push(node),
            Some((plugin, unfit)) => {
                wakes.extend(plugin.events_to_register());
                for reason in unfit.reasons {
                    *reasons.entry(reason).or_insert(0) += 1;
                }
            }
        }
    }
    match best(plugins, pod, &fitting, snapshot, tie) {
        Some(node) => Decision::Node(node.name().to_owned()),
        None => {
            let mut texts: Vec<String> =
                reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            texts.sort();
            let message = format!("0/{total} nodes are available: {}.", texts.join(", "));
            Decision::Unschedulable { message, wakes }
        }
    }
}

fn best<'a>(
    plugins: &[Box<dyn Plugin>],
    pod: &Pod,
    nodes: &[&'a NodeInfo],
    snapshot: &Snapshot<'_>,
    tie: usize,
) -> Option<&'a NodeInfo> {
    if let [only] = nodes {
        return Some(only);
    }
    let mut totals = vec![0_i64; nodes.len()];
    for plugin in plugins.iter().filter(|p| p.weight() > 0) {
        let mut scores: Vec<i64> = nodes.iter().map(|node| plugin.score(pod, node, snapshot)).collect();
        plugin.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * plugin.weight();
        }
    }
    let highest = totals.iter().copied().max()?;
    let winners: Vec<&&NodeInfo> =
        nodes.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(node, _)| node).collect();
    winners.get(tie.checked_rem(winners.len())?).map(|node| **node)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::framework::{Namespaces, Unfit, plugins};
    use crate::testing::{named_pod, node};
    use crate::volumes::Volumes;
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;
    use std::sync::Arc;

    /// No namespace is known.
    pub struct Nowhere;

    impl Namespaces for Nowhere {
        fn labels(&self, _: &str) -> Option<BTreeMap<String, String>> {
            None
        }
    }

    /// What a plugin says of a pod on an otherwise empty node.
    pub fn fits(plugin: &dyn Plugin, pod: &Pod, node: &Node) -> Result<(), Unfit> {
        let mut cache = Cache::default();
        cache.apply_node(Arc::new(node.clone()));
        fits_in(plugin, pod, &cache)
    }

    /// What a plugin says of a pod on the first node of a cache.
    pub fn fits_in(plugin: &dyn Plugin, pod: &Pod, cache: &Cache) -> Result<(), Unfit> {
        let snapshot = Snapshot { cache, volumes: &Volumes::default(), namespaces: &Nowhere };
        plugin.filter(pod, cache.nodes().next().unwrap(), &snapshot)
    }

    fn decide_in(cache: &Cache, pod: &Pod) -> Decision {
        let snapshot = Snapshot { cache, volumes: &Volumes::default(), namespaces: &Nowhere };
        decide(&plugins::all(), pod, &snapshot, 0)
    }

    fn asking(cpu: &str) -> Pod {
        named_pod("p", json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}))
    }

    #[test]
    fn the_emptier_node_wins() {
        let mut cache = Cache::default();
        for name in ["a", "b"] {
            cache.apply_node(Arc::new(node(name, json!({}))));
        }
        cache.assume(Arc::new(named_pod("x", json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}]}))), "a");
        assert_eq!(decide_in(&cache, &asking("100m")), Decision::Node("b".to_owned()));
    }

    #[test]
    fn reasons_are_counted_over_the_nodes() {
        let mut cache = Cache::default();
        for name in ["a", "b"] {
            cache.apply_node(Arc::new(node(name, json!({}))));
        }
        cache.apply_node(Arc::new(node("c", json!({"spec": {"unschedulable": true}}))));
        let Decision::Unschedulable { message, wakes } = decide_in(&cache, &asking("5")) else {
            panic!("it fits")
        };
        assert_eq!(message, "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.");
        assert!(wakes.contains(&ClusterEvent::NodeAdded) && wakes.contains(&ClusterEvent::PodDeleted));
    }

    #[test]
    fn without_nodes_a_pod_waits_for_one() {
        let decision = decide_in(&Cache::default(), &asking("1"));
        let expected = "no nodes available to schedule pods".to_owned();
        assert_eq!(
            decision,
            Decision::Unschedulable { message: expected, wakes: BTreeSet::from([ClusterEvent::NodeAdded]) }
        );
    }
}
