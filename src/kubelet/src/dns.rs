//! `/etc/resolv.conf` of pods. Pure.

use crate::pod;
use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::Pod;
use std::net::IpAddr;

/// The most name servers that libc reads; Kubernetes refuses more.
const MAX_SERVERS: usize = 3;
/// The most search domains (API validation).
const MAX_SEARCHES: usize = 32;
/// Names with fewer dots than this are tried with the search domains first, so that `service.namespace` works.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// The node's side of name resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeDns {
    /// Addresses of the cluster's DNS service.
    pub cluster_servers: Vec<IpAddr>,
    /// The cluster's domain, `cluster.local` as a rule.
    pub cluster_domain: String,
    /// What the node itself uses.
    pub host: HostResolver,
}

/// The contents of a `resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostResolver {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` or `domain` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

impl HostResolver {
    /// Reads the text of a `resolv.conf`; what it does not know is skipped, the last `search` wins.
    pub fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => parsed.servers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    parsed.searches = words.filter(|word| *word != ".").map(trimmed).collect();
                }
                Some("domain") if parsed.searches.is_empty() => {
                    parsed.searches.extend(words.next().map(trimmed))
                }
                Some("options") => parsed.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        parsed
    }
}

fn trimmed(domain: &str) -> String {
    domain.trim_end_matches('.').to_owned()
}

/// The DNS configuration of a pod's sandbox, and what had to be left out of it.
pub fn pod_dns(pod: &Pod, node: &NodeDns) -> (DnsConfig, Vec<String>) {
    let spec = pod::spec(pod);
    let mut warnings = Vec::new();
    let mut config = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => DnsConfig::default(),
        "Default" => host(node),
        "ClusterFirst" if pod::host_network(pod) => host(node),
        // ClusterFirst, ClusterFirstWithHostNet.
        _ if node.cluster_servers.is_empty() => {
            warnings.push(format!(
                "pod: {:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using {:?} policy. \
                 Falling back to \"Default\" policy.",
                pod::describe(pod),
                spec.dns_policy.as_deref().unwrap_or("ClusterFirst"),
            ));
            host(node)
        }
        _ => cluster(pod, node),
    };
    if let Some(extra) = &spec.dns_config {
        append_new(&mut config.servers, extra.nameservers.iter().flatten());
        append_new(&mut config.searches, extra.searches.iter().flatten());
        for option in extra.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            config.options.retain(|old| old.split(':').next() != Some(name));
            config.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
    if config.servers.len() > MAX_SERVERS {
        config.servers.truncate(MAX_SERVERS);
        warnings.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            config.servers.join(" ")
        ));
    }
    if config.searches.len() > MAX_SEARCHES {
        config.searches.truncate(MAX_SEARCHES);
        warnings.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            config.searches.join(" ")
        ));
    }
    (config, warnings)
}

fn host(node: &NodeDns) -> DnsConfig {
    DnsConfig {
        servers: node.host.servers.clone(),
        searches: node.host.searches.clone(),
        options: node.host.options.clone(),
    }
}

fn cluster(pod: &Pod, node: &NodeDns) -> DnsConfig {
    let domain = &node.cluster_domain;
    let namespace = pod::namespace(pod);
    let mut searches = if domain.is_empty() {
        Vec::new()
    } else {
        vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()]
    };
    append_new(&mut searches, &node.host.searches);
    DnsConfig {
        servers: node.cluster_servers.iter().map(ToString::to_string).collect(),
        searches,
        options: vec![CLUSTER_OPTIONS.to_owned()],
    }
}

fn append_new<'a>(list: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// The pod's host name and domain. The name is cut to 63 characters, what the kernel and DNS labels hold.
pub fn host_name(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod::spec(pod);
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (name.to_owned(), String::new());
    }
    let own = spec.hostname.as_deref().filter(|name| !name.is_empty());
    let mut name: String = own.unwrap_or_else(|| pod::name(pod)).chars().take(63).collect();
    name.truncate(name.trim_end_matches(['-', '.']).len());
    let domain = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) => format!("{subdomain}.{}.svc.{cluster_domain}", pod::namespace(pod)),
        None => String::new(),
    };
    (name, domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> NodeDns {
        NodeDns {
            cluster_servers: vec!["10.152.183.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            host: HostResolver::parse(
                "# c\nnameserver 192.0.2.53\nsearch corp.example. \noptions edns0 trust-ad",
            ),
        }
    }

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap()
    }

    #[test]
    fn pods_ask_the_cluster_first() {
        let (config, _) = pod_dns(&pod(json!({"containers": []})), &node());
        assert_eq!(config.servers, ["10.152.183.10"]);
        assert_eq!(
            config.searches,
            ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"]
        );
        assert_eq!(config.options, ["ndots:5"]);
    }

    #[test]
    fn pods_on_the_host_network_ask_as_the_host_unless_told() {
        let (config, _) = pod_dns(&pod(json!({"hostNetwork": true, "containers": []})), &node());
        assert_eq!(config.servers, ["192.0.2.53"]);
        let asked = json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet", "containers": []});
        assert_eq!(pod_dns(&pod(asked), &node()).0.servers, ["10.152.183.10"]);
    }

    #[test]
    fn own_settings_are_added() {
        let spec = json!({"dnsPolicy": "None", "containers": [], "dnsConfig": {"nameservers": ["1.1.1.1"],
            "searches": ["a"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
        let (config, _) = pod_dns(&pod(spec), &node());
        assert_eq!(config.options, ["ndots:2", "edns0"]);
        assert_eq!(config.servers, ["1.1.1.1"]);
    }

    #[test]
    fn host_names_are_cut_to_what_dns_allows() {
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(10));
        let pod = pod(json!({"containers": [], "hostname": long, "subdomain": "web"}));
        assert_eq!(host_name(&pod, "cluster.local"), ("a".repeat(62), "web.n.svc.cluster.local".into()));
    }
}
