//! Ports of the host that pods take.

use k8s_openapi::api::core::v1::Pod;

/// A port of the host: address, protocol, port. The address `0.0.0.0` means all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    /// The ports that a pod takes.
    pub fn of(pod: &Pod) -> Vec<Self> {
        let Some(spec) = &pod.spec else { return Vec::new() };
        let sidecars =
            spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
        ports
            .filter_map(|p| {
                let port = p.host_port.filter(|port| *port > 0)?;
                let address = p.host_ip.clone().filter(|ip| !ip.is_empty() && ip != "::");
                Some(Self {
                    address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                    protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                    port,
                })
            })
            .collect()
    }

    /// Whether both cannot be had on one node.
    pub fn collides(&self, other: &Self) -> bool {
        let everywhere = |port: &Self| port.address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || everywhere(self) || everywhere(other))
    }
}
