//! The decision for one pod: which node, or why none.

use crate::cache::{Cache, NodeInfo};
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use crate::nominations::Nominations;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The node.
    Node(String),
    /// No node fits.
    Unschedulable(Refusal),
}

/// Why no node fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// For the event and the pod's condition, in upstream's words.
    pub message: String,
    /// What may change that.
    pub wakes: BTreeSet<ClusterEvent>,
    /// How many nodes there are.
    pub nodes: usize,
    /// The nodes that might fit if other pods left them.
    pub hopeful: Vec<String>,
}

/// Decides. `tie` chooses among equally good nodes: any number, such as a random one.
pub fn decide(
    plugins: &[Box<dyn Plugin>],
    pod: &Pod,
    snapshot: &Snapshot<'_>,
    nominations: &Nominations,
    tie: usize,
) -> Decision {
    let mut refusal = Refusal { nodes: snapshot.cache.nodes().count(), ..Refusal::default() };
    if refusal.nodes == 0 {
        refusal.message = "no nodes available to schedule pods".to_owned();
        refusal.wakes.insert(ClusterEvent::NodeAdded);
        return Decision::Unschedulable(refusal);
    }
    for plugin in plugins {
        if let Err(unfit) = plugin.pre_filter(pod, snapshot) {
            refusal.message =
                format!("0/{} nodes are available: {}.", refusal.nodes, unfit.reasons.join(", "));
            refusal.wakes.extend(plugin.events_to_register());
            return Decision::Unschedulable(refusal);
        }
    }
    // Whoever had others removed goes where that was done.
    let nominated = nominations.node_of(pod).and_then(|name| snapshot.cache.node(name));
    if let Some(node) = nominated
        && fits(plugins, pod, node, snapshot, nominations).is_ok()
    {
        return Decision::Node(node.name().to_owned());
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    for node in snapshot.cache.nodes() {
        match fits(plugins, pod, node, snapshot, nominations) {
            Ok(()) => fitting.push(node),
            Err((plugin, unfit)) => {
                refusal.wakes.extend(plugin.events_to_register());
                if !unfit.lasting {
                    refusal.hopeful.push(node.name().to_owned());
                }
                for reason in unfit.reasons {
                    *reasons.entry(reason).or_insert(0) += 1;
                }
            }
        }
    }
    match best(plugins, pod, &fitting, snapshot, tie) {
        Some(node) => Decision::Node(node.name().to_owned()),
        None => {
            refusal.message = counted(refusal.nodes, &reasons);
            Decision::Unschedulable(refusal)
        }
    }
}

/// How many nodes there are for which reasons not.
pub(crate) fn counted(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let counts = reasons.iter().filter(|(_, count)| **count > 0);
    let mut texts: Vec<String> = counts.map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    format!("0/{nodes} nodes are available: {}.", texts.join(", "))
}

/// Whether a pod fits a node, also beside the pods that wait for it.
pub(crate) fn fits<'p>(
    plugins: &'p [Box<dyn Plugin>],
    pod: &Pod,
    node: &NodeInfo,
    snapshot: &Snapshot<'_>,
    nominations: &Nominations,
) -> Result<(), (&'p dyn Plugin, Unfit)> {
    let mut beside = nominations.beside(pod, node.name()).peekable();
    if beside.peek().is_some() {
        let mut cache: Cache = snapshot.cache.clone();
        for other in beside {
            cache.assume(Arc::clone(other), node.name());
        }
        let crowded = Snapshot { cache: &cache, ..*snapshot };
        if let Some(node) = cache.node(node.name()) {
            passes(plugins, pod, node, &crowded)?;
        }
    }
    // Also without them: they may never come, and it may need one of them.
    passes(plugins, pod, node, snapshot)
}

fn passes<'p>(
    plugins: &'p [Box<dyn Plugin>],
    pod: &Pod,
    node: &NodeInfo,
    snapshot: &Snapshot<'_>,
) -> Result<(), (&'p dyn Plugin, Unfit)> {
    for plugin in plugins {
        plugin.filter(pod, node, snapshot).map_err(|unfit| (plugin.as_ref(), unfit))?;
    }
    Ok(())
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
        for (total, score) in totals.iter_mut().zip(plugin.scores(pod, nodes, snapshot)) {
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
    use crate::framework::{Namespaces, Workloads, plugins};
    use crate::testing::{named_pod, node};
    use crate::volumes::Volumes;
    use client::Selector;
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;
    use std::sync::Arc;

    /// No namespace and no workload is known.
    pub struct Nowhere;

    impl Workloads for Nowhere {
        fn selector(&self, _: &Pod) -> Option<Selector> {
            None
        }
    }

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
        let snapshot =
            Snapshot { cache, volumes: &Volumes::default(), namespaces: &Nowhere, workloads: &Nowhere };
        plugin.filter(pod, cache.nodes().next().unwrap(), &snapshot)
    }

    fn decide_in(cache: &Cache, pod: &Pod) -> Decision {
        let snapshot =
            Snapshot { cache, volumes: &Volumes::default(), namespaces: &Nowhere, workloads: &Nowhere };
        decide(&plugins::all(), pod, &snapshot, &Nominations::default(), 0)
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
        let Decision::Unschedulable(Refusal { message, wakes, hopeful, .. }) =
            decide_in(&cache, &asking("5"))
        else {
            panic!("it fits")
        };
        assert!(hopeful.is_empty(), "no node is as large");
        assert_eq!(message, "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.");
        assert!(wakes.contains(&ClusterEvent::NodeAdded) && wakes.contains(&ClusterEvent::PodDeleted));
    }

    #[test]
    fn without_nodes_a_pod_waits_for_one() {
        let decision = decide_in(&Cache::default(), &asking("1"));
        let message = "no nodes available to schedule pods".to_owned();
        let wakes = BTreeSet::from([ClusterEvent::NodeAdded]);
        assert_eq!(decision, Decision::Unschedulable(Refusal { message, wakes, ..Refusal::default() }));
    }
}
