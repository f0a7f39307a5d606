//! What a node that joins and the cluster say to each other: JSON over HTTPS at the API server's port.
//!
//! | request | answer |
//! |---|---|
//! | GET [`HELLO`] | [`Hello`]: public. The joiner believes the authority in it only if the pin says so |
//! | POST [`JOIN`] of a [`JoinRequest`] | [`JoinAnswer`]. The cluster knows the node from then on, for [`PENDING_SECONDS`] |
//! | POST [`FINISH`] of a [`Finish`] | `{}`. The node stays, or the cluster forgets it |
//!
//! Refusals are a `Status` whose message says what to do; nothing has changed then. A request may be repeated: with the
//! same token and name it takes the place of the one before, as long as that was not finished.

use super::networks::Networks;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Who the cluster is.
pub const HELLO: &str = "/knarr/v1/hello";
/// A node wants to join.
pub const JOIN: &str = "/knarr/v1/join";
/// It has joined, or it gives up.
pub const FINISH: &str = "/knarr/v1/join/finish";

/// After this time a node that never said that it has joined is forgotten.
pub const PENDING_SECONDS: i32 = 600;
/// Clocks may differ by this much. Certificates are valid from an hour before they are made, and tokens of service
/// accounts from the moment.
pub const CLOCK_SECONDS: i64 = 60;
/// The version that both sides have to have.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What anybody may know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The cluster's version of knarr.
    pub version: String,
    /// Its clock.
    pub time: Timestamp,
    /// The cluster authority's certificates, PEM.
    pub ca: String,
}

/// As what a node joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// API server, datastore and the rest; pods too, unless it runs without an agent.
    ControlPlane,
    /// Pods only.
    Worker,
}

/// A node wants to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// What `add-node` has given.
    pub token: String,
    /// The node's name.
    pub name: String,
    /// As what.
    pub role: NodeRole,
    /// Its version of knarr.
    pub version: String,
    /// Its clock.
    pub time: Timestamp,
    /// Its addresses; the first is the one that other nodes use.
    pub addresses: Vec<IpAddr>,
    /// Control plane: where its datastore is reached, `ADDRESS:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// Control plane: what fails together with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure_domain: String,
    /// Worker: requests for the certificates that it needs. Its keys stay with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<NodeCertificates>,
}

/// Certificates of a worker (PEM), or the requests for them (`pki::make_request`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCertificates {
    /// The kubelet as a client (`pki::Component::KubeletClient`).
    pub kubelet: String,
    /// The kubelet's server (`pki::Component::KubeletServing`), for the node's name and addresses. A kubelet can ask for
    /// it through the API as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet_serving: Option<String>,
    /// The service proxy as a client (`pki::Component::Proxy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// What all nodes of a cluster have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Common {
    /// Addresses of pods.
    pub cluster_cidr: Networks,
    /// Addresses of Services.
    pub service_cidr: Networks,
    /// Ports of Services of type NodePort: the first and the last.
    pub node_ports: (u16, u16),
    /// Address of the DNS Service.
    pub cluster_dns: IpAddr,
    /// Domain of the cluster.
    pub cluster_domain: String,
}

/// What a node gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinAnswer {
    /// Authorities of API servers and kubelets, PEM.
    pub ca: String,
    /// Every API server, `ADDRESS:PORT`.
    pub api_servers: Vec<String>,
    /// What all nodes have in common.
    pub common: Common,
    /// Control plane: what it needs to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlane>,
    /// Worker: its certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<NodeCertificates>,
}

/// What makes a node one of the control plane. Secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// Its place in the datastore.
    pub ticket: datastore::raft::Ticket,
    /// Files of the cluster's keys, by their names in `pki/`.
    pub files: BTreeMap<String, String>,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.files.keys().collect();
        f.debug_struct("ControlPlane").field("ticket", &self.ticket).field("files", &names).finish()
    }
}

/// How joining went.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finish {
    /// The token of the request.
    pub token: String,
    /// The node's name.
    pub name: String,
    /// Whether it has joined; otherwise the cluster is to forget it.
    pub joined: bool,
}

/// What is wrong with a joiner's version or clock, in words that say what to do.
pub fn unfit(version: &str, time: Timestamp, own_version: &str, now: Timestamp) -> Option<String> {
    if version != own_version {
        return Some(format!(
            "the node that joins runs knarr {version} and the cluster {own_version}: install the cluster's version, \
             then join again"
        ));
    }
    let apart = (now.as_second() - time.as_second()).abs();
    (apart > CLOCK_SECONDS).then(|| {
        format!(
            "the clocks of the node that joins and of the cluster are {apart} seconds apart ({time} and {now}): set \
             them right (NTP), then join again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_clocks_have_to_agree() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        assert_eq!(unfit("1.0.0", at(0), "1.0.0", at(CLOCK_SECONDS)), None);
        assert_eq!(unfit("1.0.0", at(CLOCK_SECONDS), "1.0.0", at(0)), None);
        assert!(unfit("1.0.0", at(3600), "1.0.0", at(0)).unwrap().contains("3600 seconds apart"));
        assert!(unfit("1.0.0", at(0), "1.0.0", at(3600)).unwrap().contains("NTP"));
        assert!(unfit("1.0.1", at(0), "1.0.0", at(0)).unwrap().contains("install the cluster's version"));
    }
}
