//! Where kubelets are.

use super::target::{Scheme, Target, address};
use crate::ApiServer;
use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{Result, Status};
use serde_json::Value;

/// The kubelet's port where the node does not say (upstream's `KubeletPort`).
const DEFAULT_PORT: u16 = 10250;
/// Upstream's `--kubelet-preferred-address-types`, without names: those would have to be resolved.
const ADDRESS_TYPES: [&str; 2] = ["InternalIP", "ExternalIP"];

/// The kubelet of a node.
///
/// # Errors
/// 404 when there is no such node, 503 when it has no address.
pub(crate) async fn of_node(server: &ApiServer, node: &str) -> Result<Target> {
    let nodes = GroupResource::new("", "nodes");
    let found = server.registry().get_value(&nodes, "", node).await?;
    let found = found.ok_or_else(|| Status::not_found(&nodes, node))?;
    let addresses = value::list_at(&found, &["status", "addresses"]);
    let ip = ADDRESS_TYPES
        .iter()
        .find_map(|kind| addresses.iter().find(|a| value::text(a, "type") == *kind))
        .map(|a| value::text(a, "address"))
        .ok_or_else(|| {
            Status::service_unavailable(format!("no preferred addresses found for node {node:?}"))
        })?;
    Ok(Target { scheme: Scheme::Kubelet, address: address(ip, port(&found))? })
}

fn port(node: &Value) -> u16 {
    value::int_at(node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"])
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .unwrap_or(DEFAULT_PORT)
}
