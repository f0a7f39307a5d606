//! The chains and map elements of one port of a Service.

use super::family::{NftFamily as _, endpoint_in_name};
use crate::endpoints::Reachable;
use crate::service::ServicePort;
use apimachinery::family::Family;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The sets and maps that Services put elements into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Map {
    ClusterIps,
    FirewallIps,
    NoEndpointNodePorts,
    NoEndpointServices,
    ServiceIps,
    ServiceNodePorts,
}

impl Map {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClusterIps => "cluster-ips",
            Self::FirewallIps => "firewall-ips",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::NoEndpointServices => "no-endpoint-services",
            Self::ServiceIps => "service-ips",
            Self::ServiceNodePorts => "service-nodeports",
        }
    }
}

/// What one port of a Service has in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// Rules by chain.
    pub(crate) chains: BTreeMap<String, Vec<String>>,
    /// Sets of clients that stay with an endpoint; for how many seconds.
    pub(crate) affinity_sets: BTreeMap<String, u32>,
    /// Verdicts by key; empty for a set.
    pub(crate) elements: BTreeMap<(Map, String), String>,
}

/// Renders a port.
///
/// | chain | who gets there |
/// |---|---|
/// | `service-` | traffic under the policy Cluster |
/// | `local-` | traffic under the policy Local |
/// | `external-` | traffic that came for another address than a cluster IP |
/// | `firewall-` | traffic for a load balancer with source ranges |
/// | `endpoint-` | traffic for one endpoint |
pub(crate) fn render(
    port: &ServicePort,
    reachable: &Reachable,
    family: Family,
    cluster_cidrs: &[IpNet],
) -> Rendered {
    let cidrs = cluster_cidrs.iter().filter(|net| family.has(&net.addr())).collect();
    let mut renderer = Renderer { port, reachable, family, cidrs, out: Rendered::default() };
    renderer.cluster_ips();
    renderer.external();
    renderer.firewall();
    renderer.policies();
    renderer.out
}

struct Renderer<'a> {
    port: &'a ServicePort,
    reachable: &'a Reachable,
    family: Family,
    cidrs: Vec<&'a IpNet>,
    out: Rendered,
}

impl<'a> Renderer<'a> {
    fn chain(&self, kind: &str) -> String {
        format!("{kind}-{}", self.port.name)
    }

