//! Ports of the host that lead to pods: elements of two maps in the table `ip knarr-hostports`, one for ports
//! on all addresses of the host, one for ports on one address.

use crate::nft;
use crate::protocol::PortMapping;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// The table.
pub const TABLE: &str = "knarr-hostports";

/// Map of the ports on all addresses of the host.
const ANYWHERE: &str = "anywhere";
/// Map of the ports on one address.
const SOMEWHERE: &str = "somewhere";

/// The priority is one behind `dstnat` (-100): Services come first.
const SKELETON: &str = "
add table ip knarr-hostports
add map ip knarr-hostports anywhere { type inet_proto . inet_service : ipv4_addr . inet_service ; }
add map ip knarr-hostports somewhere { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service ; }
add set ip knarr-hostports themselves { type ipv4_addr . ipv4_addr ; }
add chain ip knarr-hostports ports
add chain ip knarr-hostports prerouting { type nat hook prerouting priority -99 ; }
add chain ip knarr-hostports output { type nat hook output priority -99 ; }
add chain ip knarr-hostports postrouting { type nat hook postrouting priority srcnat ; }
flush chain ip knarr-hostports ports
flush chain ip knarr-hostports prerouting
flush chain ip knarr-hostports output
flush chain ip knarr-hostports postrouting
add rule ip knarr-hostports ports dnat ip to ip daddr . meta l4proto . th dport map @somewhere
add rule ip knarr-hostports ports dnat ip to meta l4proto . th dport map @anywhere
add rule ip knarr-hostports prerouting fib daddr type local jump ports
add rule ip knarr-hostports output fib daddr type local jump ports
add rule ip knarr-hostports postrouting ct status dnat ip saddr 127.0.0.0/8 masquerade
add rule ip knarr-hostports postrouting ct status dnat ip saddr . ip daddr @themselves masquerade
";

/// Opens ports for a pod. Only IPv4 so far.
///
/// # Errors
/// When nft refuses.
pub fn open(mappings: &[PortMapping], pod: Ipv4Addr) -> io::Result<()> {
    if mappings.is_empty() {
        return Ok(());
    }
    let mut script = SKELETON.to_owned();
    let stale = [(ANYWHERE, listing(ANYWHERE)), (SOMEWHERE, listing(SOMEWHERE))];
    for mapping in mappings {
        let Some((map, key)) = key(mapping) else { continue };
        // A port still held by a pod that goes, or that went without a DEL, changes hands.
        let held =
            stale.iter().any(|(name, text)| *name == map && pairs(text).any(|(other, _)| other == key));
        if held {
            script.push_str(&format!("delete element ip {TABLE} {map} {{ {key} }}\n"));
        }
        script.push_str(&format!(
            "add element ip {TABLE} {map} {{ {key} : {pod} . {} }}\n",
            mapping.container_port
        ));
    }
    // A pod that goes to its own port of the host must not see itself as the sender.
    script.push_str(&format!("add element ip {TABLE} themselves {{ {pod} . {pod} }}\n"));
    nft::apply(&script)
}

/// Closes all ports that lead to a pod. The mappings are not told at DEL, so they are looked up.
///
/// # Errors
/// When nft refuses.
pub fn close(pod: Ipv4Addr) -> io::Result<()> {
    let mut script = String::new();
    for map in [ANYWHERE, SOMEWHERE] {
        for key in keys_to(&listing(map), pod) {
            script.push_str(&format!("delete element ip {TABLE} {map} {{ {key} }}\n"));
        }
    }
    if !script.is_empty() {
        // Added first, because what is not there cannot be deleted.
        let itself = format!("element ip {TABLE} themselves {{ {pod} . {pod} }}\n");
        script.push_str(&format!("add {itself}delete {itself}"));
    }
    if script.is_empty() { Ok(()) } else { nft::apply(&script) }
}

/// A listed map; nothing while there is no table.
fn listing(map: &str) -> String {
    nft::run(&["-n", "list", "map", "ip", TABLE, map], "").unwrap_or_default()
}

/// The map and the key of a mapping, as nft lists it.
fn key(mapping: &PortMapping) -> Option<(&'static str, String)> {
    let port = mapping.host_port;
    let protocol = match mapping.protocol.to_ascii_lowercase().as_str() {
        "udp" => 17,
        "sctp" => 132,
        _ => 6,
    };
    match mapping.address() {
        None => Some((ANYWHERE, format!("{protocol} . {port}"))),
        Some(IpAddr::V4(address)) => Some((SOMEWHERE, format!("{address} . {protocol} . {port}"))),
        Some(IpAddr::V6(_)) => None,
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
fn keys_to(listing: &str, pod: Ipv4Addr) -> Vec<String> {
    let pod = pod.to_string();
    pairs(listing)
        .filter(|(_, value)| value.split(" . ").next() == Some(pod.as_str()))
        .map(|(key, _)| key.to_owned())
        .collect()
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
            let (one, two) = (Ipv4Addr::new(10, 1, 0, 5), Ipv4Addr::new(10, 1, 0, 6));
            open(&[mapping(80, ""), mapping(81, "127.0.0.1")], one).unwrap();
            open(&[mapping(80, "0.0.0.0")], two).unwrap();
            assert!(keys_to(&listing(ANYWHERE), one).is_empty());
            assert_eq!(keys_to(&listing(SOMEWHERE), one), ["127.0.0.1 . 17 . 81"]);
            close(one).unwrap();
            assert_eq!(keys_to(&listing(ANYWHERE), two), ["17 . 80"]);
            close(two).unwrap();
            close(two).unwrap();
            assert_eq!(pairs(&listing(ANYWHERE)).count(), 0);
            assert!(!nft::run(&["list", "ruleset"], "").unwrap().contains("10.1.0."));
            crate::host::ensure(&["10.1.0.0/16".parse().unwrap()]).unwrap();
            crate::host::ensure(&["10.1.0.0/16".parse().unwrap()]).unwrap();
            assert!(nft::run(&["list", "ruleset"], "").unwrap().contains("masquerade"));
            crate::cleanup().unwrap();
            assert!(!nft::run(&["list", "ruleset"], "").unwrap().contains("knarr"));
        };
        std::thread::spawn(work).join().unwrap();
    }
}
