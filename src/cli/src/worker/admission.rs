//! A worker that asks a cluster to let it in.

use super::material::Material;
use super::servers;
use crate::arguments::{Agent, NodeFlags};
use crate::cluster::protocol::{JoinRequest, NodeCertificates, NodeRole, VERSION};
use crate::cluster::remote::Remote;
use crate::cluster::target::Target;
use crate::paths::Paths;
use crate::server::{addresses, settings};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use pki::{Component, Draft};

/// What the cluster has given.
pub struct Admitted {
    /// What the worker keeps.
    pub material: Material,
    /// The kubelet's certificate (PEM).
    pub certificate: String,
    /// Its key (PEM).
    pub key: String,
}

impl Admitted {
    /// Asks for it; the cluster waits to hear how it went.
    ///
    /// # Errors
    /// The cluster's refusal, or when it does not answer.
    pub async fn ask(flags: &NodeFlags, remote: &Remote, token: &str) -> Result<Self> {
        let name = settings::node_name(flags)?;
        let addresses = match flags.node_ip.as_slice() {
            [] => addresses::primary().into_iter().collect(),
            given => given.to_vec(),
        };
        let Draft { key_pem, request_pem } = pki::make_request(Component::KubeletClient, &name, &[])?;
        let request = JoinRequest {
            token: token.to_owned(),
            name: name.clone(),
            role: NodeRole::Worker,
            version: VERSION.to_owned(),
            time: Timestamp::now(),
            addresses,
            datastore: None,
            failure_domain: String::new(),
            requests: Some(NodeCertificates { kubelet: request_pem, kubelet_serving: None, proxy: None }),
        };
        let answer = remote.join(&request).await?;
        let certificates = answer.certificates;
        let material = Material {
            node_name: name,
            servers: answer.api_servers,
            cluster_cidr: answer.common.cluster_cidr,
            service_cidr: Some(answer.common.service_cidr),
            cluster_dns: answer.common.cluster_dns,
            cluster_domain: answer.common.cluster_domain,
            ca_pem: answer.ca,
        };
        let certificates = certificates.context("the cluster sent no certificate; install its version")?;
        Ok(Self { material, certificate: certificates.kubelet, key: key_pem })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        self.material.save(paths, &self.certificate, &self.key)
    }
}

/// Joins by the flags of `knarr agent`, if the node has not joined yet and they say how.
///
/// # Errors
/// What is wrong with them, or why the cluster does not let the node in. Nothing has changed then.
pub async fn join_by_flags(options: &Agent, paths: &Paths) -> Result<()> {
    let Some(token) = options.token.as_deref().filter(|_| !Material::exists(paths)) else { return Ok(()) };
    let target = Target::parse(&target(&options.server, token)?)?;
    let remote = Remote::find(&target).await?;
    let admitted = Admitted::ask(&options.node, &remote, &target.token).await?;
    let saved = admitted.save(paths);
    // Once it has its certificate, the node introduces itself, whenever that is.
    remote.finish(&admitted.material.node_name, saved.is_ok()).await?;
    tracing::info!(cluster = ?target, "the node has joined");
    saved
}

fn target(given: &[String], token: &str) -> Result<String> {
    match servers(given)?.first() {
        Some(server) => Ok(format!("{server}/{token}")),
        None => bail!("--token needs --server https://HOST:PORT: an API server of the cluster to join"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_a_server_say_where_to_join() {
        let server = ["https://[fd00::1]:6443/".to_owned(), "https://b:6443".to_owned()];
        let (token, check) = ("a".repeat(32), "b".repeat(32));
        let found = Target::parse(&target(&server, &format!("{token}/{check}")).unwrap()).unwrap();
        assert_eq!(
            (found.host.as_str(), found.port, found.token, found.check),
            ("fd00::1", 6443, token.clone(), check)
        );
        let error = Target::parse(&target(&server, &token).unwrap()).unwrap_err().to_string();
        assert!(error.contains("the CHECK behind the token is missing"), "{error}");
        let error = target(&[], &token).unwrap_err().to_string();
        assert!(error.contains("--token needs --server"), "{error}");
    }
}
