//! The node's addresses.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses of documentation (RFC 5737, RFC 3849): always reached by the default route, never contacted, as
/// connecting a datagram socket sends nothing.
const ELSEWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Interfaces that pods' networks make; their addresses are not the node's.
const POD_INTERFACES: [&str; 9] =
    ["knarr", "cni", "flannel", "vxlan", "veth", "docker", "cali", "kube-", "br-"];

/// The address by which others reach this node: the source address of the default route, else the first
/// address of a real interface, else the loopback.
pub fn detect_addresses() -> Vec<IpAddr> {
    let found =
        source_towards(ELSEWHERE_V4).or_else(|| source_towards(ELSEWHERE_V6)).or_else(first_of_interfaces);
    vec![found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))]
}

fn source_towards(elsewhere: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match elsewhere {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    // Any port will do; 9 is "discard".
    socket.connect(SocketAddr::new(elsewhere, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

fn first_of_interfaces() -> Option<IpAddr> {
    let mut candidates: Vec<IpAddr> = getifaddrs()
        .ok()?
        .filter(|interface| {
            interface.flags.contains(InterfaceFlags::IFF_UP)
                && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
                && !POD_INTERFACES.iter().any(|prefix| interface.interface_name.starts_with(prefix))
        })
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        })
        .collect();
    // IPv4 first, in the kernel's order of interfaces.
    candidates.sort_by_key(IpAddr::is_ipv6);
    candidates.first().copied()
}
