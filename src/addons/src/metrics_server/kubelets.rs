//! Asking kubelets over TLS with the pod's token.

use async_trait::async_trait;
use client::Rest;
use client::connect::with_token;
use http::Method;
use k8s_openapi::api::core::v1::{Node, NodeAddress};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a kubelet may take: an answer that comes later is of no use.
const PATIENCE: Duration = Duration::from_secs(10);
/// The kubelet's port where a node does not say.
const PORT: i32 = 10250;

/// Somebody who knows what kubelets say.
#[async_trait]
pub trait Kubelets: Send + Sync + 'static {
    /// The text of a node's `/metrics/resource`, or why there is none.
    async fn ask(&self, node: &Node) -> Result<String, String>;
}

/// The kubelets themselves.
pub struct KubeletClient {
    /// The authority of their certificates, PEM.
    authority: PathBuf,
    /// This pod's token.
    token: PathBuf,
    clients: Mutex<Clients>,
}

/// Clients by URL, for as long as the credentials stay the same.
#[derive(Default)]
struct Clients {
    token: String,
    authority: String,
    by_url: HashMap<String, Rest>,
}

impl KubeletClient {
    /// Asks with the credentials in these files; they are read again as they change.
    pub fn new(authority: impl Into<PathBuf>, token: impl Into<PathBuf>) -> Self {
        Self { authority: authority.into(), token: token.into(), clients: Mutex::default() }
    }

    async fn rest(&self, url: String) -> Result<Rest, String> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let (token, authority) = (read(&self.token)?.trim().to_owned(), read(&self.authority)?);
        let mut clients = self.clients.lock().await;
        if clients.token != token || clients.authority != authority {
            *clients = Clients { token, authority, by_url: HashMap::new() };
        }
        if let Some(rest) = clients.by_url.get(&url) {
            return Ok(rest.clone());
        }
        let client = with_token(&url, clients.authority.as_bytes(), &clients.token, "knarr-metrics-server");
        let rest = Rest::new(client.map_err(|error| error.to_string())?);
        clients.by_url.insert(url, rest.clone());
        Ok(rest)
    }
}

#[async_trait]
impl Kubelets for KubeletClient {
    async fn ask(&self, node: &Node) -> Result<String, String> {
        let rest = self.rest(url(node)?).await?;
        let asking = rest.raw(Method::GET, "/metrics/resource", None);
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(told) => told.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }
}

/// Where a node's kubelet listens.
fn url(node: &Node) -> Result<String, String> {
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    // A pod has IPv4: of nodes with IPv6 it reaches the address that they have among pods.
    let v6 = |address: &&NodeAddress| matches!(address.address.parse(), Ok(IpAddr::V6(_)));
    let of = |type_: &str| addresses.iter().filter(|address| address.type_ == type_).min_by_key(v6);
    let address = of("InternalIP").or_else(|| of("ExternalIP")).ok_or("the node has no address")?;
    let port = status
        .and_then(|status| status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref())
        .map_or(PORT, |endpoint| endpoint.port);
    match address.address.parse() {
        Ok(IpAddr::V6(address)) => Ok(format!("https://[{address}]:{port}")),
        _ => Ok(format!("https://{}:{port}", address.address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kubelets_are_asked_at_their_nodes_own_address() {
        let node =
            |status: serde_json::Value| serde_json::from_value::<Node>(json!({"status": status})).unwrap();
        let addresses =
            json!([{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]);
        assert_eq!(url(&node(json!({"addresses": addresses}))).unwrap(), "https://10.0.0.1:10250");
        let other = json!({"addresses": [{"type": "InternalIP", "address": "fd00::1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}}});
        assert_eq!(url(&node(other)).unwrap(), "https://[fd00::1]:1234");
        let both = json!({"addresses": [{"type": "InternalIP", "address": "fd00::1"},
            {"type": "InternalIP", "address": "10.1.3.0"}]});
        assert_eq!(url(&node(both)).unwrap(), "https://10.1.3.0:10250");
        assert!(url(&node(json!({}))).is_err());
    }
}
