//! Ports of the host that lead to pods: elements of two maps in the tables `ip knarr-hostports` and `ip6
//! knarr-hostports`, one for ports on all addresses of the host, one for ports on one address.

use crate::nft::{self, NftFamily as _};
use crate::protocol::PortMapping;
use apimachinery::family::Family;
use std::io;
use std::net::IpAddr;

/// The table, in each family.
pub const TABLE: &str = "knarr-hostports";

/// Map of the ports on all addresses of the host.
const ANYWHERE: &str = "anywhere";
/// Map of the ports on one address.
const SOMEWHERE: &str = "somewhere";

/// What there is besides elements. The priority is one behind `dstnat` (-100): Services come first.
///
/// The host's ports on ::1 stay its own: there is no `route_localnet` for IPv6, so such packets never leave.
fn skeleton(family: Family) -> String {
    let (ip, address) = (family.ip(), family.address_type());
    let table = format!("{ip} {TABLE}");
    let (local, from_loopback) = match family {
        Family::V4 => {
            ("", "add rule ip knarr-hostports postrouting ct status dnat ip saddr 127.0.0.0/8 masquerade\n")
        }
        Family::V6 => ("ip6 daddr != ::1 ", ""),
    };
    format!(
        "add table {table}
add map {table} {ANYWHERE} {{ type inet_proto . inet_service : {address} . inet_service ; }}
add map {table} {SOMEWHERE} {{ type {address} . inet_proto . inet_service : {address} . inet_service ; }}
add set {table} themselves {{ type {address} . {address} ; }}
add chain {table} ports
add chain {table} prerouting {{ type nat hook prerouting priority -99 ; }}
add chain {table} output {{ type nat hook output priority -99 ; }}
add chain {table} postrouting {{ type nat hook postrouting priority srcnat ; }}
flush chain {table} ports
flush chain {table} prerouting
flush chain {table} output
flush chain {table} postrouting
add rule {table} ports dnat {ip} to {ip} daddr . meta l4proto . th dport map @{SOMEWHERE}
add rule {table} ports dnat {ip} to meta l4proto . th dport map @{ANYWHERE}
add rule {table} prerouting fib daddr type local jump ports
add rule {table} output {local}fib daddr type local jump ports
{from_loopback}add rule {table} postrouting ct status dnat {ip} saddr . {ip} daddr @themselves masquerade
"
    )
}

/// Opens ports for a pod's address. Those on an address of the other family are passed over.
///
/// # Errors
/// When nft refuses.
pub fn open(mappings: &[PortMapping], pod: IpAddr) -> io::Result<()> {
    let family = Family::of(pod);
    let keys: Vec<(&str, String, u16)> = mappings.iter().filter_map(|mapping| key(mapping, family)).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let ip = family.ip();
    let mut script = skeleton(family);
    let stale = [ANYWHERE, SOMEWHERE].map(|map| (map, listing(family, map)));
    for (map, key, port) in keys {
        // A port still held by a pod that goes, or that went without a DEL, changes hands.
        let held =
            stale.iter().any(|(name, text)| *name == map && pairs(text).any(|(other, _)| other == key));
        if held {
            script.push_str(&format!("delete element {ip} {TABLE} {map} {{ {key} }}\n"));
        }
        script.push_str(&format!("add element {ip} {TABLE} {map} {{ {key} : {pod} . {port} }}\n"));
    }
    // A pod that goes to its own port of the host must not see itself as the sender.
    script.push_str(&format!("add element {ip} {TABLE} themselves {{ {pod} . {pod} }}\n"));
    nft::apply(&script)
}

/// Closes all ports that lead to a pod's address. The mappings are not told at DEL, so they are looked up.
///
/// # Errors
/// When nft refuses.
pub fn close(pod: IpAddr) -> io::Result<()> {
    let family = Family::of(pod);
    let ip = family.ip();
    let mut script = String::new();
    for map in [ANYWHERE, SOMEWHERE] {
        for key in keys_to(&listing(family, map), pod) {
            script.push_str(&format!("delete element {ip} {TABLE} {map} {{ {key} }}\n"));
        }
    }
    if !script.is_empty() {
        // Added first, because what is not there cannot be deleted.
        let itself = format!("element {ip} {TABLE} themselves {{ {pod} . {pod} }}\n");
        script.push_str(&format!("add {itself}delete {itself}"));
    }
    if script.is_empty() { Ok(()) } else { nft::apply(&script) }
}

