//! Upstream servers and stub domains, read again when the file changes.

use super::forward::Forwarder;
use crate::arguments::address;
use apimachinery::decode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often the file is looked at. A mounted ConfigMap follows its object within a minute anyway.
const PERIOD: Duration = Duration::from_secs(5);

/// Where names outside the cluster are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Servers for everything.
    pub upstream: Vec<SocketAddr>,
    /// Servers for single domains, in lower case without a dot at the end.
    pub stub_domains: BTreeMap<String, Vec<SocketAddr>>,
}

/// Why a configuration is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {why}; expected `upstream: [IP[:PORT]]` and `stubDomains: {{DOMAIN: [IP[:PORT]]}}`")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    upstream: Vec<String>,
    stub_domains: BTreeMap<String, Vec<String>>,
}

impl Configuration {
    /// The configuration out of flags, the file (which wins) and, where neither names servers, resolv.conf.
    pub fn read(upstream: &[SocketAddr], file: Option<&Path>) -> Result<Self, ConfigurationError> {
        let mut configuration = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigurationError::Read { path: path.to_owned(), source })?;
                Self::parse(&text).map_err(|why| ConfigurationError::Parse { path: path.to_owned(), why })?
            }
            None => Self::default(),
        };
        if configuration.upstream.is_empty() {
            configuration.upstream = upstream.to_vec();
        }
        if configuration.upstream.is_empty() {
            configuration.upstream =
                resolv_conf(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        }
        Ok(configuration)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = if text.trim().is_empty() {
            File::default()
        } else {
            decode::from_yaml(text).map_err(|e| e.to_string())?
        };
        let addresses = |texts: Vec<String>| -> Result<Vec<SocketAddr>, String> {
            texts.iter().map(|t| address(t).ok_or_else(|| format!("{t:?} is no address"))).collect()
        };
        let mut stub_domains = BTreeMap::new();
        for (domain, servers) in file.stub_domains {
            stub_domains.insert(domain.trim_end_matches('.').to_lowercase(), addresses(servers)?);
        }
        Ok(Self { upstream: addresses(file.upstream)?, stub_domains })
    }

    /// The servers for a name: those of the longest stub domain that it is in, else those for everything.
    pub fn servers(&self, name: &str) -> &[SocketAddr] {
        let mut rest = name.trim_end_matches('.');
        loop {
            if let Some(servers) = self.stub_domains.get(rest) {
                return servers;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return &self.upstream,
            }
        }
    }
}

/// The servers of a resolv.conf. Loopback ones are the node's, not the pod's, and are left out.
fn resolv_conf(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| address(rest.split_whitespace().next()?))
        .filter(|server| !server.ip().is_loopback())
        .collect()
}

/// Gives the forwarder a new configuration whenever the file has changed to a valid one.
pub async fn reload(upstream: Vec<SocketAddr>, file: Option<PathBuf>, forwarder: Arc<Forwarder>) {
    let Some(path) = file else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PERIOD).await;
        match Configuration::read(&upstream, Some(&path)) {
            Ok(configuration) => forwarder.configure(configuration),
            Err(error) => tracing::warn!("the old configuration stays: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stub_domain_counts() {
        let text = "upstream: [8.8.8.8]\nstubDomains:\n  corp.example: [10.0.0.1]\n  eu.corp.example.: ['10.0.0.2:5353']\n";
        let configuration = Configuration::parse(text).unwrap();
        assert_eq!(configuration.servers("a.eu.corp.example."), ["10.0.0.2:5353".parse().unwrap()]);
        assert_eq!(configuration.servers("corp.example"), ["10.0.0.1:53".parse().unwrap()]);
        assert_eq!(configuration.servers("example."), ["8.8.8.8:53".parse().unwrap()]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["upstream: [x]", "other: 1", "- a", "stubDomains: {a: [b]}"] {
            assert!(Configuration::parse(text).is_err(), "{text}");
        }
        assert_eq!(Configuration::parse("").unwrap(), Configuration::default());
    }

    #[test]
    fn resolv_conf_gives_servers_but_not_loopback() {
        let text =
            "# c\nsearch a\nnameserver 127.0.0.53\nnameserver 10.0.0.3\nnameserver fd00::1\noptions x\n";
        assert_eq!(resolv_conf(text), ["10.0.0.3:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    }
}
