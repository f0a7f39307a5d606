//! Conditions and taints that a node should have. Pure.

use client::nodes;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::node_taints::{self, NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE};

/// Conditions that only the kubelet knows, and that nobody knows when it is silent.
const KUBELET_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Conditions other than Ready, the status that is a reason to keep pods away, and the taint that does.
const CONDITION_TAINTS: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// The conditions of a silent node, unless it has them already.
pub(super) fn unknown_conditions(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let before = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut after = before.clone();
    for type_ in KUBELET_CONDITIONS {
        match after.iter_mut().find(|condition| condition.type_ == type_) {
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
            None => after.push(NodeCondition {
                type_: type_.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    (after != before).then_some(after)
}

/// What may be done about evicting taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The node gets the taint that its Ready condition asks for.
    Allowed,
    /// The node keeps what it has, but may lose or exchange it.
    NotYet,
    /// The node gets none and loses what it has.
    Forbidden,
}

/// The taint by which the node's Ready condition makes pods leave. A node that has not reported yet has no pods
/// that could.
pub(super) fn eviction_key(node: &Node) -> Option<&'static str> {
    match nodes::condition(node, "Ready")?.status.as_str() {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    }
}

/// Whether the node has an evicting taint of ours.
pub(super) fn is_evicting(node: &Node) -> bool {
    node_taints::taints(node).iter().any(is_evicting_taint)
}

fn is_evicting_taint(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && matches!(taint.key.as_str(), NOT_READY | UNREACHABLE)
}

/// The taints of the node, unless it has them already. Those of others are kept.
pub(super) fn taints(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let before = node_taints::taints(node);
    let mut wanted: Vec<(&str, &str)> =
        wanted_no_schedule(node).into_iter().map(|key| (key, NO_SCHEDULE)).collect();
    let may_have = match eviction {
        Eviction::Allowed => true,
        Eviction::NotYet => is_evicting(node),
        Eviction::Forbidden => false,
    };
    wanted.extend(eviction_key(node).filter(|_| may_have).map(|key| (key, NO_EXECUTE)));
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut after: Vec<Taint> =
        before.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in &wanted {
        if !after.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            let time_added = Some(Time(now));
            after.push(Taint { key: (*key).into(), effect: (*effect).into(), time_added, value: None });
        }
    }
    (after != before).then_some(after)
}

fn wanted_no_schedule(node: &Node) -> Vec<&'static str> {
    let mut keys = Vec::new();
    match nodes::condition(node, "Ready") {
        None => keys.push(NOT_READY),
        Some(_) => keys.extend(eviction_key(node)),
    }
    for (type_, key) in CONDITION_TAINTS {
        if nodes::condition(node, type_).is_some_and(|condition| condition.status == "True") {
            keys.push(key);
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        keys.push(UNSCHEDULABLE);
    }
    keys
}

fn is_ours(taint: &Taint) -> bool {
    let condition = CONDITION_TAINTS.iter().any(|(_, key)| *key == taint.key);
    let no_schedule = condition || matches!(taint.key.as_str(), NOT_READY | UNREACHABLE | UNSCHEDULABLE);
    is_evicting_taint(taint) || (taint.effect == NO_SCHEDULE && no_schedule)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)]) -> Node {
        let condition = |(type_, status): &(&str, &str)| NodeCondition {
            type_: (*type_).into(),
            status: (*status).into(),
            ..NodeCondition::default()
        };
        let taint = |(key, effect): &(&str, &str)| Taint {
            key: (*key).into(),
            effect: (*effect).into(),
            ..Taint::default()
        };
        Node {
            spec: Some(NodeSpec { taints: Some(taints.iter().map(taint).collect()), ..NodeSpec::default() }),
            status: Some(NodeStatus {
                conditions: Some(conditions.iter().map(condition).collect()),
                ..NodeStatus::default()
            }),
            ..Node::default()
        }
    }

    #[test]
    fn taints_follow_conditions_and_leave_those_of_others_alone() {
        type Taints<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Taints, Taints, Eviction, Option<Taints>); 9] = [
            (&[], &[], Eviction::Allowed, Some(&[(NOT_READY, NO_SCHEDULE)])),
            (&[("Ready", "True")], &[], Eviction::Allowed, None),
            (
                &[("Ready", "True")],
                &[(NOT_READY, NO_SCHEDULE), ("mine", NO_SCHEDULE)],
                Eviction::Allowed,
                Some(&[("mine", NO_SCHEDULE)]),
            ),
            (&[("Ready", "False")], &[], Eviction::NotYet, Some(&[(NOT_READY, NO_SCHEDULE)])),
            (
                &[("Ready", "Unknown")],
                &[(UNREACHABLE, NO_SCHEDULE)],
                Eviction::Allowed,
                Some(&[(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]),
            ),
            (
                &[("Ready", "Unknown")],
                &[(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)],
                Eviction::NotYet,
                Some(&[(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]),
            ),
            (
                &[("Ready", "Unknown")],
                &[(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)],
                Eviction::Forbidden,
                Some(&[(UNREACHABLE, NO_SCHEDULE)]),
            ),
            (
                &[("Ready", "True"), ("DiskPressure", "True")],
                &[],
                Eviction::Allowed,
                Some(&[("node.kubernetes.io/disk-pressure", NO_SCHEDULE)]),
            ),
            (&[("Ready", "True")], &[(UNSCHEDULABLE, NO_SCHEDULE)], Eviction::Allowed, Some(&[])),
        ];
        for (conditions, before, eviction, expected) in cases {
            let after = taints(&node(conditions, before), eviction, now());
            let after: Option<Vec<(String, String)>> =
                after.map(|all| all.into_iter().map(|taint| (taint.key, taint.effect)).collect());
            let expected = expected.map(|all| {
                all.iter().map(|(key, effect)| ((*key).to_owned(), (*effect).to_owned())).collect()
            });
            assert_eq!(after, expected, "{conditions:?} {before:?} {eviction:?}");
        }
    }

    #[test]
    fn a_cordoned_node_gets_its_taint() {
        let mut node = node(&[("Ready", "True")], &[]);
        node.spec.as_mut().unwrap().unschedulable = Some(true);
        assert_eq!(taints(&node, Eviction::Allowed, now()).unwrap()[0].key, UNSCHEDULABLE);
    }

    #[test]
    fn all_kubelet_conditions_become_unknown_once() {
        let mut node = node(&[("Ready", "True"), ("MemoryPressure", "False")], &[]);
        let conditions = unknown_conditions(&node, now()).unwrap();
        assert_eq!(conditions.len(), 4);
        assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[3].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        node.status.as_mut().unwrap().conditions = Some(conditions);
        assert_eq!(unknown_conditions(&node, now()), None);
    }
}
