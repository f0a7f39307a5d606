//! What a pod asks for has to be free on the node; the emptier node is liked more.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, MAX_SCORE, Plugin, Snapshot, Unfit};
use crate::resources::Resources;
use k8s_openapi::api::core::v1::Pod;

/// See the module.
pub struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::PodDeleted, ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> Result<(), Unfit> {
        let (mut reasons, mut lasting) = (Vec::new(), false);
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        if pods + 1 > node.allocatable.get("pods") {
            reasons.push("Too many pods".to_owned());
        }
        for (name, wanted) in &Resources::requested(pod).0 {
            let free = node.allocatable.get(name) - node.requested.get(name);
            if *wanted > 0 && *wanted > free {
                reasons.push(format!("Insufficient {name}"));
                lasting |= *wanted > node.allocatable.get(name);
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(Unfit { reasons, lasting }) }
    }

    /// LeastAllocated: the mean over CPU and memory of what would be left free.
    fn score(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> i64 {
        let wanted = Resources::requested_or_default(pod);
        let free = ["cpu", "memory"].map(|name| {
            let (capacity, used) =
                (node.allocatable.get(name), node.requested_or_default.get(name) + wanted.get(name));
            if capacity <= 0 || used > capacity { 0 } else { (capacity - used) * MAX_SCORE / capacity }
        });
        free.iter().sum::<i64>() / 2
    }

    fn weight(&self) -> i64 {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::schedule_one::tests::fits_in;
    use crate::testing::{named_pod, node};
    use serde_json::json;
    use std::sync::Arc;

    fn asking(name: &str, requests: serde_json::Value) -> Pod {
        named_pod(name, json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
    }

    #[test]
    fn everything_that_is_short_is_named() {
        let mut cache = Cache::default();
        cache.apply_node(Arc::new(node("n", json!({"status": {"allocatable": {"pods": "2"}}}))));
        cache.assume(Arc::new(asking("a", json!({"cpu": "3"}))), "n");
        assert_eq!(
            fits_in(&NodeResourcesFit, &asking("b", json!({"cpu": "1", "memory": "8Gi"})), &cache),
            Ok(())
        );
        assert_eq!(
            fits_in(
                &NodeResourcesFit,
                &asking("b", json!({"cpu": "1001m", "memory": "9Gi", "x/y": "1"})),
                &cache
            ),
            Err(Unfit {
                reasons: ["cpu", "memory", "x/y"].iter().map(|r| format!("Insufficient {r}")).collect(),
                lasting: true,
            })
        );
        cache.assume(Arc::new(asking("b", json!({}))), "n");
        assert_eq!(
            fits_in(&NodeResourcesFit, &asking("c", json!({})), &cache),
            Err(Unfit::because("Too many pods"))
        );
    }
}
