//! A port of the host can be had by one pod of a node.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use crate::host_ports::HostPort;
use k8s_openapi::api::core::v1::Pod;

/// See the module.
pub struct NodePorts;

const REASON: &str = "node(s) didn't have free ports for the requested pod ports";

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::PodDeleted, ClusterEvent::NodeAdded]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _: &Snapshot<'_>) -> Result<(), Unfit> {
        let taken = |wanted: &HostPort| node.host_ports.iter().any(|port| port.collides(wanted));
        if HostPort::of(pod).iter().any(taken) { Err(Unfit::because(REASON)) } else { Ok(()) }
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

    #[test]
    fn a_taken_port_is_refused_unless_address_or_protocol_differ() {
        let wants = |name: &str, port: serde_json::Value| {
            named_pod(name, json!({"containers": [{"name": "c", "ports": [port]}]}))
        };
        let mut cache = Cache::default();
        cache.apply_node(Arc::new(node("n", json!({}))));
        cache.assume(
            Arc::new(wants("a", json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}))),
            "n",
        );
        for (port, expected) in [
            (json!({"containerPort": 1, "hostPort": 80}), false),
            (json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}), false),
            (json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.2"}), true),
            (json!({"containerPort": 1, "hostPort": 80, "protocol": "UDP"}), true),
            (json!({"containerPort": 80}), true),
        ] {
            assert_eq!(fits_in(&NodePorts, &wants("b", port.clone()), &cache).is_ok(), expected, "{port}");
        }
    }
}
