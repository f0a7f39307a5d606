//! Objects that are simply there: namespaces, priority classes, authentication of aggregated API servers.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::authentication::RequestHeaderConfig;

/// The namespaces of every cluster.
pub(super) fn namespaces() -> Vec<Value> {
    let namespace = |name: &&str| {
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        })
    };
    ["default", "kube-system", "kube-public", "kube-node-lease"].iter().map(namespace).collect()
}

/// The priority classes that are reserved for the system. Two thousand million and above is out of reach of
/// anybody else's classes.
pub(super) fn priority_classes() -> Vec<Value> {
    let class = |name: &str, value: i64, description: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "generation": 1},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        })
    };
    vec![
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
}

/// Since when it is noted on which day tokens in Secrets are used (KEP-2799).
pub(super) fn token_tracking(now: Timestamp) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
        "data": {"since": now.to_zoned(TimeZone::UTC).date().to_string()},
    })
}

/// What the ConfigMap `kube-system/extension-apiserver-authentication` says, from which aggregated API
/// servers learn whom to believe.
#[derive(Clone, Debug, Default)]
pub struct ExtensionAuthentication {
    /// Authorities of client certificates, PEM.
    pub client_ca_pem: String,
    /// Authorities of front proxies, PEM; empty for none.
    pub request_header_ca_pem: String,
    /// Common names and header names of front proxies.
    pub request_header: Option<RequestHeaderConfig>,
}

impl ExtensionAuthentication {
    /// The ConfigMap.
    pub(super) fn to_object(&self) -> Value {
        let mut data = Map::new();
        data.insert("client-ca-file".into(), json!(self.client_ca_pem));
        if let Some(config) = &self.request_header {
            data.insert("requestheader-client-ca-file".into(), json!(self.request_header_ca_pem));
            for (key, list) in [
                ("requestheader-allowed-names", &config.allowed_names),
                ("requestheader-username-headers", &config.username_headers),
                ("requestheader-uid-headers", &config.uid_headers),
                ("requestheader-group-headers", &config.group_headers),
                ("requestheader-extra-headers-prefix", &config.extra_header_prefixes),
            ] {
                // Each value is a JSON list in a string.
                data.insert(key.into(), json!(json!(list).to_string()));
            }
        }
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": data,
        })
    }
}
