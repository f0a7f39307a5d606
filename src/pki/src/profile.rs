//! What is issued: the profiles in the top-level folder `certs/`, compiled in.

use std::net::IpAddr;

use apimachinery::decode::from_yaml;
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde::Deserialize;

use crate::error::PkiError;

/// A certificate that Knarr knows how to issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// The authority of servers and clients.
    ClusterCa,
    /// The authority of front-proxy clients.
    FrontProxyCa,
    /// The authority of the datastore's nodes.
    DatastoreCa,
    /// A node's datastore, as client and server of others.
    DatastorePeer,
    /// The API server's serving certificate.
    ApiServer,
    /// The API server as a client of kubelets.
    ApiServerKubeletClient,
    /// A kubelet's serving certificate.
    KubeletServing,
    /// A kubelet as a client of the API server.
    KubeletClient,
    /// The administrator.
    Admin,
    /// helm, as the controller of charts runs it.
    Helm,
    /// Controllers outside the API server's process.
    ControllerManager,
    /// A scheduler outside the API server's process.
    Scheduler,
    /// The service proxy of a worker.
    Proxy,
    /// The API server as a client of aggregated API servers.
    FrontProxyClient,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ClusterCa,
        Self::FrontProxyCa,
        Self::DatastoreCa,
        Self::DatastorePeer,
        Self::ApiServer,
        Self::ApiServerKubeletClient,
        Self::KubeletServing,
        Self::KubeletClient,
        Self::Admin,
        Self::Helm,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Proxy,
        Self::FrontProxyClient,
    ];

    /// The certificate's file name without extension.
    pub fn file_stem(self) -> &'static str {
        match self {
            // Where administrators look for it, since kubeadm.
            Self::ClusterCa => "ca",
            Self::FrontProxyCa => "front-proxy-ca",
            Self::DatastoreCa => "datastore-ca",
            Self::DatastorePeer => "datastore-peer",
            Self::ApiServer => "apiserver",
            Self::ApiServerKubeletClient => "apiserver-kubelet-client",
            Self::KubeletServing => "kubelet-serving",
            Self::KubeletClient => "kubelet-client",
            Self::Admin => "admin",
            Self::Helm => "helm",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Proxy => "proxy",
            Self::FrontProxyClient => "front-proxy-client",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::ClusterCa => include_str!("../../../certs/cluster-ca.yaml"),
            Self::FrontProxyCa => include_str!("../../../certs/front-proxy-ca.yaml"),
            Self::DatastoreCa => include_str!("../../../certs/datastore-ca.yaml"),
            Self::DatastorePeer => include_str!("../../../certs/datastore-peer.yaml"),
            Self::ApiServer => include_str!("../../../certs/apiserver.yaml"),
            Self::ApiServerKubeletClient => include_str!("../../../certs/apiserver-kubelet-client.yaml"),
            Self::KubeletServing => include_str!("../../../certs/kubelet-serving.yaml"),
            Self::KubeletClient => include_str!("../../../certs/kubelet-client.yaml"),
            Self::Admin => include_str!("../../../certs/admin.yaml"),
            Self::Helm => include_str!("../../../certs/helm.yaml"),
            Self::ControllerManager => include_str!("../../../certs/controller-manager.yaml"),
            Self::Scheduler => include_str!("../../../certs/scheduler.yaml"),
            Self::Proxy => include_str!("../../../certs/proxy.yaml"),
            Self::FrontProxyClient => include_str!("../../../certs/front-proxy-client.yaml"),
        }
    }

    /// The profile from `certs/`.
    ///
    /// # Errors
    /// [`PkiError::Profile`] when the compiled-in text is not a profile.
    pub fn profile(self) -> Result<Profile, PkiError> {
        let invalid = |reason: String| PkiError::Profile { name: self.file_stem().into(), reason };
        from_yaml(self.text()).map_err(|error| invalid(error.to_string()))
    }
}

/// Who signs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signer {
    /// The certificate's own key: an authority.
    #[serde(rename = "self")]
    Itself,
    /// The cluster authority.
    Cluster,
    /// The front-proxy authority.
    FrontProxy,
    /// The authority of the datastore's nodes.
    Datastore,
}

/// How one certificate is made; see `certs/README.md`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// Who signs it.
    pub authority: Signer,
    /// How long it is valid, days.
    pub validity_days: u32,
    /// The name in it.
    pub subject: Subject,
    /// X.509 key usages.
    #[serde(default)]
    pub key_usages: Vec<KeyUsage>,
    /// X.509 extended key usages.
    #[serde(default)]
    pub extended_key_usages: Vec<ExtendedKeyUsage>,
    /// DNS names that are always in it.
    #[serde(default)]
    pub dns_names: Vec<String>,
    /// Addresses that are always in it.
    #[serde(default)]
    pub ip_addresses: Vec<IpAddr>,
}

/// The distinguished name: user and group of a client certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// CN: the user's name.
    pub common_name: String,
    /// O: the user's group.
    #[serde(default)]
    pub organization: Option<String>,
}

/// RFC 5280, section 4.2.1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub enum KeyUsage {
    DigitalSignature,
    KeyEncipherment,
    KeyCertSign,
    #[serde(rename = "cRLSign")]
    CrlSign,
}

/// RFC 5280, section 4.2.1.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub enum ExtendedKeyUsage {
    ServerAuth,
    ClientAuth,
}

impl From<KeyUsage> for KeyUsagePurpose {
    fn from(usage: KeyUsage) -> Self {
        match usage {
            KeyUsage::DigitalSignature => Self::DigitalSignature,
            KeyUsage::KeyEncipherment => Self::KeyEncipherment,
            KeyUsage::KeyCertSign => Self::KeyCertSign,
            KeyUsage::CrlSign => Self::CrlSign,
        }
    }
}

impl From<ExtendedKeyUsage> for ExtendedKeyUsagePurpose {
    fn from(usage: ExtendedKeyUsage) -> Self {
        match usage {
            ExtendedKeyUsage::ServerAuth => Self::ServerAuth,
            ExtendedKeyUsage::ClientAuth => Self::ClientAuth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_parses_and_leaves_are_signed_by_an_authority() {
        for component in Component::ALL {
            let profile = component.profile().unwrap();
            let is_authority =
                matches!(component, Component::ClusterCa | Component::FrontProxyCa | Component::DatastoreCa);
            assert_eq!(profile.authority == Signer::Itself, is_authority, "{component:?}");
            assert_eq!(profile.extended_key_usages.is_empty(), is_authority, "{component:?}");
            assert_eq!(profile.key_usages.contains(&KeyUsage::KeyCertSign), is_authority, "{component:?}");
        }
    }
}
