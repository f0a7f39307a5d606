//! Ports of the host that lead to pods: elements of two maps in the table `ip knarr-hostports`, one for ports
//! on all addresses of the host, one for ports on one address.

use crate::nft;
use crate::protocol::PortMapping;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// The table.
pub const TABLE: &str = "knarr-hostports";

/// The priority is one behind `dstnat` (-100): Services come first.
const SKELETON: &str = "
add table ip knarr-hostports
add map ip knarr-hostports anywhere { type inet_proto . inet_service : ipv4_addr . inet_service ; }
add map ip knarr-hostports somewhere { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service ; }
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
";

/// Opens ports for a pod. Only IPv4 so far.
///
/// # Errors
/// When nft refuses.
pub fn open(mappings: &[PortMapping], pod: Ipv4Addr) -> io::Result<()> {
    if mappings.is_empty() {
        return Ok(());
    }
    let elements: String =
        mappings.iter().filter_map(|m| element(m, pod)).map(|e| format!("add element {e}\n")).collect();
    nft::apply(&format!("{SKELETON}{elements}"))
}

/// Closes all ports that lead to a pod. The mappings are not told at DEL, so they are looked up.
///
/// # Errors
/// When nft refuses.
pub fn close(pod: Ipv4Addr) -> io::Result<()> {
    let mut script = String::new();
    for map in ["anywhere", "somewhere"] {
        // Without the table there is nothing to close.
        let Ok(text) = nft::run(&["-n", "list", "map", "ip", TABLE, map], "") else { return Ok(()) };
        for key in keys_to(&text, pod) {
            script.push_str(&format!("delete element ip {TABLE} {map} {{ {key} }}\n"));
        }
    }
    if script.is_empty() { Ok(()) } else { nft::apply(&script) }
}

fn element(mapping: &PortMapping, pod: Ipv4Addr) -> Option<String> {
    let PortMapping { host_port, container_port, .. } = mapping;
    let protocol = match mapping.protocol.to_ascii_lowercase().as_str() {
        "udp" => "udp",
        "sctp" => "sctp",
        _ => "tcp",
    };
    match mapping.address() {
        None => {
            Some(format!("ip {TABLE} anywhere {{ {protocol} . {host_port} : {pod} . {container_port} }}"))
        }
        Some(IpAddr::V4(address)) => Some(format!(
            "ip {TABLE} somewhere {{ {address} . {protocol} . {host_port} : {pod} . {container_port} }}"
        )),
        Some(IpAddr::V6(_)) => None,
    }
}

/// The keys of a listed map whose values are ports of a pod.
fn keys_to(listing: &str, pod: Ipv4Addr) -> Vec<String> {
    let Some((_, elements)) = listing.split_once("elements = {") else { return Vec::new() };
    let elements = elements.split('}').next().unwrap_or("");
    elements
        .split(',')
        .filter_map(|element| element.trim().split_once(" : "))
        .filter(|(_, value)| value.split(" . ").next().map(str::trim) == Some(pod.to_string().as_str()))
        .map(|(key, _)| key.trim().to_owned())
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
}
