//! What the kernel should have, and the steps from what it has.

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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
    /// Its InternalIP, of IPv4 if it has one: where tunnels to it end.
    pub address: IpAddr,
    /// Its InternalIP of IPv6, if it has one.
    pub address_v6: Option<Ipv6Addr>,
    /// Addresses of its pods: a range, or one of each family.
    pub pod_cidrs: Vec<IpNet>,
}

/// A link that has an address of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uplink {
    pub(super) index: u32,
    /// The network that hosts on the link are in.
    pub(super) network: IpNet,
    pub(super) mtu: Option<u32>,
}

/// The links of the node's addresses; both are one link, and often one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uplinks {
    /// Of the one that counts.
    pub(super) first: Option<Uplink>,
    /// Of the one of IPv6.
    pub(super) v6: Option<Uplink>,
}

/// Where packets for a range go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To a host on a link. The node's own packets come from `source`, where the link has no IPv4 address.
    Direct { gateway: IpAddr, index: u32, source: Option<Ipv4Addr> },
    /// Into the tunnel.
    Tunnel { gateway: IpAddr },
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
    pub(super) bases: Bases,
    pub(super) mtu: u32,
    /// The node's own address where tunnels go over IPv6: a device is for one family.
    pub(super) local: Option<Ipv6Addr>,
}

/// The addresses that a node has among its pods: the first of each range, which no pod gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bases {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

/// What the kernel has, or should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) tunnel: Option<Tunnel>,
    pub(super) routes: BTreeMap<IpNet, Route>,
    /// Ends of the tunnel by the addresses that routes name.
    pub(super) neighbours: BTreeMap<IpAddr, Mac>,
    /// Hosts by their ends of the tunnel.
    pub(super) hosts: BTreeMap<Mac, IpAddr>,
}

/// A step; they are taken in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    SetTunnel(Tunnel),
    SetHost(Mac, IpAddr),
    SetNeighbour(IpAddr, Mac),
    SetRoute(IpNet, Route),
    DropRoute(IpNet, Route),
    DropNeighbour(IpAddr),
    DropHost(Mac, IpAddr),
    DropTunnel,
}

/// What the kernel of the node `own` should have. Nothing before it has a range of its own.
///
/// A node may lack an address of a family that pods have: what it sends to them itself would come from nowhere, and what
/// it sends to Services would have no route. So it has its end of the tunnel even if that leads to nobody, for its
/// address, and a route for `services` of that family.
pub(super) fn wanted(members: &[Member], own: &str, services: &[IpNet], uplinks: &Uplinks) -> State {
    let mut state = State::default();
    let Some(own) = members.iter().find(|member| member.name == own) else { return state };
    let Some(own_mac) = own.mac() else { return state };
    for range in &own.pod_cidrs {
        state.routes.insert(range.trunc(), Route::Unreachable);
    }
    // In order of names: of two nodes with one range, which only a person can bring about, the same one loses
    // everywhere.
    let reached = |member: &&Member| member.name != own.name && !own.is_foreign(member);
    let mut others: Vec<&Member> = members.iter().filter(reached).collect();
    others.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    for other in others {
        let Some(mac) = other.mac() else { continue };
        for range in other.pod_cidrs.iter().map(IpNet::trunc) {
            let Entry::Vacant(entry) = state.routes.entry(range) else { continue };
            if let Some(direct) = own.direct(other, &range, uplinks) {
                entry.insert(direct);
                continue;
            }
            let gateway = tunnel_gateway(&range, mac);
            entry.insert(Route::Tunnel { gateway });
            state.neighbours.insert(gateway, mac);
            state.hosts.insert(mac, other.address);
        }
    }
    let (local, overhead) = match own.address {
        IpAddr::V4(_) => (None, VXLAN_OVERHEAD),
        IpAddr::V6(address) => (Some(address), VXLAN_OVERHEAD_V6),
    };
    if !state.hosts.is_empty() || own.pod_cidrs.iter().any(|range| own.lacks(range)) {
        let mtu = uplinks.first.as_ref().and_then(|uplink| uplink.mtu).unwrap_or(DEFAULT_MTU);
        let mtu = mtu.saturating_sub(overhead);
        state.tunnel = Some(Tunnel { mac: own_mac, bases: own.bases(), mtu, local });
        for network in services.iter().filter(|network| own.lacks(network)) {
            state.routes.entry(network.trunc()).or_insert(Route::Services);
        }
    }
    state
}

