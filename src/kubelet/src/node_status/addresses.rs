//! The node's addresses.

use client::nodes;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
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

/// The addresses by which others reach this node: the source address of the default route, else the first address of a
/// real interface, else the loopback; and that of IPv6's default route where pods have such addresses.
pub fn detect_addresses(pod_networks: &[IpNet]) -> Vec<IpAddr> {
    let found = source_towards(ELSEWHERE_V4).or_else(primary_v6).or_else(first_of_interfaces);
    beside(found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), primary_v6(), pod_networks)
}

/// An address, and the one of IPv6 where pods have such addresses. The pods' primary family comes first.
fn beside(found: IpAddr, v6: Option<IpAddr>, pod_networks: &[IpNet]) -> Vec<IpAddr> {
    let mut ips = vec![found];
    if pod_networks.iter().any(|network| network.addr().is_ipv6()) {
        // What leads through the pod network itself is none.
        let fit = |ip: &IpAddr| *ip != found && !pod_networks.iter().any(|network| network.contains(ip));
        ips.extend(v6.filter(fit));
    }
    if pod_networks.first().is_some_and(|network| network.addr().is_ipv6()) {
        ips.sort_by_key(IpAddr::is_ipv4);
    }
    ips
}

/// The source address of IPv6's default route; None without one. In place of an address that lasts for a day only
/// (RFC 8981) it is the lasting one beside it.
pub fn primary_v6() -> Option<IpAddr> {
    let IpAddr::V6(source) = source_towards(ELSEWHERE_V6)? else { return None };
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    Some(IpAddr::V6(lasting(&table, source)))
}

/// An address, or the lasting one of its network in `/proc/net/if_inet6`.
fn lasting(table: &str, source: Ipv6Addr) -> Ipv6Addr {
    // IFA_F_TEMPORARY; with it those that are not to be used: DADFAILED, DEPRECATED, TENTATIVE.
    const TEMPORARY: u8 = 0x01;
    const UNFIT: u8 = TEMPORARY | 0x08 | 0x20 | 0x40;
    let all: Vec<(Ipv6Addr, &str, u32, u8)> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [address, interface, length, _, flags, ..] = fields.as_slice() else { return None };
            let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
            let length = u32::from_str_radix(length, 16).ok()?;
            Some((address, *interface, length, u8::from_str_radix(flags, 16).ok()?))
        })
        .collect();
    let Some((_, interface, length, flags)) = all.iter().find(|(address, ..)| *address == source) else {
        return source;
    };
    if flags & TEMPORARY == 0 {
        return source;
    }
    let network = |address: &Ipv6Addr| u128::from(*address).checked_shr(128 - length).unwrap_or(0);
    let alike = all.iter().filter(|(address, on, _, flags)| {
        on == interface && flags & UNFIT == 0 && network(address) == network(&source)
    });
    alike.map(|(address, ..)| *address).min().unwrap_or(source)
}

/// The addresses that a node has among its pods: the first one of each of their ranges, which no pod gets.
pub(super) fn among_pods(node: &Node) -> Vec<IpAddr> {
    nodes::pod_cidrs(node).iter().map(IpNet::network).collect()
}

/// The addresses of a node, with those that it has among its pods of a family that it lacks.
pub(super) fn with(mut ips: Vec<IpAddr>, among_pods: &[IpAddr]) -> Vec<IpAddr> {
    for address in among_pods {
        if !ips.iter().any(|ip| ip.is_ipv4() == address.is_ipv4()) {
            ips.push(*address);
        }
    }
    ips
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_lasts_is_told_in_place_of_a_temporary_one() {
        let table = "\
            00000000000000000000000000000001 01 80 10 80       lo\n\
            fd000000000000000000000000000bad 02 40 00 20     eth0\n\
            fd000000000000000000000000000c0d 02 40 00 80     eth0\n\
            fd00000000000000000000000000eeee 02 40 00 01     eth0\n\
            fd0000000000000a0000000000000001 02 40 00 80     eth0\n\
            fe800000000000000000000000000001 02 40 20 80     eth0\n\
            fd000000000000000000000000000001 03 40 00 80     eth1\n";
        let lasting = |source: &str| lasting(table, source.parse().unwrap()).to_string();
        assert_eq!(lasting("fd00::eeee"), "fd00::c0d");
        assert_eq!(lasting("fd00::bad"), "fd00::bad", "it is no temporary one");
        assert_eq!(lasting("fd00:1::1"), "fd00:1::1");
    }

    #[test]
    fn a_node_without_an_address_of_a_family_has_the_first_of_its_pods() {
        let node: Node = serde_json::from_value(
            serde_json::json!({"metadata": {}, "spec": {"podCIDRs": ["fd00:1::/64", "10.1.3.0/24"]}}),
        )
        .unwrap();
        let (own, v4) = ("fd00::1".parse().unwrap(), "192.0.2.7".parse().unwrap());
        let among: [IpAddr; 2] = ["fd00:1::".parse().unwrap(), "10.1.3.0".parse().unwrap()];
        assert_eq!(among_pods(&node), among);
        assert_eq!(with(vec![own], &among), [own, among[1]]);
        assert_eq!(with(vec![own, v4], &among), [own, v4]);
        assert_eq!(with(vec![v4], &among), [v4, among[0]]);
        assert_eq!(with(vec![v4], &among[1..]), [v4]);
        assert_eq!(with(vec![own], &[]), [own]);
    }

    #[test]
    fn an_address_of_ipv6_is_told_where_pods_have_such() {
        let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "fd00::1".parse().unwrap());
        let nets = |texts: &[&str]| texts.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
        let both = nets(&["10.1.0.0/16", "fd00:1::/56"]);
        assert_eq!(beside(v4, Some(v6), &both[..1]), [v4]);
        assert_eq!(beside(v4, Some(v6), &both), [v4, v6]);
        assert_eq!(beside(v4, None, &both), [v4]);
        assert_eq!(beside(v6, Some(v6), &both), [v6]);
        assert_eq!(beside(v4, "fd00:1::".parse().ok(), &both), [v4], "its own among its pods");
        assert_eq!(beside(v4, Some(v6), &nets(&["fd00:1::/56", "10.1.0.0/16"])), [v6, v4]);
    }
}
