//! `/etc/hosts` of pods. Pure.

use k8s_openapi::api::core::v1::HostAlias;

/// The file for a pod with a network of its own.
pub fn pod_hosts(ips: &[String], host_name: &str, domain: &str, aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         fe00::\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        if domain.is_empty() {
            text.push_str(&format!("{ip}\t{host_name}\n"));
        } else {
            text.push_str(&format!("{ip}\t{host_name}.{domain}\t{host_name}\n"));
        }
    }
    text + &alias_lines(aliases)
}

/// The file for a pod on the node's network: the node's own, with the pod's aliases.
pub fn node_hosts(node: &str, aliases: &[HostAlias]) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node}{}", alias_lines(aliases))
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_aliases_are_listed() {
        let alias = HostAlias { ip: "1.2.3.4".into(), hostnames: Some(vec!["a".into(), "b".into()]) };
        let text = pod_hosts(&["10.1.0.2".into()], "web-0", "web.n.svc.cluster.local", &[alias]);
        assert!(text.contains("10.1.0.2\tweb-0.web.n.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
    }
}
