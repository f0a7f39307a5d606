//! `nodeSelector` and `affinity.nodeAffinity`.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit, normalize_to_max};
use k8s_openapi::api::core::v1::{
    Node, NodeAffinity as Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
};

/// See the module.
pub struct NodeAffinity;

const REASON: &str = "node(s) didn't match Pod's node affinity/selector";

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> Result<(), Unfit> {
        if wanted_by(pod, node) { Ok(()) } else { Err(Unfit::for_good(REASON)) }
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> i64 {
        let Some(node) = &node.node else { return 0 };
        let preferred =
            affinity(pod).and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        let liked = preferred.into_iter().flatten().filter(|term| matches_term(&term.preference, node));
        liked.map(|term| i64::from(term.weight)).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_to_max(scores, false);
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// Whether the pod's `nodeSelector` and required node affinity accept a node.
pub fn wanted_by(pod: &Pod, node: &NodeInfo) -> bool {
    let selector = pod.spec.as_ref().and_then(|s| s.node_selector.as_ref());
    if selector.into_iter().flatten().any(|(key, value)| node.label(key) != Some(value.as_str())) {
        return false;
    }
    let required = affinity(pod).and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    match (required, &node.node) {
        (Some(selector), Some(node)) => matches_node_selector(selector, node),
        _ => true,
    }
}

fn affinity(pod: &Pod) -> Option<&Affinity> {
    pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
}

/// Whether any term of a node selector selects a node.
pub fn matches_node_selector(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| matches_term(term, node))
}

/// Whether all requirements of a term hold. An empty term selects nothing.
fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str);
    let field = |key: &str| if key == "metadata.name" { node.metadata.name.as_deref() } else { None };
    expressions.iter().all(|r| holds(r, label(&r.key))) && fields.iter().all(|r| holds(r, field(&r.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|v| v == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        operator @ ("Gt" | "Lt") => {
            let actual = value.and_then(|v| v.parse::<i64>().ok());
            let bound = values.first().and_then(|v| v.parse::<i64>().ok());
            match (actual, bound) {
                (Some(actual), Some(bound)) if operator == "Gt" => actual > bound,
                (Some(actual), Some(bound)) => actual < bound,
                _ => false,
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule_one::tests::fits;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn node_selectors_and_required_affinity_both_have_to_hold() {
        let here = node("n", json!({"metadata": {"labels": {"disk": "ssd", "size": "5"}}}));
        let term = |expression: serde_json::Value| {
            pod(json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression]}}}}))
        };
        for (pod, expected) in [
            (pod(json!({"containers": [], "nodeSelector": {"disk": "ssd"}})), true),
            (pod(json!({"containers": [], "nodeSelector": {"disk": "hdd"}})), false),
            (term(json!({"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["4"]}]})), true),
            (term(json!({"matchExpressions": [{"key": "size", "operator": "Lt", "values": ["4"]}]})), false),
            (
                term(json!({"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]})),
                false,
            ),
            (
                term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]})),
                true,
            ),
            (term(json!({})), false),
        ] {
            assert_eq!(fits(&NodeAffinity, &pod, &here).is_ok(), expected, "{:?}", pod.spec);
        }
    }
}
