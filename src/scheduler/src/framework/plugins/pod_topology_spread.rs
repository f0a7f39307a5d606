//! `topologySpreadConstraints` (KEP-895) with `DoNotSchedule`: domains may differ by `maxSkew` pods at most.

use super::node_affinity::wanted_by;
use super::taint_toleration::TaintToleration;
use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit, normalize_to_max};
use client::Selector;
use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use std::collections::BTreeMap;

/// See the module.
pub struct PodTopologySpread;

const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

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
            let Some(domain) = node.label(&constraint.topology_key) else {
                return Err(Unfit::for_good(NO_LABEL));
            };
            let counts = counts(pod, constraint, snapshot);
            let here = counts.get(domain).copied().unwrap_or(0);
            let domains = i32::try_from(counts.len()).unwrap_or(i32::MAX);
            // With fewer domains than wanted the emptiest counts as empty.
            let least = match constraint.min_domains {
                Some(wanted) if domains < wanted => 0,
                _ => counts.values().copied().min().unwrap_or(0),
            };
            let own = i64::from(selector(pod, constraint).matches(pod.metadata.labels.as_ref()));
            if here + own - least > i64::from(constraint.max_skew) {
                return Err(Unfit::because(SKEWED));
            }
        }
        Ok(())
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> i64 {
        constraints(pod, "ScheduleAnyway")
            .filter_map(|constraint| {
                let domain = node.label(&constraint.topology_key)?;
                counts(pod, constraint, snapshot).get(domain).copied()
            })
            .sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_to_max(scores, true);
    }

    fn weight(&self) -> i64 {
        2
    }
}

fn constraints<'a>(pod: &'a Pod, when: &'a str) -> impl Iterator<Item = &'a TopologySpreadConstraint> {
    let all = pod.spec.as_ref().and_then(|s| s.topology_spread_constraints.as_ref());
    all.into_iter().flatten().filter(move |c| c.when_unsatisfiable == when)
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

/// Matching pods by domain, over the nodes that count.
fn counts(
    pod: &Pod,
    constraint: &TopologySpreadConstraint,
    snapshot: &Snapshot<'_>,
) -> BTreeMap<String, i64> {
    let selector = selector(pod, constraint);
    let mut counts = BTreeMap::new();
    for node in snapshot.cache.nodes() {
        let Some(domain) = node.label(&constraint.topology_key) else { continue };
        if constraint.node_affinity_policy.as_deref() != Some("Ignore") && !wanted_by(pod, node) {
            continue;
        }
        if constraint.node_taints_policy.as_deref() == Some("Honor")
            && TaintToleration.filter(pod, node, snapshot).is_err()
        {
            continue;
        }
        let matching = node.pods.values().filter(|other| {
            other.metadata.namespace == pod.metadata.namespace
                && other.metadata.deletion_timestamp.is_none()
                && selector.matches(other.metadata.labels.as_ref())
        });
        *counts.entry(domain.to_owned()).or_insert(0) += i64::try_from(matching.count()).unwrap_or(i64::MAX);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::schedule_one::tests::Nowhere;
    use crate::testing::{named_pod, node};
    use crate::volumes::Volumes;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_domain_that_is_too_full_is_refused() {
        let spread = |name: &str| {
            let mut pod = named_pod(
                name,
                json!({"containers": [], "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "a"}}}]}),
            );
            pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "a".to_owned())]));
            pod
        };
        let mut cache = Cache::default();
        for name in ["m", "n"] {
            cache.apply_node(Arc::new(node(name, json!({}))));
        }
        cache.assume(Arc::new(spread("1")), "m");
        let snapshot = Snapshot { cache: &cache, volumes: &Volumes::default(), namespaces: &Nowhere };
        let fits = |name: &str| {
            let info = cache.nodes().find(|n| n.name() == name).unwrap();
            PodTopologySpread.filter(&spread("2"), info, &snapshot)
        };
        assert_eq!(fits("m"), Err(Unfit::because(SKEWED)));
        assert_eq!(fits("n"), Ok(()));
    }
}
