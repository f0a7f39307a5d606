//! What the servers of several add-ons ask of a Node. Pure.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use std::net::IpAddr;

/// Whether a node is Ready.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A node's own addresses. One out of its pods' range, of a family that it lacks, is known within the cluster only.
pub fn own_addresses(node: &Node) -> Vec<IpAddr> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let ranges = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
    let of_pods: Vec<IpNet> = ranges.filter_map(|range| range.parse().ok()).collect();
    let internal = all.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok());
    internal.filter(|address| !of_pods.iter().any(|range| range.contains(address))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
