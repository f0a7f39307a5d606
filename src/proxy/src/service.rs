//! One port of a Service, as far as the proxy is concerned.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort};
use std::fmt;
use std::net::IpAddr;

/// `service.spec.sessionAffinityConfig.clientIP.timeoutSeconds` when it is not set.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// A Service with this label is somebody else's to serve (KEP-2447).
const LABEL_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// From the API's name; TCP where there is none. None for one that is not known.
    pub(crate) fn parse(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// The name of a port of a Service; unique in a cluster. Displays as it occurs in the names of chains.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServicePortName {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) protocol: Protocol,
    /// Empty when it is the only one.
    pub(crate) port: String,
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.namespace, self.service, self.protocol, self.port)
    }
}

/// A port of a Service that has a cluster IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) name: ServicePortName,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) external_ips: Vec<IpAddr>,
    pub(crate) load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; everybody when it is empty.
    pub(crate) source_ranges: Vec<IpNet>,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
    /// For how many seconds a client stays with its endpoint.
    pub(crate) affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`
    pub(crate) internal_local: bool,
    /// `externalTrafficPolicy: Local`
    pub(crate) external_local: bool,
}

impl ServicePort {
    /// The ports of a Service; none when it is not the proxy's to serve (headless, ExternalName, marked for
    /// another proxy).
    pub(crate) fn of(service: &Service) -> Vec<Self> {
        let Some(spec) = &service.spec else { return Vec::new() };
        let labels = service.metadata.labels.as_ref();
        if spec.type_.as_deref() == Some("ExternalName")
            || labels.is_some_and(|labels| labels.contains_key(LABEL_PROXY_NAME))
        {
            return Vec::new();
        }
        let cluster_ips = match spec.cluster_ips.as_deref() {
            Some([]) | None => addresses(spec.cluster_ip.as_slice()),
            Some(ips) => addresses(ips),
        };
        // "None" is no address: headless.
        if cluster_ips.is_empty() {
            return Vec::new();
        }
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = ingress.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
        // A load balancer in mode Proxy delivers to NodePorts (KEP-1860).
        let ingress = ingress.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
        let load_balancer_ips: Vec<_> =
            ingress.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok()).collect();
        let affinity_seconds = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
            let seconds = config.and_then(|config| config.timeout_seconds);
            seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(DEFAULT_AFFINITY_SECONDS)
        });
        let template = Self {
            name: ServicePortName {
                namespace: service.metadata.namespace.clone().unwrap_or_default(),
                service: service.metadata.name.clone().unwrap_or_default(),
                protocol: Protocol::Tcp,
                port: String::new(),
            },
            cluster_ips,
            external_ips: addresses(spec.external_ips.as_deref().unwrap_or_default()),
            load_balancer_ips,
            source_ranges: ranges(spec.load_balancer_source_ranges.as_deref().unwrap_or_default()),
            port: 0,
            node_port: None,
            affinity_seconds,
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        };
        spec.ports.iter().flatten().filter_map(|port| template.with(port)).collect()
    }

    fn with(&self, port: &ApiPort) -> Option<Self> {
        let mut of_port = self.clone();
        of_port.name.protocol = Protocol::parse(port.protocol.as_deref())?;
        of_port.name.port = port.name.clone().unwrap_or_default();
        of_port.port = u16::try_from(port.port).ok()?;
        of_port.node_port =
            port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        Some(of_port)
    }

    /// Whether it can be reached otherwise than by its cluster IPs.
    pub(crate) fn is_external(&self) -> bool {
        self.node_port.is_some() || self.external_addresses().next().is_some()
    }

    /// External IPs and those of load balancers.
    pub(crate) fn external_addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.external_ips.iter().chain(&self.load_balancer_ips)
    }
}

fn addresses(texts: &[String]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The API allows spaces around ranges; they matter to nobody.
fn ranges(texts: &[String]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.trim().parse::<IpNet>().ok()).map(|net| net.trunc()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ports(spec: Value) -> Vec<ServicePort> {
        let service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec,
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"},
                {"ip": "192.0.2.2", "ipMode": "Proxy"}, {"hostname": "x"}]}}});
        ServicePort::of(&serde_json::from_value(service).unwrap())
    }

    #[test]
    fn every_port_becomes_one_with_the_service_s_settings() {
        let found = ports(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
            "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "externalIPs": ["203.0.113.1", "x"],
            "loadBalancerSourceRanges": [" 10.9.8.7/8 "],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080},
                {"name": "dns", "port": 53, "protocol": "UDP"}, {"port": 1, "protocol": "X"}]}));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name.to_string(), "default/web/tcp/http");
        assert_eq!((found[0].port, found[0].node_port), (80, Some(30080)));
        assert_eq!((found[1].name.protocol, found[1].node_port), (Protocol::Udp, None));
        assert_eq!(found[0].affinity_seconds, Some(10_800));
        assert_eq!((found[0].external_local, found[0].internal_local), (true, false));
        assert_eq!(found[0].load_balancer_ips, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(found[0].source_ranges, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!((found[0].cluster_ips.len(), found[0].external_ips.len()), (2, 1));
    }

    #[test]
    fn headless_services_and_external_names_have_none() {
        let port = json!([{"port": 80}]);
        assert!(ports(json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": port})).is_empty());
        assert!(ports(json!({"clusterIP": "", "ports": port})).is_empty());
        assert!(ports(json!({"type": "ExternalName", "externalName": "x", "ports": port})).is_empty());
    }
}
