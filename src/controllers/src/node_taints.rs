//! Taints of nodes that several controllers use.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

/// Key of the taint of nodes whose kubelet says that they are not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Key of the taint of nodes that have not been heard of.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Key of the taint of cordoned nodes.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Key of the taint that people put on nodes that are down for certain (KEP-2268).
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Effect: no new pods.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Effect: no new pods, and those there have to go.
pub const NO_EXECUTE: &str = "NoExecute";

/// The taints of the node.
pub fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Whether the node has a taint with this key.
pub fn has(node: &Node, key: &str) -> bool {
    taints(node).iter().any(|taint| taint.key == key)
}

/// Whether the toleration covers the taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    let taint_value = taint.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => value == taint_value,
        "Exists" => true,
        // KEP-5471: numeric comparison.
        "Lt" | "Gt" => {
            let (Ok(value), Ok(taint_value)) = (value.parse::<i64>(), taint_value.parse::<i64>()) else {
                return false;
            };
            if toleration.operator.as_deref() == Some("Lt") {
                taint_value < value
            } else {
                taint_value > value
            }
        }
        _ => false,
    }
}

/// How long a pod may stay on a node with these NoExecute taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// For as long as it likes.
    Forever,
    /// Not at all, or no longer.
    Over,
    /// Until then.
    Until(Timestamp),
}

/// Decides how long a pod with these tolerations may stay. Taints without a time of their own count from `since`.
pub fn stay(tolerations: &[Toleration], taints: &[Taint], since: Timestamp, now: Timestamp) -> Stay {
    let mut earliest: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let mut covering = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if covering.peek().is_none() {
            return Stay::Over;
        }
        // Of several tolerations the shortest counts.
        let Some(seconds) = covering.filter_map(|toleration| toleration.toleration_seconds).min() else {
            continue;
        };
        let start = taint.time_added.as_ref().map_or(since, |time| time.0);
        let end =
            start.checked_add(jiff::SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX);
        earliest = Some(earliest.map_or(end, |known| known.min(end)));
    }
    match earliest {
        None => Stay::Forever,
        Some(end) if end <= now => Stay::Over,
        Some(end) => Stay::Until(end),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn taint(key: &str, added: i64) -> Taint {
        Taint {
            key: key.into(),
            effect: NO_EXECUTE.into(),
            time_added: Some(Time(Timestamp::from_second(added).unwrap())),
            value: None,
        }
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(NO_EXECUTE.into()),
            toleration_seconds: seconds,
            value: None,
        }
    }

    #[test]
    fn the_shortest_toleration_of_the_earliest_taint_counts() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (tolerations, taints, expected) in [
            (vec![], vec![], Stay::Forever),
            (vec![], vec![taint("a", 100)], Stay::Over),
            (vec![toleration("a", None)], vec![taint("a", 100)], Stay::Forever),
            (vec![toleration("a", Some(300))], vec![taint("a", 100)], Stay::Until(at(400))),
            (
                vec![toleration("a", Some(300)), toleration("a", Some(50))],
                vec![taint("a", 190)],
                Stay::Until(at(240)),
            ),
            (vec![toleration("a", Some(100))], vec![taint("a", 100)], Stay::Over),
            (vec![toleration("a", Some(300))], vec![taint("a", 100), taint("b", 100)], Stay::Over),
            (vec![toleration("", Some(900))], vec![taint("a", 100), taint("b", 150)], Stay::Until(at(1000))),
        ] {
            assert_eq!(stay(&tolerations, &taints, at(0), at(200)), expected, "{tolerations:?} {taints:?}");
        }
    }
}