/// A listed map; nothing while there is no table.
fn listing(family: Family, map: &str) -> String {
    nft::run(&["-n", "list", "map", family.ip(), TABLE, map], "").unwrap_or_default()
}

/// The map and the key of a mapping, as nft lists it, and the pod's port; None where it is for the other family.
fn key(mapping: &PortMapping, family: Family) -> Option<(&'static str, String, u16)> {
    let (port, to) = (mapping.host_port, mapping.container_port);
    let protocol = match mapping.protocol.to_ascii_lowercase().as_str() {
        "udp" => 17,
        "sctp" => 132,
        _ => 6,
    };
    match mapping.address() {
        Some(address) if !family.has(&address) => None,
        Some(address) if !address.is_unspecified() => {
            Some((SOMEWHERE, format!("{address} . {protocol} . {port}"), to))
        }
        _ => Some((ANYWHERE, format!("{protocol} . {port}"), to)),
    }
}

/// Keys and values of a listed map.
fn pairs(listing: &str) -> impl Iterator<Item = (&str, &str)> {
    let elements = listing.split_once("elements = {").map_or("", |(_, elements)| elements);
    let elements = elements.split('}').next().unwrap_or("");
    elements
        .split(',')
        .filter_map(|element| element.trim().split_once(" : "))
        .map(|(key, value)| (key.trim(), value.trim()))
}

/// The keys of a listed map whose values are ports of a pod.
fn keys_to(listing: &str, pod: IpAddr) -> Vec<String> {
    let address = |value: &str| value.split(" . ").next().and_then(|address| address.parse::<IpAddr>().ok());
    pairs(listing).filter(|(_, value)| address(value) == Some(pod)).map(|(key, _)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_again_by_the_pod() {
        let listing = "table ip knarr-hostports {\n\tmap anywhere {\n\t\ttype inet_proto . inet_service : ipv4_addr . inet_service\n\t\telements = { 6 . 80 : 10.1.0.5 . 8080, 17 . 53 : 10.1.0.6 . 53,\n\t\t\t     6 . 443 : 10.1.0.5 . 8443 }\n\t}\n}\n";
        assert_eq!(keys_to(listing, "10.1.0.5".parse().unwrap()), ["6 . 80", "6 . 443"]);
        assert!(keys_to("", "10.1.0.5".parse().unwrap()).is_empty());
    }

    #[test]
    fn ports_open_change_hands_and_close_in_the_kernel() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: nftables need root");
            return;
        }
        let work = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mapping = |host_port, host_ip: &str| PortMapping {
                host_port,
                container_port: 8080,
                protocol: "udp".to_owned(),
                host_ip: host_ip.to_owned(),
            };
            let anywhere = |pod: IpAddr| keys_to(&listing(Family::of(pod), ANYWHERE), pod);
            let somewhere = |pod: IpAddr| keys_to(&listing(Family::of(pod), SOMEWHERE), pod);
            for [one, two, local, any, other] in [
                ["10.1.0.5", "10.1.0.6", "127.0.0.1", "0.0.0.0", "fd00:1::1"],
                ["fd00:10::5", "fd00:10::6", "fd00:1::1", "::", "127.0.0.1"],
            ] {
                let (one, two): (IpAddr, IpAddr) = (one.parse().unwrap(), two.parse().unwrap());
                open(&[mapping(80, ""), mapping(81, local), mapping(82, other)], one).unwrap();
                open(&[mapping(80, any)], two).unwrap();
                assert!(anywhere(one).is_empty());
                assert_eq!(somewhere(one), [format!("{local} . 17 . 81")]);
                close(one).unwrap();
                assert_eq!(anywhere(two), ["17 . 80"]);
                close(two).unwrap();
                close(two).unwrap();
                assert_eq!(pairs(&listing(Family::of(one), ANYWHERE)).count(), 0);
                assert!(!nft::run(&["list", "ruleset"], "").unwrap().contains(&one.to_string()));
            }
            let cidrs = ["10.1.0.0/16".parse().unwrap(), "fd00:10::/56".parse().unwrap()];
            crate::host::ensure(&cidrs).unwrap();
            crate::host::ensure(&cidrs).unwrap();
            let rules = nft::run(&["list", "ruleset"], "").unwrap();
            assert_eq!(rules.matches(" masquerade").count(), 5, "{rules}");
            crate::cleanup().unwrap();
            assert!(!nft::run(&["list", "ruleset"], "").unwrap().contains("knarr"));
        };
        std::thread::spawn(work).join().unwrap();
    }
}
