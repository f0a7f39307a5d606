//! Reading and changing what the kernel has, by netlink.

use super::plan::{self, Bases, Change, Mac, Member, Route, State, Tunnel, Uplink, Uplinks};
use crate::link::{self, add_address, delete, find, in_host, mac, mtu, name};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use ipnet::IpNet;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::{
    Handle, LinkUnspec, LinkVxlan, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The tunnel's device; no name of a pod's host end.
pub(crate) const DEVICE: &str = "knarr-vxlan";
/// Number of the virtual network: "kn". Others use 1 (flannel) or small numbers.
const VNI: u32 = 0x6b6e;
/// The kernel's own default port for VXLAN, and so what people open between nodes already.
const PORT: u16 = 8472;
/// Who made a route (`proto` in `ip route`), by which ours are known again: a K. Below are well-known ones, and
/// from 186 those of routing daemons.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(75);

/// Makes the kernel have what the nodes need, by the fewest changes; answers how many there were.
///
/// Anything that is not ours stays. Can be repeated, also by another process after this one. `services` are the
/// addresses of Services.
///
/// # Errors
/// When the kernel refuses something; what comes before it is done.
pub fn follow(members: &[Member], own: &str, services: &[IpNet]) -> io::Result<usize> {
    let (members, own, services) = (members.to_owned(), own.to_owned(), services.to_owned());
    in_host(|handle| async move {
        let mut uplinks = Uplinks::default();
        if let Some(own) = members.iter().find(|member| member.name == own) {
            uplinks.first = uplink(&handle, own.address).await?;
            if let Some(address) = own.address_v6 {
                uplinks.v6 = uplink(&handle, IpAddr::V6(address)).await?;
            }
        }
        let wants = plan::wanted(&members, &own, &services, &uplinks);
        let steps = plan::steps(&read(&handle).await?, &wants);
        for step in &steps {
            let done = apply(&handle, step).await;
            done.map_err(|error| io::Error::new(error.kind(), format!("{step:?}: {error}")))?;
        }
        Ok(steps.len())
    })
}

/// Removes all of it.
///
/// # Errors
/// When the kernel refuses something.
pub(crate) fn remove() -> io::Result<()> {
    follow(&[], "", &[]).map(drop)
}

/// Tells whenever a link or an address of the node changes: the kernel takes routes away with them.
///
/// # Errors
/// When the kernel cannot be listened to.
pub fn changes() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, messages) = new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    let relevant = messages.filter_map(move |(message, _)| {
        // As long as somebody listens.
        let _held = &handle;
        let relevant = match message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
            ) => !name(&link).is_some_and(link::is_host_end),
            // Every link gets one of IPv6, those of pods too.
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address),
            ) => address.header.scope != AddressScope::Link,
            NetlinkPayload::InnerMessage(_) => true,
            _ => false,
        };
        std::future::ready(relevant.then_some(()))
    });
    Ok(Box::pin(relevant))
}

async fn uplink(handle: &Handle, own: IpAddr) -> io::Result<Option<Uplink>> {
    let mut addresses = handle.address().get().set_address_filter(own).execute();
    let Some(address) = addresses.try_next().await.map_err(io::Error::other)? else { return Ok(None) };
    let Ok(network) = IpNet::new(own, address.header.prefix_len) else { return Ok(None) };
    let index = address.header.index;
    let mut links = handle.link().get().match_index(index).execute();
    let link = links.try_next().await.map_err(io::Error::other)?;
    Ok(Some(Uplink { index, network, mtu: link.as_ref().and_then(mtu) }))
}

