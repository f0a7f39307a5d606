//! The configuration of a pod's sandbox. Pure.

use super::labels;
use super::security_context::sandbox_context;
use crate::cm;
use crate::dns::{self, NodeDns};
use crate::pod;
use crate::resources;
use k8s_cri::v1;
use k8s_openapi::api::core::v1::Pod;
use std::path::Path;
use thiserror::Error;

/// The longest host name that the kernel takes.
const MAX_HOST_NAME: usize = 64;

/// A pod's sandbox cannot be described.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SandboxConfigError {
    /// `setHostnameAsFQDN` with too long a name.
    #[error("failed to construct FQDN from pod hostname and cluster domain, FQDN {0} is too long (64 characters is the max, {len} characters requested)", len = .0.len())]
    LongFqdn(String),
    /// `hostUsers: false`.
    #[error("user namespaces (hostUsers: false) are not supported on this node")]
    UserNamespace,
}

/// What a sandbox depends on besides its pod.
pub struct SandboxContext<'a> {
    /// Name resolution.
    pub dns: &'a NodeDns,
    /// The pod's cgroup.
    pub cgroup_parent: String,
    /// The pod's log directory.
    pub log_directory: &'a Path,
}

/// The configuration, with warnings for events.
///
/// # Errors
/// When the pod asks for what cannot be.
pub fn sandbox_config(
    pod: &Pod,
    attempt: u32,
    context: &SandboxContext<'_>,
) -> Result<(v1::PodSandboxConfig, Vec<String>), SandboxConfigError> {
    let spec = pod::spec(pod);
    if spec.host_users == Some(false) {
        return Err(SandboxConfigError::UserNamespace);
    }
    let (dns_config, warnings) = dns::pod_dns(pod, context.dns);
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let limits = cm::pod_limits(pod);
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod::name(pod).to_owned(),
            namespace: pod::namespace(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            attempt,
        }),
        hostname: host_name(pod, &context.dns.cluster_domain)?,
        log_directory: context.log_directory.display().to_string(),
        dns_config: Some(dns_config),
        port_mappings: port_mappings(pod),
        labels: labels::sandbox_labels(pod),
        annotations: labels::sandbox_annotations(pod),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: context.cgroup_parent.clone(),
            security_context: Some(sandbox_context(pod)),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            overhead: Some(overhead(pod)),
            resources: Some(v1::LinuxContainerResources {
                cpu_shares: limits.shares,
                cpu_quota: limits.quota.unwrap_or(0),
                cpu_period: limits.period,
                memory_limit_in_bytes: limits.memory.unwrap_or(0),
                ..v1::LinuxContainerResources::default()
            }),
        }),
        windows: None,
    };
    Ok((config, warnings))
}

fn host_name(pod: &Pod, cluster_domain: &str) -> Result<String, SandboxConfigError> {
    if pod::host_network(pod) && pod::spec(pod).hostname_override.is_none() {
        return Ok(String::new());
    }
    let (name, domain) = dns::host_name(pod, cluster_domain);
    if pod::spec(pod).set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(name);
    }
    let full = format!("{name}.{domain}");
    if full.len() > MAX_HOST_NAME { Err(SandboxConfigError::LongFqdn(full)) } else { Ok(full) }
}

fn overhead(pod: &Pod) -> v1::LinuxContainerResources {
    let amount = |name| resources::amount(pod::spec(pod).overhead.as_ref(), name);
    v1::LinuxContainerResources {
        cpu_shares: amount("cpu").map_or(0, cm::milli_cpu_to_shares),
        memory_limit_in_bytes: amount("memory").unwrap_or(0),
        ..v1::LinuxContainerResources::default()
    }
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    // On the node's network every port is the node's already.
    if pod::host_network(pod) {
        return Vec::new();
    }
    let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
    pod::containers(pod)
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            Some(v1::PortMapping {
                protocol: v1::Protocol::from_str_name(port.protocol.as_deref().unwrap_or("TCP"))
                    .unwrap_or(v1::Protocol::Tcp) as i32,
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sandbox_carries_identity_network_and_ports() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u",
            "labels": {"app": "x"}}, "spec": {"containers": [{"name": "a", "ports": [
                {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}, {"containerPort": 81}]}]}}))
        .unwrap();
        let dns = NodeDns { cluster_domain: "cluster.local".into(), ..NodeDns::default() };
        let context = SandboxContext {
            dns: &dns,
            cgroup_parent: "/kubepods/podu".into(),
            log_directory: Path::new("/l"),
        };
        let (config, _) = sandbox_config(&pod, 2, &context).unwrap();
        assert_eq!(config.metadata.unwrap().attempt, 2);
        assert_eq!(config.hostname, "p");
        assert_eq!(config.labels["app"], "x");
        assert_eq!(config.labels[labels::POD_UID], "u");
        assert_eq!(config.port_mappings.len(), 1);
        let linux = config.linux.unwrap();
        assert_eq!(linux.cgroup_parent, "/kubepods/podu");
        let namespaces = linux.security_context.unwrap().namespace_options.unwrap();
        assert_eq!(namespaces.pid, v1::NamespaceMode::Container as i32);
    }
}
