//! A cordoned node takes only pods that tolerate it.

use super::taint_toleration::tolerates;
use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use k8s_openapi::api::core::v1::{Pod, Taint};

/// See the module.
pub struct NodeUnschedulable;

const REASON: &str = "node(s) were unschedulable";

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> Result<(), Unfit> {
        let spec = node.node.as_ref().and_then(|n| n.spec.as_ref());
        if !spec.and_then(|s| s.unschedulable).unwrap_or(false) {
            return Ok(());
        }
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if tolerates(pod, &taint) { Ok(()) } else { Err(Unfit::for_good(REASON)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule_one::tests::fits;
    use crate::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn a_cordoned_node_takes_only_pods_that_tolerate_it() {
        let cordoned = node("n", json!({"spec": {"unschedulable": true}}));
        assert_eq!(
            fits(&NodeUnschedulable, &pod(json!({"containers": []})), &cordoned),
            Err(Unfit::for_good(REASON))
        );
        let daemon = pod(json!({"containers": [], "tolerations": [{"operator": "Exists"}]}));
        assert_eq!(fits(&NodeUnschedulable, &daemon, &cordoned), Ok(()));
    }
}
