//! What the runtime says to a plugin: environment variables and a network configuration on standard input
//! (CNI specification 1.0.0, section 2).
//!
//! Written here and not taken from the crate `cni-plugin`: that one is unmaintained and knows neither `hostIP`
//! nor SCTP in port mappings (see `docs/decisions/`).

use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// Versions that are spoken.
pub const VERSIONS: [&str; 3] = ["0.3.1", "0.4.0", "1.0.0"];

/// Error codes of the specification, section 5.
pub mod code {
    /// Incompatible CNI version.
    pub const VERSION: u32 = 1;
    /// A necessary environment variable is missing or wrong.
    pub const ENVIRONMENT: u32 = 4;
    /// The network configuration cannot be read.
    pub const DECODE: u32 = 6;
    /// The network configuration says something impossible.
    pub const CONFIGURATION: u32 = 7;
    /// No address is free: try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// First of the codes that are the plugin's own: something failed on this node.
    pub const FAILED: u32 = 100;
}

/// The network configuration of this plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Version of the protocol.
    #[serde(default)]
    pub cni_version: String,
    /// The plugin that is meant: this executable is more than one.
    #[serde(default, rename = "type")]
    pub plugin: String,
    /// Where addresses are kept.
    #[serde(default)]
    pub data_dir: PathBuf,
    /// Addresses of this node's pods.
    #[serde(default)]
    pub pod_cidrs: Vec<IpNet>,
    /// Largest packet; the kernel's default when absent.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// What the runtime adds for one pod.
    #[serde(default)]
    pub runtime_config: RuntimeConfiguration,
}

/// What the runtime adds for one pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfiguration {
    /// Ports of the host that lead to the pod.
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
}

/// A port of the host that leads to a port of the pod. containerd writes the names as Go does without being
/// told otherwise, with a capital.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port of the host.
    #[serde(alias = "HostPort")]
    pub host_port: u16,
    /// Port of the pod.
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    #[serde(default = "tcp", alias = "Protocol")]
    pub protocol: String,
    /// Only on this address of the host.
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    pub host_ip: String,
}

fn tcp() -> String {
    "tcp".to_owned()
}

impl PortMapping {
    /// The address that it is limited to, if any; the unspecified one is all addresses of its family.
    pub fn address(&self) -> Option<IpAddr> {
        self.host_ip.parse().ok()
    }
}

/// One call of the plugin.
#[derive(Clone, Debug)]
pub struct Call {
    /// `ADD`, `DEL`, `CHECK` or `VERSION`.
    pub command: String,
    /// The sandbox.
    pub container: String,
    /// Its network namespace; may be gone at DEL.
    pub namespace: Option<PathBuf>,
    /// Name of the interface in it.
    pub interface: String,
    /// The network configuration.
    pub configuration: Configuration,
}

/// Why a call cannot be served; becomes the reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// See [`code`].
    pub code: u32,
    /// What went wrong.
    pub message: String,
}

impl CallError {
    /// An error with a code.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Call {
    /// Reads a call.
    ///
    /// # Errors
    /// When a variable is missing or the configuration cannot be read.
    pub fn read(variable: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Self, CallError> {
        let need = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| CallError::new(code::ENVIRONMENT, format!("{name} is missing")))
        };
        let command = need("CNI_COMMAND")?;
        let configuration: Configuration = serde_json::from_slice(input).map_err(|e| {
            CallError::new(code::DECODE, format!("cannot read the network configuration: {e}"))
        })?;
        if command == "VERSION" {
            let (container, interface) = (String::new(), String::new());
            return Ok(Self { command, container, namespace: None, interface, configuration });
        }
        if !VERSIONS.contains(&configuration.cni_version.as_str()) {
            let message =
                format!("version {:?} is not spoken here; spoken: {VERSIONS:?}", configuration.cni_version);
            return Err(CallError::new(code::VERSION, message));
        }
        let namespace = variable("CNI_NETNS").filter(|path| !path.is_empty()).map(PathBuf::from);
        if namespace.is_none() && command != "DEL" {
            return Err(CallError::new(code::ENVIRONMENT, "CNI_NETNS is missing"));
        }
        let container = need("CNI_CONTAINERID")?;
        // It becomes part of a file's content and of nftables comments.
        if !container.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(CallError::new(
                code::ENVIRONMENT,
                "CNI_CONTAINERID has characters that are not allowed",
            ));
        }
        let interface = need("CNI_IFNAME")?;
        // IFNAMSIZ counts the NUL.
        if interface.len() > 15 || interface.contains(['/', ' ']) {
            return Err(CallError::new(
                code::ENVIRONMENT,
                format!("{interface:?} is no name of an interface"),
            ));
        }
        Ok(Self { command, container, namespace, interface, configuration })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], input: &str) -> Result<Call, CallError> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Call::read(find, input.as_bytes())
    }

    const ADD: [(&str, &str); 4] =
        [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/n"), ("CNI_IFNAME", "eth0")];

    #[test]
    fn a_call_is_read_with_its_port_mappings() {
        let call = read(
            &ADD,
            r#"{"cniVersion":"1.0.0","name":"knarr","type":"knarr-cni","podCidrs":["10.1.0.0/24"],
                "runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"sctp","hostIP":"1.2.3.4"}]}}"#,
        )
        .unwrap();
        let mapping = &call.configuration.runtime_config.port_mappings[0];
        assert_eq!((mapping.host_port, mapping.protocol.as_str()), (80, "sctp"));
        assert_eq!(mapping.address(), Some("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn wrong_calls_are_refused_with_the_code_of_the_specification() {
        let configuration = r#"{"cniVersion":"1.0.0"}"#;
        let refused = |variables: &[(&str, &str)], input: &str| read(variables, input).unwrap_err().code;
        assert_eq!(refused(&[], configuration), code::ENVIRONMENT);
        assert_eq!(refused(&ADD[..3], configuration), code::ENVIRONMENT);
        assert_eq!(refused(&ADD, "{"), code::DECODE);
        assert_eq!(refused(&ADD, r#"{"cniVersion":"0.1.0"}"#), code::VERSION);
        let mut hostile = ADD;
        hostile[1].1 = "a\"; flush ruleset; \"";
        assert_eq!(refused(&hostile, configuration), code::ENVIRONMENT);
    }
}
