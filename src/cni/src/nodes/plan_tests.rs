//! What nodes need, and how they come to it.

use super::*;

fn member(name: &str, address: &str, range: &str) -> Member {
    let pod_cidrs = if range.is_empty() { vec![] } else { vec![range.parse().unwrap()] };
    let address = address.parse().unwrap();
    let address_v6 = match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    };
    Member { name: name.to_owned(), address, address_v6, pod_cidrs }
}

fn uplink() -> Uplinks {
    let network = "192.168.7.2/24".parse().unwrap();
    Uplinks { first: Some(Uplink { index: 2, network, mtu: Some(9000) }), v6: None }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn base(text: &str) -> Bases {
    Bases { v4: Some(ip(text)), v6: None }
}

fn three() -> Vec<Member> {
    vec![
        member("a", "192.168.7.2", "10.1.0.0/24"),
        member("b", "192.168.7.3", "10.1.1.0/24"),
        member("c", "192.168.8.2", "10.1.2.0/24"),
    ]
}

const MAC_C: Mac = [0x02, 0x4b, 10, 1, 2, 0];

#[test]
fn nodes_of_the_subnet_are_routed_to_and_others_tunnelled_to() {
    let state = wanted(&three(), "a", &[], &uplink());
    let routes = [
        (net("10.1.0.0/24"), Route::Unreachable),
        (net("10.1.1.0/24"), Route::Direct { gateway: ip("192.168.7.3"), index: 2, source: None }),
        (net("10.1.2.0/24"), Route::Tunnel { gateway: ip("10.1.2.0") }),
    ];
    assert_eq!(state.routes, routes.into());
    assert_eq!(state.neighbours, [(ip("10.1.2.0"), MAC_C)].into());
    assert_eq!(state.hosts, [(MAC_C, ip("192.168.8.2"))].into());
    let mac = [0x02, 0x4b, 10, 1, 0, 0];
    assert_eq!(state.tunnel, Some(Tunnel { mac, bases: base("10.1.0.0"), mtu: 8950, local: None }));
    // A node whose own address is on no link tunnels to all.
    let state = wanted(&three(), "a", &[], &Uplinks::default());
    assert_eq!(state.hosts.len(), 2);
    assert_eq!(state.tunnel.unwrap().mtu, 1450);
}

#[test]
fn a_node_alone_or_without_a_range_needs_no_tunnel() {
    let alone = wanted(&three()[..1], "a", &[], &uplink());
    assert_eq!((alone.tunnel, alone.routes.len()), (None, 1));
    let mut members = three();
    members[0].pod_cidrs.clear();
    assert_eq!(wanted(&members, "a", &[], &uplink()), State::default());
    members = vec![member("a", "192.168.7.2", "10.1.0.0/24"), member("b", "192.168.9.9", "")];
    assert_eq!(wanted(&members, "a", &[], &uplink()), alone);
    assert_eq!(wanted(&three(), "unknown", &[], &uplink()), State::default());
}

#[test]
fn of_two_nodes_with_one_range_the_first_name_has_it() {
    let mut members = three();
    members.insert(0, member("d", "192.168.9.9", "10.1.2.0/24"));
    members.push(member("e", "192.168.9.8", "10.1.0.0/24"));
    assert_eq!(wanted(&members, "a", &[], &uplink()), wanted(&three(), "a", &[], &uplink()));
}

#[test]
fn nothing_is_done_where_nothing_differs() {
    let state = wanted(&three(), "a", &[], &uplink());
    assert_eq!(steps(&state, &state), []);
    assert_eq!(steps(&State::default(), &state).len(), 6);
}

#[test]
fn a_changed_address_changes_one_entry() {
    let before = wanted(&three(), "a", &[], &uplink());
    let mut members = three();
    members[2].address = ip("192.168.8.9");
    let after = wanted(&members, "a", &[], &uplink());
    assert_eq!(steps(&before, &after), [Change::SetHost(MAC_C, ip("192.168.8.9"))]);
    // It moves onto our subnet: the way is there before the tunnel goes.
    members[2].address = ip("192.168.7.9");
    let after = wanted(&members, "a", &[], &uplink());
    let route = Route::Direct { gateway: ip("192.168.7.9"), index: 2, source: None };
    assert_eq!(steps(&before, &after), [Change::SetRoute(net("10.1.2.0/24"), route), Change::DropTunnel]);
}

#[test]
fn a_lost_device_brings_back_what_it_had() {
    let wants = wanted(&three(), "a", &[], &uplink());
    let mut has = wants.clone();
    has.tunnel = None;
    let again = steps(&has, &wants);
    assert_eq!(again.len(), 4, "{again:?}");
    assert!(matches!(again[0], Change::SetTunnel(_)));
    // So does one of another range.
    has.tunnel = wants.tunnel.map(|tunnel| Tunnel { mac: MAC_C, ..tunnel });
    assert_eq!(steps(&has, &wants), again);
}

#[test]
fn what_left_nodes_had_is_dropped() {
    let before = wanted(&three(), "a", &[], &Uplinks::default());
    let after = wanted(&three()[..2], "a", &[], &Uplinks::default());
    assert_eq!(
        steps(&before, &after),
        [
            Change::DropRoute(net("10.1.2.0/24"), Route::Tunnel { gateway: ip("10.1.2.0") }),
            Change::DropNeighbour(ip("10.1.2.0")),
            Change::DropHost(MAC_C, ip("192.168.8.2")),
        ]
    );
}

fn three_over_ipv6() -> Vec<Member> {
    vec![
        member("a", "fd00:7::2", "10.1.0.0/24"),
        member("b", "fd00:7::3", "10.1.1.0/24"),
        member("c", "fd00:8::2", "10.1.2.0/24"),
    ]
}

fn uplink_v6() -> Uplinks {
    let link = Uplink { index: 2, network: "fd00:7::2/64".parse().unwrap(), mtu: Some(9000) };
    Uplinks { first: Some(link.clone()), v6: Some(link) }
}

#[test]
fn nodes_with_ipv6_addresses_are_gateways_of_pods_with_ipv4_addresses() {
    let services = &[net("10.152.183.0/24")];
    let state = wanted(&three_over_ipv6(), "a", services, &uplink_v6());
    let near = Route::Direct { gateway: ip("fd00:7::3"), index: 2, source: Some(ip("10.1.0.0")) };
    let routes = [
        (net("10.1.0.0/24"), Route::Unreachable),
        (net("10.1.1.0/24"), near),
        (net("10.1.2.0/24"), Route::Tunnel { gateway: ip("10.1.2.0") }),
        (net("10.152.183.0/24"), Route::Services),
    ];
    assert_eq!(state.routes, routes.into());
    assert_eq!(state.hosts, [(MAC_C, ip("fd00:8::2"))].into());
    let tunnel = state.tunnel.unwrap();
    assert_eq!((tunnel.local, tunnel.mtu), (Some(ip("fd00:7::2")), 8930));
    // Alone it has an address, too, of which its packets to pods come.
    let alone = wanted(&three_over_ipv6()[..1], "a", services, &uplink_v6());
    assert_eq!(alone.tunnel, state.tunnel);
    assert_eq!(alone.routes.len(), 2);
    // One that has an IPv4 address needs neither.
    assert_eq!(wanted(&three()[..1], "a", services, &uplink()).routes.len(), 1);
}

#[test]
fn its_own_new_ipv6_address_is_a_new_end_of_the_tunnel() {
    let services = &[net("10.152.183.0/24")];
    let mut members = three_over_ipv6();
    let before = wanted(&members, "a", services, &uplink_v6());
    members[0].address = ip("fd00:7::9");
    let after = wanted(&members, "a", services, &uplink_v6());
    let steps = steps(&before, &after);
    assert!(matches!(steps[0], Change::SetTunnel(Tunnel { local: Some(_), .. })), "{steps:?}");
    assert!(steps.contains(&Change::SetHost(MAC_C, ip("fd00:8::2"))));
    assert!(steps.contains(&Change::SetRoute(net("10.152.183.0/24"), Route::Services)));
    // The kernel takes away what comes from the old one's address.
    assert!(steps.iter().any(|step| matches!(step, Change::SetRoute(_, Route::Direct { .. }))));
}

#[test]
fn there_is_no_way_to_a_node_of_the_other_family() {
    let mut members = three();
    members[2].address = ip("fd00:8::2");
    assert_eq!(wanted(&members, "a", &[], &uplink()), wanted(&three()[..2], "a", &[], &uplink()));
    assert!(members[0].is_foreign(&members[2]) && !members[0].is_foreign(&members[1]));
}

const END_B: &str = "fe80::4b:aff:fe01:100";
const END_C: &str = "fe80::4b:aff:fe01:200";

/// Pods of both families on nodes with addresses of IPv4, of which some have one of IPv6, too.
fn three_of_both() -> Vec<Member> {
    let mut members = three();
    for (n, member) in members.iter_mut().enumerate() {
        member.pod_cidrs.push(net(&format!("fd00:10:1:{n}::/64")));
    }
    members
}

#[test]
fn pods_of_both_families_are_reached() {
    let services = &[net("10.152.183.0/24"), net("fd00:10:152::/112")];
    let state = wanted(&three_of_both(), "a", services, &uplink());
    let routes = [
        (net("10.1.0.0/24"), Route::Unreachable),
        (net("10.1.1.0/24"), Route::Direct { gateway: ip("192.168.7.3"), index: 2, source: None }),
        (net("10.1.2.0/24"), Route::Tunnel { gateway: ip("10.1.2.0") }),
        (net("fd00:10:1::/64"), Route::Unreachable),
        // The neighbour has no address of IPv6 that could be a gateway.
        (net("fd00:10:1:1::/64"), Route::Tunnel { gateway: ip(END_B) }),
        (net("fd00:10:1:2::/64"), Route::Tunnel { gateway: ip(END_C) }),
        (net("fd00:10:152::/112"), Route::Services),
    ];
    assert_eq!(state.routes, routes.into());
    let mac_b = [0x02, 0x4b, 10, 1, 1, 0];
    let neighbours = [(ip("10.1.2.0"), MAC_C), (ip(END_B), mac_b), (ip(END_C), MAC_C)];
    assert_eq!(state.neighbours, neighbours.into());
    assert_eq!(state.hosts, [(mac_b, ip("192.168.7.3")), (MAC_C, ip("192.168.8.2"))].into());
    let bases = Bases { v4: Some(ip("10.1.0.0")), v6: Some(ip("fd00:10:1::")) };
    assert_eq!(state.tunnel.unwrap().bases, bases);
    // Alone, too, for what it sends to its own pods and to Services.
    let alone = wanted(&three_of_both()[..1], "a", services, &uplink());
    assert_eq!((alone.tunnel, alone.routes.len()), (state.tunnel, 3));
}

#[test]
fn nodes_with_addresses_of_both_families_are_gateways_of_both() {
    let mut members = three_of_both();
    members[0].address_v6 = Some(ip("fd00:7::2"));
    members[1].address_v6 = Some(ip("fd00:7::3"));
    let uplinks =
        Uplinks { v6: Some(Uplink { index: 3, network: net("fd00:7::2/64"), mtu: None }), ..uplink() };
    let services = &[net("10.152.183.0/24"), net("fd00:10:152::/112")];
    let state = wanted(&members, "a", services, &uplinks);
    let near = Route::Direct { gateway: ip("fd00:7::3"), index: 3, source: None };
    assert_eq!(state.routes[&net("fd00:10:1:1::/64")], near);
    let far = Route::Tunnel { gateway: ip(END_C) };
    assert_eq!(state.routes[&net("fd00:10:1:2::/64")], far);
    assert!(!state.routes.contains_key(&net("fd00:10:152::/112")));
    // With nobody elsewhere there is no tunnel.
    assert_eq!(wanted(&members[..2], "a", services, &uplinks).tunnel, None);
}

#[test]
fn pods_of_ipv6_alone_need_nothing_of_ipv4() {
    let mut members = three_over_ipv6();
    for (n, member) in members.iter_mut().enumerate() {
        member.pod_cidrs = vec![net(&format!("fd00:10:1:{n}::/64"))];
    }
    let state = wanted(&members, "a", &[net("fd00:10:152::/112")], &uplink_v6());
    let mac = [0x02, 0x4b, 0, 1, 0, 2];
    let routes = [
        (net("fd00:10:1::/64"), Route::Unreachable),
        (net("fd00:10:1:1::/64"), Route::Direct { gateway: ip("fd00:7::3"), index: 2, source: None }),
        (net("fd00:10:1:2::/64"), Route::Tunnel { gateway: ip("fe80::4b:ff:fe01:2") }),
    ];
    assert_eq!(state.routes, routes.into());
    assert_eq!(state.hosts, [(mac, ip("fd00:8::2"))].into());
    assert_eq!(state.tunnel.unwrap().bases, Bases { v4: None, v6: Some(ip("fd00:10:1::")) });
}

#[test]
fn a_new_range_of_the_other_family_is_a_new_end_of_the_tunnel() {
    let before = wanted(&three(), "a", &[], &uplink());
    let after = wanted(&three_of_both(), "a", &[], &uplink());
    let steps = steps(&before, &after);
    assert!(matches!(steps[0], Change::SetTunnel(_)), "{steps:?}");
    let again = Change::SetRoute(net("10.1.2.0/24"), Route::Tunnel { gateway: ip("10.1.2.0") });
    assert!(steps.contains(&again), "the kernel takes away what the old one had");
}