    fn of_family<'b>(&self, addresses: impl Iterator<Item = &'b IpAddr>) -> Vec<&'b IpAddr> {
        addresses.filter(|address| self.family.has(address)).collect()
    }

    /// The key of this port on an address.
    fn key(&self, address: &IpAddr) -> String {
        format!("{address} . {} . {}", self.port.name.protocol, self.port.port)
    }

    fn element(&mut self, map: Map, key: String, verdict: impl Into<String>) {
        self.out.elements.insert((map, key), verdict.into());
    }

    /// What becomes of traffic for which there is no endpoint: refused when there is none anywhere; dropped
    /// when only this node has none, so that the client tries again elsewhere.
    fn without_endpoints(&self) -> &'static str {
        if self.reachable.cluster.is_empty() { "goto refuse" } else { "drop" }
    }

    fn cluster_ips(&mut self) {
        let local = self.port.internal_local;
        let endpoints = if local { &self.reachable.local } else { &self.reachable.cluster };
        let (map, verdict) = if endpoints.is_empty() {
            (Map::NoEndpointServices, self.without_endpoints().to_owned())
        } else {
            (Map::ServiceIps, format!("goto {}", self.chain(if local { "local" } else { "service" })))
        };
        for address in self.of_family(self.port.cluster_ips.iter()) {
            self.element(map, self.key(address), verdict.clone());
            self.element(Map::ClusterIps, address.to_string(), "");
        }
    }

    fn external(&mut self) {
        if !self.port.is_external() {
            return;
        }
        let node_port = self.port.node_port.map(|port| format!("{} . {port}", self.port.name.protocol));
        let addresses: Vec<String> =
            self.of_family(self.port.external_addresses()).into_iter().map(|ip| self.key(ip)).collect();
        if !self.reachable.cluster.is_empty() {
            let chain = self.chain("external");
            let verdict = format!("goto {chain}");
            for key in &addresses {
                self.element(Map::ServiceIps, key.clone(), verdict.clone());
            }
            if let Some(key) = &node_port {
                self.element(Map::ServiceNodePorts, key.clone(), verdict);
            }
            let rules = self.external_rules();
            self.out.chains.insert(chain, rules);
        }
        let endpoints = match self.port.external_local {
            true => &self.reachable.local,
            false => &self.reachable.cluster,
        };
        if endpoints.is_empty() {
            let verdict = self.without_endpoints();
            for key in addresses {
                self.element(Map::NoEndpointServices, key, verdict);
            }
            if let Some(key) = node_port {
                self.element(Map::NoEndpointNodePorts, key, verdict);
            }
        }
    }

    fn external_rules(&self) -> Vec<String> {
        let (ip, service) = (self.family.ip(), self.chain("service"));
        if !self.port.external_local {
            // The endpoint may be elsewhere and has to answer by way of this node.
            return vec!["jump mark-for-masquerade".to_owned(), format!("goto {service}")];
        }
        // Pods and this host reach all endpoints, as they would by the cluster IP; others keep their address
        // and reach those here.
        let mut rules: Vec<String> =
            self.cidrs.iter().map(|cidr| format!("{ip} saddr {cidr} goto {service}")).collect();
        rules.push("fib saddr type local jump mark-for-masquerade".to_owned());
        rules.push(format!("fib saddr type local goto {service}"));
        if !self.reachable.local.is_empty() {
            rules.push(format!("goto {}", self.chain("local")));
        }
        rules
    }

    fn firewall(&mut self) {
        let addresses = self.of_family(self.port.load_balancer_ips.iter());
        if self.port.source_ranges.is_empty() || addresses.is_empty() {
            return;
        }
        let (ip, chain) = (self.family.ip(), self.chain("firewall"));
        let ranges = self.port.source_ranges.iter().filter(|net| self.family.has(&net.addr()));
        let mut rules: Vec<String> = ranges.map(|net| format!("{ip} saddr {net} return")).collect();
        rules.push("drop".to_owned());
        for address in addresses {
            self.element(Map::FirewallIps, self.key(address), format!("goto {chain}"));
        }
        self.out.chains.insert(chain, rules);
    }

    /// The chains of the traffic policies that something leads to, and of their endpoints.
    fn policies(&mut self) {
        let external = self.port.is_external();
        let reachable = self.reachable;
        if !self.port.internal_local || external {
            self.policy("service", &reachable.cluster);
        }
        if self.port.internal_local || (external && self.port.external_local) {
            self.policy("local", &reachable.local);
        }
    }

    fn policy(&mut self, kind: &str, endpoints: &[SocketAddr]) {
        if endpoints.is_empty() {
            return;
        }
        let ip = self.family.ip();
        let mut rules = Vec::new();
        if !self.cidrs.is_empty() {
            // From outside the pod network (this host included) to a cluster IP: the answer has to come back
            // this way.
            let outside: Vec<String> =
                self.cidrs.iter().map(|cidr| format!("{ip} saddr != {cidr}")).collect();
            let outside = outside.join(" ");
            let (protocol, port) = (self.port.name.protocol, self.port.port);
            for address in self.of_family(self.port.cluster_ips.iter()) {
                rules.push(format!(
                    "{ip} daddr {address} {protocol} dport {port} {outside} jump mark-for-masquerade"
                ));
            }
        }
        let chains: Vec<String> = endpoints.iter().map(|endpoint| self.endpoint(endpoint)).collect();
        if self.port.affinity_seconds.is_some() {
            for (endpoint, chain) in endpoints.iter().zip(&chains) {
                rules.push(format!("{ip} saddr @{} goto {chain}", self.affinity_set(endpoint)));
            }
        }
        let choices: Vec<String> =
            chains.iter().enumerate().map(|(at, chain)| format!("{at} : goto {chain}")).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", choices.len(), choices.join(", ")));
        self.out.chains.insert(self.chain(kind), rules);
    }

    /// The timeout is in the name: a set cannot change it.
    fn affinity_set(&self, endpoint: &SocketAddr) -> String {
        let seconds = self.port.affinity_seconds.unwrap_or_default();
        format!("affinity-{seconds}s-{}__{}", self.port.name, endpoint_in_name(endpoint))
    }

    fn endpoint(&mut self, endpoint: &SocketAddr) -> String {
        let chain = format!("endpoint-{}__{}", self.port.name, endpoint_in_name(endpoint));
        let (ip, protocol) = (self.family.ip(), self.port.name.protocol);
        // An endpoint that meets itself through its Service would answer itself directly.
        let mut rules = vec![format!("{ip} saddr {} jump mark-for-masquerade", endpoint.ip())];
        if let Some(seconds) = self.port.affinity_seconds {
            let set = self.affinity_set(endpoint);
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
            self.out.affinity_sets.insert(set, seconds);
        }
        rules.push(format!("meta l4proto {protocol} dnat to {endpoint}"));
        self.out.chains.insert(chain.clone(), rules);
        chain
    }
}
