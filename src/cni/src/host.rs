//! What the node needs around the pods' links: forwarding, masquerading of what leaves the cluster, and the
//! removal of all of it.

use crate::{forwarding, host_ports, link, nft, nodes};
use ipnet::IpNet;
use std::io;
use std::path::Path;

/// The table.
const TABLE: &str = "knarr-network";

/// Sets the node up; can be repeated.
///
/// # Errors
/// When forwarding cannot be switched on or nft refuses.
pub fn ensure(cluster_cidrs: &[IpNet]) -> io::Result<()> {
    set("net/ipv4/ip_forward", "1")?;
    nft::apply(&rules(cluster_cidrs))?;
    forwarding::allow(cluster_cidrs);
    Ok(())
}

fn set(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys").join(name);
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|e| io::Error::new(e.kind(), format!("cannot set {name}: {e}")))
}

/// Traffic of pods to somewhere outside the cluster leaves with the node's address. What already has one of
/// the node's addresses stays as it is, and so does what goes to the node itself.
///
/// Host ends have `route_localnet`, so that ports of the host on 127.0.0.1 can lead to pods; a pod that sends
/// to 127.0.0.0/8 of the host by itself is stopped before connection tracking.
fn rules(cluster_cidrs: &[IpNet]) -> String {
    let cidrs: Vec<String> =
        cluster_cidrs.iter().filter(|c| c.addr().is_ipv4()).map(IpNet::to_string).collect();
    let mut script = format!("add table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n");
    script.push_str(
        "  chain prerouting { type filter hook prerouting priority raw;\n    \
         iifname \"knarr*\" ip daddr 127.0.0.0/8 drop\n  }\n",
    );
    if !cidrs.is_empty() {
        let set = cidrs.join(", ");
        script.push_str(&format!(
            "  set cluster {{ type ipv4_addr; flags interval; elements = {{ {set} }} }}\n  \
             chain postrouting {{ type nat hook postrouting priority srcnat;\n    \
             ip saddr @cluster ip daddr != @cluster fib daddr type != local ip daddr != 224.0.0.0/4 masquerade\n  }}\n"
        ));
    }
    script.push_str("}\n");
    script
}

/// Removes tables, routes and links that this crate made. What is not there is passed over.
///
/// # Errors
/// When a link cannot be removed.
pub fn cleanup() -> io::Result<()> {
    for table in [TABLE, host_ports::TABLE] {
        nft::apply(&format!("add table ip {table}\ndelete table ip {table}\n"))?;
    }
    forwarding::forget();
    nodes::remove()?;
    link::remove_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_cluster_is_masqueraded() {
        let text = rules(&["10.1.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()]);
        assert!(text.contains("elements = { 10.1.0.0/16 }"));
        assert!(text.contains("ip saddr @cluster ip daddr != @cluster"));
        assert!(!rules(&[]).contains("masquerade"));
    }
}