impl Member {
    /// Whether another node has an address of the other family: there is no way between them.
    pub fn is_foreign(&self, other: &Self) -> bool {
        self.address.is_ipv4() != other.address.is_ipv4()
    }

    /// Whether its pods have addresses of a network's family, but itself has none.
    fn lacks(&self, network: &IpNet) -> bool {
        match network {
            IpNet::V4(_) => self.bases().v4.is_some() && self.address.is_ipv6(),
            IpNet::V6(_) => self.bases().v6.is_some() && self.address_v6.is_none(),
        }
    }

    /// The route to a range of another node that is on one of the links.
    fn direct(&self, other: &Self, range: &IpNet, uplinks: &Uplinks) -> Option<Route> {
        let (uplink, gateway) = match range {
            IpNet::V4(_) => (uplinks.first.as_ref()?, other.address),
            // What is IPv6 has no gateways of IPv4.
            IpNet::V6(_) => (uplinks.v6.as_ref()?, IpAddr::V6(other.address_v6?)),
        };
        let source = self.bases().v4.filter(|_| range.addr().is_ipv4() && self.address.is_ipv6());
        let route = Route::Direct { gateway, index: uplink.index, source };
        uplink.network.contains(&gateway).then_some(route)
    }

    fn bases(&self) -> Bases {
        let mut bases = Bases::default();
        for range in &self.pod_cidrs {
            match range.network() {
                IpAddr::V4(base) => bases.v4 = bases.v4.or(Some(base)),
                IpAddr::V6(base) => bases.v6 = bases.v6.or(Some(base)),
            }
        }
        bases
    }

    /// The MAC of its end of the tunnel, made of what no other node has: its range of IPv4, or else the last 32 bits of its
    /// IPv6 range's prefix. More than those the networks of a cluster's nodes do not differ in.
    fn mac(&self) -> Option<Mac> {
        let of_v6 = || {
            self.pod_cidrs.iter().find_map(|range| match range {
                IpNet::V4(_) => None,
                IpNet::V6(range) => {
                    let prefix = range.network().to_bits() >> (128 - range.prefix_len().max(32));
                    let [.., a, b, c, d] = prefix.to_be_bytes();
                    Some([a, b, c, d])
                }
            })
        };
        let [first, second] = MAC_PREFIX;
        let [a, b, c, d] = self.bases().v4.map(|base| base.octets()).or_else(of_v6)?;
        Some([first, second, a, b, c, d])
    }
}

/// What routes name as the other end of the tunnel. IPv6 does not take a gateway that so far went elsewhere, as the range
/// itself may: so it is the link-local address that the kernel makes of the end's MAC (RFC 4291, appendix A).
fn tunnel_gateway(range: &IpNet, mac: Mac) -> IpAddr {
    match range {
        IpNet::V4(range) => IpAddr::V4(range.network()),
        IpNet::V6(_) => {
            let [a, b, c, d, e, f] = mac.map(u16::from);
            let first = (a ^ 0x02) << 8 | b;
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, first, c << 8 | 0xff, 0xfe00 | d, e << 8 | f))
        }
    }
}

/// The steps from one state to another. What is new comes before what goes, so that nothing that stays is cut.
pub(super) fn steps(has: &State, wants: &State) -> Vec<Change> {
    let mut steps = Vec::new();
    // What has to be made anew takes all that belongs to it along.
    let end = |state: &State| state.tunnel.map(|tunnel| (tunnel.mac, tunnel.bases, tunnel.local));
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
    let new = |(base, mac): &(&IpAddr, &Mac)| has.neighbours.get(*base) != Some(*mac);
    steps.extend(wants.neighbours.iter().filter(new).map(|(base, mac)| Change::SetNeighbour(*base, *mac)));
    let new = |(range, route): &(&IpNet, &Route)| has.routes.get(*range) != Some(*route);
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
#[path = "plan_tests.rs"]
mod tests;
