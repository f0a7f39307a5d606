//! What the kernel should have, and the steps from what it has.

use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What VXLAN adds to a packet over IPv4: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14 bytes (RFC 7348, section 5).
const VXLAN_OVERHEAD: u32 = 50;
/// The same over IPv6, whose header has 40 bytes.
const VXLAN_OVERHEAD_V6: u32 = 70;
/// MTU of a link that does not tell.
const DEFAULT_MTU: u32 = 1500;
/// First bytes of a tunnel end's MAC: locally administered (bit 1 of the first byte), the second is a K.
const MAC_PREFIX: [u8; 2] = [0x02, 0x4b];

/// The address of an Ethernet device.
pub(super) type Mac = [u8; 6];

/// A node, as its object tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its InternalIP.
    pub address: IpAddr,
    /// Addresses of its pods.
    pub pod_cidrs: Vec<Ipv4Net>,
}

/// The link that has the node's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uplink {
    pub(super) index: u32,
    /// The network that hosts on the link are in.
    pub(super) network: IpNet,
    pub(super) mtu: Option<u32>,
}

/// Where packets for a range go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To a host on a link. The node's own packets come from `source`, where the link has no IPv4 address.
    Direct { gateway: IpAddr, index: u32, source: Option<Ipv4Addr> },
    /// Into the tunnel.
    Tunnel { gateway: Ipv4Addr },
    /// Nobody is there: only so that the node's own packets come as far as the rules that give them another
    /// destination.
    Services,
    /// Nowhere.
    Unreachable,
}

/// This node's end of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub(super) mac: Mac,
    /// What this node's own packets into the tunnel come from, so that answers take the same way.
    pub(super) address: Ipv4Addr,
    pub(super) mtu: u32,
    /// The node's own address where tunnels go over IPv6: a device is for one family.
    pub(super) local: Option<Ipv6Addr>,
}

/// What the kernel has, or should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) tunnel: Option<Tunnel>,
    pub(super) routes: BTreeMap<Ipv4Net, Route>,
    /// Ends of the tunnel by the address that routes name.
    pub(super) neighbours: BTreeMap<Ipv4Addr, Mac>,
    /// Hosts by their ends of the tunnel.
    pub(super) hosts: BTreeMap<Mac, IpAddr>,
}

/// A step; they are taken in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    SetTunnel(Tunnel),
    SetHost(Mac, IpAddr),
    SetNeighbour(Ipv4Addr, Mac),
    SetRoute(Ipv4Net, Route),
    DropRoute(Ipv4Net, Route),
    DropNeighbour(Ipv4Addr),
    DropHost(Mac, IpAddr),
    DropTunnel,
}

/// What the kernel of the node `own` should have. Nothing before it has a range of its own.
///
/// A node whose address is IPv6 may have no other: what it sends to pods itself would come from nowhere, and what it
/// sends to Services would have no route. So it has its end of the tunnel even if that leads to nobody, for its address,
/// and a route for `services`.
pub(super) fn wanted(
    members: &[Member],
    own: &str,
    services: Option<Ipv4Net>,
    uplink: Option<&Uplink>,
) -> State {
    let mut state = State::default();
    let Some(own) = members.iter().find(|member| member.name == own) else { return state };
    let Some(own_base) = own.base() else { return state };
    for range in &own.pod_cidrs {
        state.routes.insert(range.trunc(), Route::Unreachable);
    }
    // In order of names: of two nodes with one range, which only a person can bring about, the same one loses
    // everywhere.
    let reached = |member: &&Member| member.name != own.name && !own.is_foreign(member);
    let mut others: Vec<&Member> = members.iter().filter(reached).collect();
    others.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    for other in others {
        let Some(base) = other.base() else { continue };
        let direct = uplink.filter(|uplink| uplink.network.contains(&other.address));
        let route = match direct {
            Some(uplink) => {
                let source = own.address.is_ipv6().then_some(own_base);
                Route::Direct { gateway: other.address, index: uplink.index, source }
            }
            None => Route::Tunnel { gateway: base },
        };
        let mut used = false;
        for range in &other.pod_cidrs {
            if let std::collections::btree_map::Entry::Vacant(entry) = state.routes.entry(range.trunc()) {
                entry.insert(route);
                used = true;
            }
        }
        if used && direct.is_none() {
            state.neighbours.insert(base, mac(base));
            state.hosts.insert(mac(base), other.address);
        }
    }
    let (local, overhead) = match own.address {
        IpAddr::V4(_) => (None, VXLAN_OVERHEAD),
        IpAddr::V6(address) => (Some(address), VXLAN_OVERHEAD_V6),
    };
    if !state.hosts.is_empty() || local.is_some() {
        let mtu = uplink.and_then(|uplink| uplink.mtu).unwrap_or(DEFAULT_MTU).saturating_sub(overhead);
        state.tunnel = Some(Tunnel { mac: mac(own_base), address: own_base, mtu, local });
    }
    if let Some(services) = services.filter(|_| local.is_some()) {
        state.routes.entry(services.trunc()).or_insert(Route::Services);
    }
    state
}

