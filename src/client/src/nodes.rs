//! What several parts ask of a Node. Pure.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use std::net::IpAddr;

/// A condition of a node by its type.
pub fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the Ready condition is True.
pub fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|condition| condition.status == "True")
}

/// The ranges that a node's pods have addresses of; none until it was given some.
pub fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let ranges = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
    ranges.filter_map(|range| range.parse().ok()).collect()
}

/// A node's own addresses: its InternalIPs in their order. One out of its pods' ranges, of a family that it lacks, is not
/// among them: it leads through the pod network, and is known within the cluster only.
pub fn own_addresses(node: &Node) -> Vec<IpAddr> {
    let of_pods = pod_cidrs(node);
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = all.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok());
    internal.filter(|address| !of_pods.iter().any(|range| range.contains(address))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_ready_when_it_says_so() {
        for (status, ready) in [("True", true), ("False", false), ("Unknown", false)] {
            let conditions =
                json!([{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": status}]);
            let node = serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap();
            assert_eq!(is_ready(&node), ready, "{status}");
        }
        assert!(!is_ready(&Node::default()));
    }

    #[test]
    fn addresses_among_pods_are_not_a_nodes_own() {
        let node: Node = serde_json::from_value(json!({
            "spec": {"podCIDRs": ["10.1.0.0/24", "fd00:10:1::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "fd00:10:1::"}, {"type": "Hostname", "address": "10.9.9.9"}]}}))
        .unwrap();
        assert_eq!(own_addresses(&node), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }
}