async fn read(handle: &Handle) -> io::Result<State> {
    let device = find(handle, DEVICE).await.ok();
    let index = device.as_ref().map(|device| device.header.index);
    let mut state = State::default();
    let all =
        [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
    for request in all {
        let mut routes = handle.route().get(request).execute();
        while let Some(route) = routes.try_next().await.map_err(io::Error::other)? {
            if let Some((range, route)) = read_route(&route, index) {
                state.routes.insert(range, route);
            }
        }
    }
    // One that is not as ours would be is made anew.
    let Some(device) = device.filter(is_ours) else { return Ok(state) };
    let index = device.header.index;
    let bases = bases_of(handle, index).await?;
    if let (Some(mac), Some(mtu)) = (mac(&device), mtu(&device)) {
        state.tunnel = Some(Tunnel { mac, bases, mtu, local: local(&device) });
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Bridge] {
        let mut found = handle.neighbours().get().set_address_family(family).execute();
        while let Some(entry) = found.try_next().await.map_err(io::Error::other)? {
            if entry.header.ifindex != index || entry.header.state != NeighbourState::Permanent {
                continue;
            }
            match (read_entry(&entry), family) {
                (Some((mac, address)), AddressFamily::Bridge) => {
                    state.hosts.insert(mac, address);
                }
                (Some((mac, address)), _) => {
                    state.neighbours.insert(address, mac);
                }
                _ => {}
            }
        }
    }
    Ok(state)
}

/// One of our routes.
fn read_route(route: &RouteMessage, tunnel: Option<u32>) -> Option<(IpNet, Route)> {
    if route.header.protocol != PROTOCOL {
        return None;
    }
    let (mut destination, mut gateway, mut index, mut source) = (None, None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = plain(address),
            RouteAttribute::Gateway(address) => gateway = plain(address),
            // RTA_VIA: a gateway of another family (RFC 8950 has it for routes that are told).
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            RouteAttribute::Oif(number) => index = Some(*number),
            _ => {}
        }
    }
    let range = IpNet::new(destination?, route.header.destination_prefix_length).ok()?;
    let route = match (route.header.kind, gateway) {
        (RouteType::Unreachable, _) => Route::Unreachable,
        (_, Some(gateway)) if index == tunnel && gateway.is_ipv4() == range.addr().is_ipv4() => {
            Route::Tunnel { gateway }
        }
        (_, None) if index == tunnel => Route::Services,
        // A gateway that is none makes it differ from any that is wanted.
        (_, gateway) => {
            let gateway = gateway.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            Route::Direct { gateway, index: index?, source }
        }
    };
    Some((range, route))
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn read_entry(entry: &NeighbourMessage) -> Option<(Mac, IpAddr)> {
    let (mut mac, mut address): (_, Option<IpAddr>) = (None, None);
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some((*found).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some((*found).into())
            }
            // The forwarding table has no address family of its own.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
                address = v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok();
            }
            _ => {}
        }
    }
    Some((mac?, address?))
}

fn is_ours(device: &LinkMessage) -> bool {
    let details = details(device);
    details.contains(&InfoVxlan::Id(VNI)) && details.contains(&InfoVxlan::Port(PORT))
}

/// The address that the tunnel's packets come from, if it was made for IPv6.
fn local(device: &LinkMessage) -> Option<Ipv6Addr> {
    details(device).iter().find_map(|detail| match detail {
        InfoVxlan::Local6(address) => Some(*address),
        _ => None,
    })
}

fn details(device: &LinkMessage) -> &[InfoVxlan] {
    let details = device.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(details)) => Some(details.as_slice()),
            _ => None,
        }),
        _ => None,
    });
    details.unwrap_or_default()
}

async fn bases_of(handle: &Handle, index: u32) -> io::Result<Bases> {
    let mut bases = Bases::default();
    let mut addresses = handle.address().get().set_link_index_filter(index).execute();
    while let Some(address) = addresses.try_next().await.map_err(io::Error::other)? {
        // Every link has one of IPv6 for itself.
        if address.header.scope == AddressScope::Link {
            continue;
        }
        for attribute in &address.attributes {
            match attribute {
                AddressAttribute::Address(IpAddr::V4(found)) => bases.v4 = Some(*found),
                AddressAttribute::Address(IpAddr::V6(found)) => bases.v6 = Some(*found),
                _ => {}
            }
        }
    }
    Ok(bases)
}

