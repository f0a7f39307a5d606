//! A pod that names its node fits only there.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use k8s_openapi::api::core::v1::Pod;

/// See the module.
pub struct NodeName;

const REASON: &str = "node(s) didn't match the requested node name";

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> Result<(), Unfit> {
        match pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) {
            Some(name) if !name.is_empty() && name != node.name() => Err(Unfit::for_good(REASON)),
            _ => Ok(()),
        }
    }
}