impl Member {
    /// Whether another node has an address of the other family: there is no way between them.
    pub fn is_foreign(&self, other: &Self) -> bool {
        self.address.is_ipv4() != other.address.is_ipv4()
    }

    /// The address that its end of the tunnel has: the first of its range, which no pod gets.
    fn base(&self) -> Option<Ipv4Addr> {
        self.pod_cidrs.first().map(Ipv4Net::network)
    }
}

fn mac(base: Ipv4Addr) -> Mac {
    let ([first, second], [a, b, c, d]) = (MAC_PREFIX, base.octets());
    [first, second, a, b, c, d]
}

/// The steps from one state to another. What is new comes before what goes, so that nothing that stays is cut.
pub(super) fn steps(has: &State, wants: &State) -> Vec<Change> {
    let mut steps = Vec::new();
    // What has to be made anew takes all that belongs to it along.
    let end = |state: &State| state.tunnel.map(|tunnel| (tunnel.mac, tunnel.local));
    let kept = has
        .routes
        .iter()
        .filter(|(_, route)| matches!(route, Route::Unreachable | Route::Direct { source: None, .. }));
    let lost = State { routes: kept.map(|(range, route)| (*range, *route)).collect(), ..State::default() };
    let has = if wants.tunnel.is_some() && end(has) != end(wants) { &lost } else { has };
    if let Some(tunnel) = wants.tunnel.filter(|tunnel| has.tunnel != Some(*tunnel)) {
        steps.push(Change::SetTunnel(tunnel));
    }
    let new = |(mac, host): &(&Mac, &IpAddr)| has.hosts.get(*mac) != Some(*host);
    steps.extend(wants.hosts.iter().filter(new).map(|(mac, host)| Change::SetHost(*mac, *host)));
    let new = |(base, mac): &(&Ipv4Addr, &Mac)| has.neighbours.get(*base) != Some(*mac);
    steps.extend(wants.neighbours.iter().filter(new).map(|(base, mac)| Change::SetNeighbour(*base, *mac)));
    let new = |(range, route): &(&Ipv4Net, &Route)| has.routes.get(*range) != Some(*route);
    steps.extend(wants.routes.iter().filter(new).map(|(range, route)| Change::SetRoute(*range, *route)));
    let old = has.routes.iter().filter(|(range, _)| !wants.routes.contains_key(*range));
    steps.extend(old.map(|(range, route)| Change::DropRoute(*range, *route)));
    if wants.tunnel.is_none() {
        steps.extend(has.tunnel.map(|_| Change::DropTunnel));
        return steps;
    }
    let old = has.neighbours.keys().filter(|base| !wants.neighbours.contains_key(*base));
    steps.extend(old.map(|base| Change::DropNeighbour(*base)));
    let old = has.hosts.iter().filter(|(mac, _)| !wants.hosts.contains_key(*mac));
    steps.extend(old.map(|(mac, host)| Change::DropHost(*mac, *host)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, address: &str, range: &str) -> Member {
        let pod_cidrs = if range.is_empty() { vec![] } else { vec![range.parse().unwrap()] };
        Member { name: name.to_owned(), address: address.parse().unwrap(), pod_cidrs }
    }

    fn uplink() -> Uplink {
        Uplink { index: 2, network: "192.168.7.2/24".parse().unwrap(), mtu: Some(9000) }
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
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
        let state = wanted(&three(), "a", None, Some(&uplink()));
        let routes = [
            (net("10.1.0.0/24"), Route::Unreachable),
            (net("10.1.1.0/24"), Route::Direct { gateway: ip("192.168.7.3"), index: 2, source: None }),
            (net("10.1.2.0/24"), Route::Tunnel { gateway: ip("10.1.2.0") }),
        ];
        assert_eq!(state.routes, routes.into());
        assert_eq!(state.neighbours, [(ip("10.1.2.0"), MAC_C)].into());
        assert_eq!(state.hosts, [(MAC_C, ip("192.168.8.2"))].into());
        let mac = [0x02, 0x4b, 10, 1, 0, 0];
        assert_eq!(state.tunnel, Some(Tunnel { mac, address: ip("10.1.0.0"), mtu: 8950, local: None }));
        // A node whose own address is on no link tunnels to all.
        let state = wanted(&three(), "a", None, None);
        assert_eq!(state.hosts.len(), 2);
        assert_eq!(state.tunnel.unwrap().mtu, 1450);
    }

    #[test]
    fn a_node_alone_or_without_a_range_needs_no_tunnel() {
        let alone = wanted(&three()[..1], "a", None, Some(&uplink()));
        assert_eq!((alone.tunnel, alone.routes.len()), (None, 1));
        let mut members = three();
        members[0].pod_cidrs.clear();
        assert_eq!(wanted(&members, "a", None, Some(&uplink())), State::default());
        members = vec![member("a", "192.168.7.2", "10.1.0.0/24"), member("b", "192.168.9.9", "")];
        assert_eq!(wanted(&members, "a", None, Some(&uplink())), alone);
        assert_eq!(wanted(&three(), "unknown", None, Some(&uplink())), State::default());
    }

    #[test]
    fn of_two_nodes_with_one_range_the_first_name_has_it() {
        let mut members = three();
        members.insert(0, member("d", "192.168.9.9", "10.1.2.0/24"));
        members.push(member("e", "192.168.9.8", "10.1.0.0/24"));
        assert_eq!(
            wanted(&members, "a", None, Some(&uplink())),
            wanted(&three(), "a", None, Some(&uplink()))
        );
    }

    #[test]
    fn nothing_is_done_where_nothing_differs() {
        let state = wanted(&three(), "a", None, Some(&uplink()));
        assert_eq!(steps(&state, &state), []);
        assert_eq!(steps(&State::default(), &state).len(), 6);
    }

    #[test]
    fn a_changed_address_changes_one_entry() {
        let before = wanted(&three(), "a", None, Some(&uplink()));
        let mut members = three();
        members[2].address = ip("192.168.8.9");
        let after = wanted(&members, "a", None, Some(&uplink()));
        assert_eq!(steps(&before, &after), [Change::SetHost(MAC_C, ip("192.168.8.9"))]);
        // It moves onto our subnet: the way is there before the tunnel goes.
        members[2].address = ip("192.168.7.9");
        let after = wanted(&members, "a", None, Some(&uplink()));
        let route = Route::Direct { gateway: ip("192.168.7.9"), index: 2, source: None };
        assert_eq!(steps(&before, &after), [Change::SetRoute(net("10.1.2.0/24"), route), Change::DropTunnel]);
    }

    #[test]
    fn a_lost_device_brings_back_what_it_had() {
        let wants = wanted(&three(), "a", None, Some(&uplink()));
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
        let before = wanted(&three(), "a", None, None);
        let after = wanted(&three()[..2], "a", None, None);
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

    fn uplink_v6() -> Uplink {
        Uplink { network: "fd00:7::2/64".parse().unwrap(), ..uplink() }
    }

    #[test]
    fn nodes_with_ipv6_addresses_are_gateways_of_pods_with_ipv4_addresses() {
        let services = Some(net("10.152.183.0/24"));
        let state = wanted(&three_over_ipv6(), "a", services, Some(&uplink_v6()));
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
        let alone = wanted(&three_over_ipv6()[..1], "a", services, Some(&uplink_v6()));
        assert_eq!(alone.tunnel, state.tunnel);
        assert_eq!(alone.routes.len(), 2);
        // One that has an IPv4 address needs neither.
        assert_eq!(wanted(&three()[..1], "a", services, Some(&uplink())).routes.len(), 1);
    }

    #[test]
    fn its_own_new_ipv6_address_is_a_new_end_of_the_tunnel() {
        let services = Some(net("10.152.183.0/24"));
        let mut members = three_over_ipv6();
        let before = wanted(&members, "a", services, Some(&uplink_v6()));
        members[0].address = ip("fd00:7::9");
        let after = wanted(&members, "a", services, Some(&uplink_v6()));
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
        assert_eq!(
            wanted(&members, "a", None, Some(&uplink())),
            wanted(&three()[..2], "a", None, Some(&uplink()))
        );
        assert!(members[0].is_foreign(&members[2]) && !members[0].is_foreign(&members[1]));
    }
}