async fn apply(handle: &Handle, step: &Change) -> io::Result<()> {
    match *step {
        Change::SetTunnel(tunnel) => set_tunnel(handle, tunnel).await,
        Change::DropTunnel => delete(handle, DEVICE).await,
        Change::SetHost(mac, host) => {
            let index = device(handle).await?;
            let entry = handle.neighbours().add_bridge(index, &mac).destination(host);
            let entry = entry.flags(NeighbourFlags::Own).replace();
            entry.execute().await.map_err(io::Error::other)
        }
        Change::DropHost(mac, host) => {
            let mut entry = handle.neighbours().add_bridge(device(handle).await?, &mac);
            entry = entry.destination(host).flags(NeighbourFlags::Own);
            handle.neighbours().del(entry.message_mut().clone()).execute().await.map_err(io::Error::other)
        }
        Change::SetNeighbour(base, mac) => {
            let index = device(handle).await?;
            let entry = handle.neighbours().add(index, base).link_layer_address(&mac).replace();
            entry.execute().await.map_err(io::Error::other)
        }
        Change::DropNeighbour(base) => {
            let mut entry = handle.neighbours().add(device(handle).await?, base);
            handle.neighbours().del(entry.message_mut().clone()).execute().await.map_err(io::Error::other)
        }
        Change::SetRoute(range, route) => {
            let message = write_route(handle, range, route).await?;
            handle.route().add(message).replace().execute().await.map_err(io::Error::other)
        }
        Change::DropRoute(range, route) => {
            let message = write_route(handle, range, route).await?;
            handle.route().del(message).execute().await.map_err(io::Error::other)
        }
    }
}

async fn device(handle: &Handle) -> io::Result<u32> {
    Ok(find(handle, DEVICE).await?.header.index)
}

async fn write_route(handle: &Handle, range: IpNet, route: Route) -> io::Result<RouteMessage> {
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .map_err(io::Error::other)?
        .protocol(PROTOCOL)
        .scope(RouteScope::Universe);
    Ok(match route {
        Route::Unreachable => builder.kind(RouteType::Unreachable).build(),
        Route::Direct { gateway, index, source } => {
            let mut builder = builder.output_interface(index);
            if let Some(source) = source {
                builder = builder.pref_source(source.into()).map_err(io::Error::other)?;
            }
            builder.gateway(gateway).map_err(io::Error::other)?.build()
        }
        Route::Services => builder.output_interface(device(handle).await?).scope(RouteScope::Link).build(),
        Route::Tunnel { gateway } => {
            let builder = builder.gateway(gateway).map_err(io::Error::other)?;
            // No address of the device makes the gateway one on its link.
            builder.output_interface(device(handle).await?).onlink().build()
        }
    })
}

/// Makes the device, or makes it as it should be.
async fn set_tunnel(handle: &Handle, tunnel: Tunnel) -> io::Result<()> {
    // The MAC and the addresses are of one node: with others nothing of the old is of use.
    let keep = match find(handle, DEVICE).await {
        Ok(device) if is_ours(&device) => {
            let alike = mac(&device) == Some(tunnel.mac) && local(&device) == tunnel.local;
            alike && bases_of(handle, device.header.index).await? == tunnel.bases
        }
        _ => false,
    };
    if !keep {
        delete(handle, DEVICE).await?;
        let mut device = LinkVxlan::new(DEVICE, VNI).port(PORT).learning(false);
        if let Some(local) = tunnel.local {
            device = device.local6(local);
        }
        let device = device.mtu(tunnel.mtu).address(tunnel.mac.to_vec()).build();
        handle.link().add(device).execute().await.map_err(io::Error::other)?;
    }
    let set = |family: &str, name: &str| {
        let _ = std::fs::write(format!("/proc/sys/net/{family}/conf/{DEVICE}/{name}"), "0");
    };
    // Nobody in the tunnel is a router, nor has the address that the kernel makes of the MAC.
    set("ipv6", "accept_ra");
    set("ipv6", "accept_dad");
    let index = device(handle).await?;
    let up = LinkUnspec::new_with_index(index).mtu(tunnel.mtu).up().build();
    handle.link().set(up).execute().await.map_err(io::Error::other)?;
    let Bases { v4, v6 } = tunnel.bases;
    for address in v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)) {
        add_address(handle, index, address).await?;
    }
    // Answers to the node's own packets may come another way than these went.
    set("ipv4", "rp_filter");
    Ok(())
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
