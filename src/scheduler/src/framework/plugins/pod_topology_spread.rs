//! `topologySpreadConstraints` (KEP-895): domains may differ by `maxSkew` pods (`DoNotSchedule`), or the emptier ones are
//! liked more (`ScheduleAnyway`). Pods without any are spread over nodes and zones by default (KEP-1258).

use super::node_affinity::wanted_by;
use super::taint_toleration::TaintToleration;
use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, MAX_SCORE, Plugin, Snapshot, Unfit};
use client::Selector;
use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub struct PodTopologySpread;

const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Topologies that pods are spread over by default, with the skews that matter little (upstream's values).
const DEFAULTS: [(&str, i32); 2] = [(HOSTNAME, 3), (ZONE, 5)];

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[
            ClusterEvent::PodAdded,
            ClusterEvent::PodDeleted,
            ClusterEvent::NodeAdded,
            ClusterEvent::NodeChanged,
        ]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        for constraint in constraints(pod, "DoNotSchedule") {
            let Some(domain) = node.label(constraint.key) else {
                return Err(Unfit::for_good(NO_LABEL));
            };
            let counts = counts(pod, &constraint, snapshot, |_| true);
            let here = counts.get(domain).copied().unwrap_or(0);
            let domains = i32::try_from(counts.len()).unwrap_or(i32::MAX);
            // With fewer domains than wanted the emptiest counts as empty.
            let least = match constraint.min_domains {
                Some(wanted) if domains < wanted => 0,
                _ => counts.values().copied().min().unwrap_or(0),
            };
            let own = i64::from(constraint.selector.matches(pod.metadata.labels.as_ref()));
            if here + own - least > i64::from(constraint.max_skew) {
                return Err(Unfit::because(SKEWED));
            }
        }
        Ok(())
    }

    fn scores(&self, pod: &Pod, nodes: &[&NodeInfo], snapshot: &Snapshot<'_>) -> Vec<i64> {
        let by_default = own(pod).is_empty();
        let constraints: Vec<Constraint<'_>> =
            if by_default { defaults(pod, snapshot) } else { constraints(pod, "ScheduleAnyway").collect() };
        if constraints.is_empty() {
            return vec![0; nodes.len()];
        }
        // Where nobody said that it matters, a node without a zone is as good as another.
        let counts_in = |node: &NodeInfo| {
            by_default || constraints.iter().all(|constraint| node.label(constraint.key).is_some())
        };
        let mut loads: Vec<Option<f64>> = nodes.iter().map(|node| counts_in(node).then_some(0.0)).collect();
        for constraint in &constraints {
            add_load(constraint, pod, nodes, &mut loads, snapshot, counts_in);
        }
        let loads: Vec<Option<i64>> =
            loads.into_iter().map(|load| load.map(|load| load.round() as i64)).collect();
        let least = loads.iter().copied().flatten().min().unwrap_or(0);
        let most = loads.iter().copied().flatten().max().unwrap_or(0);
        let score = |load: i64| (MAX_SCORE * (most + least - load)).checked_div(most).unwrap_or(MAX_SCORE);
        loads.into_iter().map(|load| load.map_or(0, score)).collect()
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// A constraint, with its selector compiled.
struct Constraint<'a> {
    key: &'a str,
    max_skew: i32,
    min_domains: Option<i32>,
    selector: Selector,
    /// Whether nodes count that the pod does not want.
    ignores_affinity: bool,
    /// Whether nodes do not count whose taints the pod does not tolerate.
    honors_taints: bool,
}

fn own(pod: &Pod) -> &[TopologySpreadConstraint] {
    pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default()
}

/// The pod's own constraints of one sort.
fn constraints<'a>(pod: &'a Pod, when: &'a str) -> impl Iterator<Item = Constraint<'a>> {
    own(pod).iter().filter(move |one| one.when_unsatisfiable == when).map(|one| Constraint {
        key: &one.topology_key,
        max_skew: one.max_skew,
        min_domains: one.min_domains,
        selector: selector(pod, one),
        ignores_affinity: one.node_affinity_policy.as_deref() == Some("Ignore"),
        honors_taints: one.node_taints_policy.as_deref() == Some("Honor"),
    })
}

