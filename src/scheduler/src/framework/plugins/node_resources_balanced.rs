//! A node whose CPU and memory would be used in like parts is liked more.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, MAX_SCORE, Plugin, Snapshot};
use crate::resources::Resources;
use k8s_openapi::api::core::v1::Pod;

/// See the module.
pub struct NodeResourcesBalancedAllocation;

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[]
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> i64 {
        let wanted = Resources::requested(pod);
        // Thousandths of the capacity: whole numbers keep the decision the same on every machine.
        let used = ["cpu", "memory"].map(|name| {
            let capacity = node.allocatable.get(name).max(1);
            let used = node.requested.get(name).saturating_add(wanted.get(name));
            used.saturating_mul(1000).checked_div(capacity).unwrap_or(0).min(1000)
        });
        // The standard deviation of two numbers is half their distance.
        let [cpu, memory] = used;
        MAX_SCORE - (cpu - memory).abs() / 2 * MAX_SCORE / 1000
    }

    fn weight(&self) -> i64 {
        1
    }
}
