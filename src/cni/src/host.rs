//! What the node needs around the pods' links: forwarding, masquerading of what leaves the cluster, and the
//! removal of all of it.

use crate::nft::NftFamily as _;
use crate::nodes::DEVICE;
use crate::{forwarding, host_ports, link, nft, nodes};
use apimachinery::family::Family;
use ipnet::IpNet;
use std::io;
use std::path::Path;

/// The table, in each family.
const TABLE: &str = "knarr-network";

/// Sets the node up for the families that pods have; can be repeated.
///
/// # Errors
/// When forwarding cannot be switched on or nft refuses.
pub fn ensure(cluster_cidrs: &[IpNet]) -> io::Result<()> {
    for family in Family::ALL {
        let cidrs: Vec<&IpNet> = cluster_cidrs.iter().filter(|cidr| family.has(&cidr.addr())).collect();
        if cidrs.is_empty() {
            continue;
        }
        match family {
            Family::V4 => set("net/ipv4/ip_forward", "1")?,
            Family::V6 => forward_v6()?,
        }
        nft::apply(&rules(family, &cidrs))?;
    }
    forwarding::allow(cluster_cidrs);
    Ok(())
}

/// Switches forwarding of IPv6 on. A kernel that forwards does not listen to routers any more, and forgets what they
/// told, but where `accept_ra` is 2: a link that has listened so far goes on.
fn forward_v6() -> io::Result<()> {
    const FORWARDING: &str = "net/ipv6/conf/all/forwarding";
    let links = Path::new("/proc/sys/net/ipv6/conf");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    if read(&links.join("all/forwarding")).trim() == "1" {
        return Ok(());
    }
    for link in std::fs::read_dir(links).into_iter().flatten().flatten() {
        let (name, setting) = (link.file_name(), link.path().join("accept_ra"));
        let ours = link::is_host_end(&name.to_string_lossy()) || name == DEVICE;
        let is_link = !["all", "default", "lo"].iter().any(|other| name == *other);
        if is_link && !ours && read(&setting).trim() == "1" {
            // One that went in the meantime needs nothing.
            let _ = std::fs::write(&setting, "2");
        }
    }
    set(FORWARDING, "1")
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
/// IPv4: host ends have `route_localnet`, so that ports of the host on 127.0.0.1 can lead to pods; a pod that sends
/// to 127.0.0.0/8 of the host by itself is stopped before connection tracking.
///
/// IPv6: there is no `rp_filter`; that a pod sends from its own address only is for a rule to see to. Before it has one,
/// and between neighbours, packets come from `::` and link-local addresses.
fn rules(family: Family, cidrs: &[&IpNet]) -> String {
    let (ip, address) = (family.ip(), family.address_type());
    let (stopped, multicast) = match family {
        Family::V4 => ("ip daddr 127.0.0.0/8 drop".to_owned(), "224.0.0.0/4"),
        Family::V6 => (
            format!(
                "iifname != \"{DEVICE}\" ip6 saddr != {{ ::, fe80::/10 }} fib saddr . iif oif missing drop"
            ),
            "ff00::/8",
        ),
    };
    let set = cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "add table {ip} {TABLE}
delete table {ip} {TABLE}
table {ip} {TABLE} {{
  chain prerouting {{ type filter hook prerouting priority raw;
    iifname \"{links}*\" {stopped}
  }}
  set cluster {{ type {address}; flags interval; elements = {{ {set} }} }}
  chain postrouting {{ type nat hook postrouting priority srcnat;
    {ip} saddr @cluster {ip} daddr != @cluster fib daddr type != local {ip} daddr != {multicast} masquerade
  }}
}}
",
        links = link::PREFIX
    )
}

/// Removes tables, routes and links that this crate made. What is not there is passed over.
///
/// # Errors
/// When a link cannot be removed.
pub fn cleanup() -> io::Result<()> {
    for ip in Family::ALL.map(Family::ip) {
        for table in [TABLE, host_ports::TABLE] {
            nft::apply(&format!("add table {ip} {table}\ndelete table {ip} {table}\n"))?;
        }
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
        let text = rules(Family::V4, &[&"10.1.0.0/16".parse().unwrap()]);
        assert!(text.contains("elements = { 10.1.0.0/16 }"));
        assert!(text.contains("ip saddr @cluster ip daddr != @cluster"));
        let text = rules(Family::V6, &[&"fd00:10::/56".parse().unwrap()]);
        assert!(text.contains("elements = { fd00:10::/56 }") && !text.contains("ip saddr"), "{text}");
        assert!(text.contains("ip6 saddr @cluster ip6 daddr != @cluster"));
    }

    #[test]
    fn a_link_that_listens_to_routers_goes_on_when_the_node_forwards() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return;
        }
        let work = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let ip = |arguments: &str| {
                let status = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
                assert!(status.success());
            };
            ip("link add one type veth peer name two");
            let setting = |name: &str| Path::new("/proc/sys/net/ipv6/conf").join(name);
            let read = |name: &str| std::fs::read_to_string(setting(name)).unwrap().trim().to_owned();
            std::fs::write(setting("two/accept_ra"), "0").unwrap();
            let cidrs = ["fd00:10::/56".parse().unwrap()];
            ensure(&cidrs).unwrap();
            assert_eq!(
                [read("one/accept_ra"), read("two/accept_ra"), read("default/accept_ra")],
                ["2", "0", "1"]
            );
            assert_eq!(read("one/forwarding"), "1");
            // What somebody sets later stays.
            std::fs::write(setting("one/accept_ra"), "1").unwrap();
            ensure(&cidrs).unwrap();
            assert_eq!(read("one/accept_ra"), "1");
            let rules = nft::run(&["list", "ruleset"], "").unwrap();
            assert!(rules.contains("table ip6 knarr-network") && !rules.contains("table ip knarr-network"));
        };
        std::thread::spawn(work).join().unwrap();
    }
}
