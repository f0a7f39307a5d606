//! Taints keep pods away that do not tolerate them; PreferNoSchedule only makes a node less liked.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit, normalize_to_max};
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

/// See the module.
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> Result<(), Unfit> {
        let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        if taints(node).filter(keeps_away).all(|taint| tolerates(pod, taint)) {
            Ok(())
        } else {
            // Which ones is nobody's business who may only see pods.
            Err(Unfit::for_good("node(s) had untolerated taint(s)"))
        }
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> i64 {
        let disliked = taints(node).filter(|t| t.effect == "PreferNoSchedule" && !tolerates(pod, t)).count();
        i64::try_from(disliked).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_to_max(scores, true);
    }

    fn weight(&self) -> i64 {
        3
    }
}

fn taints(node: &NodeInfo) -> impl Iterator<Item = &Taint> {
    let spec = node.node.as_ref().and_then(|n| n.spec.as_ref());
    spec.and_then(|s| s.taints.as_ref()).into_iter().flatten()
}

/// Whether a pod tolerates a taint.
pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_ref());
    tolerations.into_iter().flatten().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    let (wanted, actual) = (toleration.value.as_deref().unwrap_or(""), taint.value.as_deref().unwrap_or(""));
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => wanted == actual,
        // KEP-5471: numbers compared.
        operator @ ("Lt" | "Gt") => match (actual.parse::<i64>(), wanted.parse::<i64>()) {
            (Ok(actual), Ok(wanted)) if operator == "Lt" => actual < wanted,
            (Ok(actual), Ok(wanted)) => actual > wanted,
            _ => false,
        },
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
    fn taints_keep_pods_away_that_do_not_tolerate_them() {
        let tainted = |effect: &str| {
            node("n", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}}))
        };
        let with =
            |toleration: serde_json::Value| pod(json!({"containers": [], "tolerations": [toleration]}));
        let plain = pod(json!({"containers": []}));
        assert_eq!(
            fits(&TaintToleration, &plain, &tainted("NoSchedule")),
            Err(Unfit::for_good("node(s) had untolerated taint(s)"))
        );
        assert!(fits(&TaintToleration, &plain, &tainted("NoExecute")).is_err());
        assert!(fits(&TaintToleration, &plain, &tainted("PreferNoSchedule")).is_ok());
        for (toleration, expected) in [
            (json!({"key": "k", "value": "v", "effect": "NoSchedule"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "value": "other"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false),
        ] {
            assert_eq!(
                fits(&TaintToleration, &with(toleration.clone()), &tainted("NoSchedule")).is_ok(),
                expected,
                "{toleration}"
            );
        }
    }
}
