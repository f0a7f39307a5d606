//! What a worker got when it joined, and keeps: whom it trusts, where the API is, who it is.

use crate::cluster::networks::Networks;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// Facts of the cluster and the node, as JSON in [`Material::FACTS`]; certificates lie beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Material {
    /// Name that the node joined with; its certificate says so too.
    pub node_name: String,
    /// API servers that were known then, as `HOST:PORT`.
    pub servers: Vec<String>,
    /// Addresses of pods.
    pub cluster_cidr: Networks,
    /// Addresses of Services; older versions did not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_cidr: Option<Networks>,
    /// Address of the DNS Service.
    pub cluster_dns: IpAddr,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// Certificates (PEM) of the cluster's authority.
    #[serde(skip)]
    pub ca_pem: String,
}

impl Material {
    const FACTS: &str = "agent.json";
    const CA: &str = "ca.crt";

    /// Whether the node has joined as a worker.
    pub fn exists(paths: &Paths) -> bool {
        paths.agent().join(Self::FACTS).exists()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the node has not joined, or a file is damaged.
    pub fn load(paths: &Paths) -> Result<Self> {
        let path = paths.agent().join(Self::FACTS);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "this node has not joined a cluster; run `knarr add-node` on a node of one, and the command that it \
                 prints here"
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let material: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; let the node join again", path.display()))?;
        let path = paths.agent().join(Self::CA);
        let ca_pem = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}; let the node join again", path.display()))?;
        Ok(Self { ca_pem, ..material })
    }

    /// Keeps it, with the kubelet's first certificate and key (PEM). The facts come last: what is there is whole.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, paths: &Paths, certificate_pem: &str, key_pem: &str) -> Result<()> {
        let folder = paths.agent();
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // The servers of another cluster.
        let _ = std::fs::remove_file(Self::servers_file(paths));
        pki::write_private(&folder.join(Self::CA), self.ca_pem.as_bytes())?;
        let identity = format!("{}{key_pem}", with_newline(certificate_pem));
        pki::write_private(&Self::identity_file(paths, "kubelet-client"), identity.as_bytes())?;
        pki::write_private(&folder.join(Self::FACTS), &serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Where the balancer keeps its list.
    pub fn servers_file(paths: &Paths) -> PathBuf {
        paths.agent().join("servers")
    }

    /// Where a certificate and its key lie.
    pub fn identity_file(paths: &Paths, name: &str) -> PathBuf {
        paths.agent().join(format!("{name}.pem"))
    }
}

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_kept_and_its_lack_is_told_with_the_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let error = Material::load(&paths).unwrap_err().to_string();
        assert!(error.contains("knarr add-node"), "{error}");
        let material = Material {
            node_name: "w1".to_owned(),
            servers: vec!["10.0.0.1:6443".to_owned()],
            cluster_cidr: "10.1.0.0/16".parse().unwrap(),
            service_cidr: Some("10.152.183.0/24".parse().unwrap()),
            cluster_dns: "10.152.183.10".parse().unwrap(),
            cluster_domain: "cluster.local".to_owned(),
            ca_pem: "CA\n".to_owned(),
        };
        material.save(&paths, "CERT", "KEY\n").unwrap();
        assert_eq!(Material::load(&paths).unwrap(), material);
        let identity = std::fs::read_to_string(Material::identity_file(&paths, "kubelet-client")).unwrap();
        assert_eq!(identity, "CERT\nKEY\n");
        std::fs::write(paths.agent().join("agent.json"), "{").unwrap();
        assert!(Material::load(&paths).unwrap_err().to_string().contains("damaged"));
    }
}