/// The constraints of a pod without own ones: none unless it belongs to a Service or a workload.
fn defaults(pod: &Pod, snapshot: &Snapshot<'_>) -> Vec<Constraint<'static>> {
    let Some(selector) = snapshot.workloads.selector(pod) else { return Vec::new() };
    let constraint = |(key, max_skew)| Constraint {
        key,
        max_skew,
        min_domains: None,
        selector: selector.clone(),
        ignores_affinity: false,
        honors_taints: false,
    };
    DEFAULTS.map(constraint).into()
}

/// The constraint's selector with `matchLabelKeys` filled from the pod (KEP-3243).
fn selector(pod: &Pod, constraint: &TopologySpreadConstraint) -> Selector {
    let mut selector = constraint.label_selector.clone();
    if let Some(selector) = &mut selector {
        for key in constraint.match_label_keys.iter().flatten() {
            if let Some(value) = pod.metadata.labels.as_ref().and_then(|l| l.get(key)) {
                selector.match_labels.get_or_insert_default().insert(key.clone(), value.clone());
            }
        }
    }
    Selector::new(selector.as_ref())
}

/// Adds to each node's load what its domain has: a pod weighs the more, the more domains there are, and small skews
/// matter the less, the more skew is allowed. Nodes without a load are left out.
fn add_load(
    constraint: &Constraint<'_>,
    pod: &Pod,
    nodes: &[&NodeInfo],
    loads: &mut [Option<f64>],
    snapshot: &Snapshot<'_>,
    counts_in: impl Fn(&NodeInfo) -> bool,
) {
    let candidates = nodes.iter().zip(loads.iter()).filter(|(_, load)| load.is_some()).map(|(node, _)| node);
    // A node is a domain of its own: nothing has to be added up.
    let (counts, domains) = if constraint.key == HOSTNAME {
        (None, candidates.count())
    } else {
        let domains: BTreeSet<_> = candidates.map(|node| node.label(constraint.key)).collect();
        (Some(counts(pod, constraint, snapshot, counts_in)), domains.len())
    };
    let weight = ((domains + 2) as f64).ln();
    for (node, load) in nodes.iter().zip(loads) {
        let (Some(load), Some(domain)) = (load, node.label(constraint.key)) else { continue };
        let count = match &counts {
            Some(counts) => counts.get(domain).copied().unwrap_or(0),
            None => matching(pod, constraint, node),
        };
        *load += count as f64 * weight + f64::from(constraint.max_skew - 1);
    }
}

/// Matching pods by domain, over the nodes that count.
fn counts<'a>(
    pod: &Pod,
    constraint: &Constraint<'_>,
    snapshot: &Snapshot<'a>,
    counts_in: impl Fn(&NodeInfo) -> bool,
) -> BTreeMap<&'a str, i64> {
    let mut counts = BTreeMap::new();
    for node in snapshot.cache.nodes() {
        let Some(domain) = node.label(constraint.key) else { continue };
        if !counts_in(node)
            || !constraint.ignores_affinity && !wanted_by(pod, node)
            || constraint.honors_taints && TaintToleration.filter(pod, node, snapshot).is_err()
        {
            continue;
        }
        *counts.entry(domain).or_insert(0) += matching(pod, constraint, node);
    }
    counts
}

/// Matching pods on one node.
fn matching(pod: &Pod, constraint: &Constraint<'_>, node: &NodeInfo) -> i64 {
    let matching = node.pods.values().filter(|other| {
        other.metadata.namespace == pod.metadata.namespace
            && other.metadata.deletion_timestamp.is_none()
            && constraint.selector.matches(other.metadata.labels.as_ref())
    });
    i64::try_from(matching.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "pod_topology_spread_tests.rs"]
mod tests;
