//! Reading and changing what the kernel has, by netlink.

use super::plan::{self, Change, Mac, Member, Route, State, Tunnel, Uplink};
use crate::link::{self, delete, find, in_host, mac, mtu, name};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use ipnet::{IpNet, Ipv4Net};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::{
    Handle, LinkUnspec, LinkVxlan, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The tunnel's device; no name of a pod's host end.
const DEVICE: &str = "knarr-vxlan";
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
pub fn follow(members: &[Member], own: &str, services: Option<Ipv4Net>) -> io::Result<usize> {
    let (members, own) = (members.to_owned(), own.to_owned());
    in_host(|handle| async move {
        let address = members.iter().find(|member| member.name == own).map(|member| member.address);
        let uplink = match address {
            Some(address) => uplink(&handle, address).await?,
            None => None,
        };
        let wants = plan::wanted(&members, &own, services, uplink.as_ref());
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
    follow(&[], "", None).map(drop)
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
    let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = handle.route().get(request).execute();
    while let Some(route) = routes.try_next().await.map_err(io::Error::other)? {
        if let Some((range, route)) = read_route(&route, index) {
            state.routes.insert(range, route);
        }
    }
    // One that is not as ours would be is made anew.
    let Some(device) = device.filter(is_ours) else { return Ok(state) };
    let index = device.header.index;
    let address = address_of(handle, index).await?;
    if let (Some(mac), Some(address), Some(mtu)) = (mac(&device), address, mtu(&device)) {
        state.tunnel = Some(Tunnel { mac, address, mtu, local: local(&device) });
    }
    for family in [AddressFamily::Inet, AddressFamily::Bridge] {
        let mut found = handle.neighbours().get().set_address_family(family).execute();
        while let Some(entry) = found.try_next().await.map_err(io::Error::other)? {
            if entry.header.ifindex != index || entry.header.state != NeighbourState::Permanent {
                continue;
            }
            match (read_entry(&entry), family) {
                (Some((mac, IpAddr::V4(address))), AddressFamily::Inet) => {
                    state.neighbours.insert(address, mac);
                }
                (Some((mac, address)), AddressFamily::Bridge) => {
                    state.hosts.insert(mac, address);
                }
                _ => {}
            }
        }
    }
    Ok(state)
}

/// One of our routes.
fn read_route(route: &RouteMessage, tunnel: Option<u32>) -> Option<(Ipv4Net, Route)> {
    if route.header.protocol != PROTOCOL {
        return None;
    }
    let (mut destination, mut gateway, mut index, mut source) = (None, None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(*address),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            // RTA_VIA: a gateway of another family (RFC 8950 has it for routes that are told).
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            RouteAttribute::Oif(number) => index = Some(*number),
            _ => {}
        }
    }
    let range = Ipv4Net::new(destination?, route.header.destination_prefix_length).ok()?;
    let route = match (route.header.kind, gateway) {
        (RouteType::Unreachable, _) => Route::Unreachable,
        (_, Some(IpAddr::V4(gateway))) if index == tunnel => Route::Tunnel { gateway },
        (_, None) if index == tunnel => Route::Services,
        // A gateway that is none makes it differ from any that is wanted.
        (_, gateway) => {
            let gateway = gateway.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            Route::Direct { gateway, index: index?, source }
        }
    };
    Some((range, route))
}

fn read_entry(entry: &NeighbourMessage) -> Option<(Mac, IpAddr)> {
    let (mut mac, mut address): (_, Option<IpAddr>) = (None, None);
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some((*found).into()),
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

async fn address_of(handle: &Handle, index: u32) -> io::Result<Option<Ipv4Addr>> {
    let mut addresses = handle.address().get().set_link_index_filter(index).execute();
    while let Some(address) = addresses.try_next().await.map_err(io::Error::other)? {
        let found = address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
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
            let entry = handle.neighbours().add(index, IpAddr::V4(base)).link_layer_address(&mac).replace();
            entry.execute().await.map_err(io::Error::other)
        }
        Change::DropNeighbour(base) => {
            let mut entry = handle.neighbours().add(device(handle).await?, IpAddr::V4(base));
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

async fn write_route(handle: &Handle, range: Ipv4Net, route: Route) -> io::Result<RouteMessage> {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .protocol(PROTOCOL)
        .scope(RouteScope::Universe);
    Ok(match route {
        Route::Unreachable => builder.kind(RouteType::Unreachable).build(),
        Route::Direct { gateway, index, source } => {
            let mut builder = builder.output_interface(index);
            if let Some(source) = source {
                builder = builder.pref_source(source);
            }
            match gateway {
                IpAddr::V4(gateway) => builder.gateway(gateway).build(),
                IpAddr::V6(gateway) => builder.via(gateway).build(),
            }
        }
        Route::Services => builder.output_interface(device(handle).await?).scope(RouteScope::Link).build(),
        Route::Tunnel { gateway } => {
            let mut message = builder.gateway(gateway).output_interface(device(handle).await?).build();
            // No address of the device makes the gateway one on its link.
            message.header.flags.insert(RouteFlags::Onlink);
            message
        }
    })
}

/// Makes the device, or makes it as it should be.
async fn set_tunnel(handle: &Handle, tunnel: Tunnel) -> io::Result<()> {
    let existing = find(handle, DEVICE).await.ok();
    // The MAC and the address are of one range: with another one nothing of the old is of use.
    let keep = existing.as_ref().is_some_and(|device| {
        is_ours(device) && mac(device) == Some(tunnel.mac) && local(device) == tunnel.local
    });
    if !keep {
        delete(handle, DEVICE).await?;
        let mut device = LinkVxlan::new(DEVICE, VNI).port(PORT).learning(false);
        if let Some(local) = tunnel.local {
            device = device.local6(local);
        }
        let device = device.mtu(tunnel.mtu).address(tunnel.mac.to_vec()).build();
        handle.link().add(device).execute().await.map_err(io::Error::other)?;
    }
    let index = device(handle).await?;
    let up = LinkUnspec::new_with_index(index).mtu(tunnel.mtu).up().build();
    handle.link().set(up).execute().await.map_err(io::Error::other)?;
    let address = handle.address().add(index, IpAddr::V4(tunnel.address), 32).replace();
    address.execute().await.map_err(io::Error::other)?;
    // Answers to the node's own packets may come another way than these went.
    let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{DEVICE}/rp_filter"), "0");
    Ok(())
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
