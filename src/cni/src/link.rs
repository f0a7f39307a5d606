//! The pair of links between a pod and the host, by netlink.

use futures::TryStreamExt as _;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Prefix of the host's ends.
pub(crate) const PREFIX: &str = "knarr";
/// What pods use as their gateway: link-local, so it can be no pod's or node's address (RFC 3927).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same of IPv6: what the kernel makes of [`HOST_MAC`] for a host end by itself (RFC 4291, appendix A).
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x004b, 0xa9ff, 0xfefe, 0x0101);
/// MAC of all host ends: each has one pod behind it, which knows no other. One that the kernel chose would be replaced by
/// systemd-udevd (`MACAddressPolicy=persistent`, systemd.link(5)) some moments after the pod was told of it.
const HOST_MAC: [u8; 6] = [0x02, 0x4b, 169, 254, 1, 1];

/// The host's end of a sandbox's link: a name of at most 15 bytes that is the same each time.
pub fn host_name(sandbox: &str) -> String {
    // FNV-1a: no more is needed than that two sandboxes of one node differ.
    let hash = sandbox.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{PREFIX}{:010x}", hash & 0xff_ffff_ffff)
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The host's end.
    pub host_name: String,
    /// MAC of the pod's end.
    pub pod_mac: [u8; 6],
}

/// Makes the link and sets both ends up. What a broken earlier call left is replaced.
///
/// # Errors
/// When the kernel refuses something; the caller then removes the link.
pub fn make(
    namespace: &Path,
    sandbox: &str,
    interface: &str,
    addresses: &[IpAddr],
    mtu: Option<u32>,
) -> io::Result<Made> {
    let host_end = host_name(sandbox);
    let pod = File::open(namespace)?;
    in_host(|handle| {
        let (host_end, descriptor) = (host_end.clone(), pod.as_raw_fd());
        async move {
            delete(&handle, &host_end).await?;
            // Each end is made where it belongs: the host may have an eth0, and its udev would look at the pod's.
            let mut peer = LinkUnspec::new_with_name(interface).setns_by_fd(descriptor);
            let mut veth = LinkVeth::new(&host_end, interface).address(HOST_MAC.to_vec());
            if let Some(mtu) = mtu {
                (peer, veth) = (peer.mtu(mtu), veth.mtu(mtu));
            }
            let veth = veth.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
            handle.link().add(veth.build()).execute().await.map_err(io::Error::other)?;
            tune(&host_end);
            set_up(&handle, &host_end).await.map(drop)
        }
    })?;
    let pod_mac = in_namespace(pod, |handle| {
        let (interface, addresses) = (interface.to_owned(), addresses.to_owned());
        async move { set_up_pod(&handle, &interface, &addresses).await }
    })?;
    in_host(|handle| {
        let (host_end, addresses) = (host_end.clone(), addresses.to_owned());
        async move {
            let index = find(&handle, &host_end).await?.header.index;
            for address in addresses {
                // Nobody has to ask who has the pod's address: there is only one.
                handle
                    .neighbours()
                    .add(index, address)
                    .link_layer_address(&pod_mac)
                    .state(NeighbourState::Permanent)
                    .replace()
                    .execute()
                    .await
                    .map_err(io::Error::other)?;
                let route = RouteMessageBuilder::<IpAddr>::new()
                    .destination_prefix(address, length(&address))
                    .map_err(io::Error::other)?
                    .output_interface(index)
                    .scope(RouteScope::Link)
                    .build();
                handle.route().add(route).replace().execute().await.map_err(io::Error::other)?;
            }
            Ok(())
        }
    })?;
    Ok(Made { host_name: host_end, pod_mac })
}

/// Length of the prefix that is one address.
pub(crate) fn length(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Kernel settings of a host end, before it is up. A machine on which they cannot be set (read-only /proc/sys) still has
/// a working network, only without what they are for.
fn tune(host_end: &str) {
    let settings = [
        // A pod can send from its own address only.
        ("ipv4", "rp_filter", "1"),
        // A port of the host on 127.0.0.1 that leads to the pod; see `host::rules` for what closes the other way.
        ("ipv4", "route_localnet", "1"),
        // A pod that reaches itself through a Service goes out where it came in: no reason to redirect it.
        ("ipv4", "send_redirects", "0"),
        ("ipv4", "accept_redirects", "0"),
        // A pod is no router of the host.
        ("ipv6", "accept_ra", "0"),
        ("ipv6", "accept_redirects", "0"),
        // All host ends have the same link-local address, each on a link of its own.
        ("ipv6", "accept_dad", "0"),
    ];
    for (family, name, value) in settings {
        let _ = std::fs::write(format!("/proc/sys/net/{family}/conf/{host_end}/{name}"), value);
    }
}

/// Sets `lo` of a namespace up.
///
/// # Errors
/// When the namespace cannot be entered or the kernel refuses.
pub fn loopback_up(namespace: &Path) -> io::Result<()> {
    in_namespace(File::open(namespace)?, |handle| async move { set_up(&handle, "lo").await.map(drop) })
}

/// Sets a link up and answers its index.
async fn set_up(handle: &Handle, name: &str) -> io::Result<u32> {
    let index = find(handle, name).await?.header.index;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(io::Error::other)?;
    Ok(index)
}

async fn set_up_pod(handle: &Handle, interface: &str, addresses: &[IpAddr]) -> io::Result<[u8; 6]> {
    set_up(handle, "lo").await?;
    let link = find(handle, interface).await?;
    let index = link.header.index;
    let set = |family: &str, name: &str, setting: &str, value: &str| {
        let _ = std::fs::write(format!("/proc/sys/net/{family}/conf/{name}/{setting}"), value);
    };
    if addresses.iter().any(IpAddr::is_ipv6) {
        // Some runtimes switch IPv6 off. Nobody else is on the link: nobody has to be asked whether an address is free,
        // and nobody there is a router.
        for (setting, value) in
            [("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0"), ("accept_redirects", "0")]
        {
            set("ipv6", interface, setting, value);
        }
    }
    for address in addresses {
        add_address(handle, index, *address).await?;
    }
    set_up(handle, interface).await?;
    // The kernel of the host would send them to a pod that reaches itself through a Service.
    for name in ["all", interface] {
        set("ipv4", name, "accept_redirects", "0");
    }
    for address in addresses {
        let gateway = match address {
            IpAddr::V4(_) => IpAddr::V4(GATEWAY),
            IpAddr::V6(_) => IpAddr::V6(GATEWAY_V6),
        };
        add_gateway(handle, index, gateway).await?;
    }
    mac(&link).ok_or_else(|| io::Error::other("the link has no MAC"))
}

/// Gives a link an address that can be used at once; one that is there already stays.
pub(crate) async fn add_address(handle: &Handle, index: u32, address: IpAddr) -> io::Result<()> {
    let mut request = handle.address().add(index, address, length(&address)).replace();
    if address.is_ipv6() {
        request.message_mut().header.flags.insert(AddressHeaderFlags::Nodad);
    }
    request.execute().await.map_err(io::Error::other)
}

/// Makes the host's end the way to everywhere.
async fn add_gateway(handle: &Handle, index: u32, gateway: IpAddr) -> io::Result<()> {
    let everywhere: IpAddr = match gateway {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = |destination: IpAddr, length: u8| {
        let builder = RouteMessageBuilder::<IpAddr>::new().output_interface(index);
        builder.destination_prefix(destination, length).map_err(io::Error::other)
    };
    let near = route(gateway, length(&gateway))?.scope(RouteScope::Link).build();
    handle.route().add(near).execute().await.map_err(io::Error::other)?;
    let default = route(everywhere, 0)?.gateway(gateway).map_err(io::Error::other)?.build();
    handle.route().add(default).execute().await.map_err(io::Error::other)?;
    handle
        .neighbours()
        .add(index, gateway)
        .link_layer_address(&HOST_MAC)
        .state(NeighbourState::Permanent)
        .replace()
        .execute()
        .await
        .map_err(io::Error::other)
}

/// Whether the link is there with its addresses.
///
/// # Errors
/// What is missing.
pub fn check(namespace: &Path, sandbox: &str, interface: &str, addresses: &[IpAddr]) -> io::Result<()> {
    let host_end = host_name(sandbox);
    in_host(|handle| async move { find(&handle, &host_end).await.map(drop) })?;
    let (interface, wanted) = (interface.to_owned(), addresses.to_owned());
    in_namespace(File::open(namespace)?, |handle| async move {
        let index = find(&handle, &interface).await?.header.index;
        for address in wanted {
            let mut found =
                handle.address().get().set_link_index_filter(index).set_address_filter(address).execute();
            if found.try_next().await.map_err(io::Error::other)?.is_none() {
                return Err(io::Error::other(format!("{interface} does not have {address}")));
            }
        }
        Ok(())
    })
}

/// Removes a sandbox's link, if it is there; the pod's end and the routes go with it.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(sandbox: &str) -> io::Result<()> {
    let host_end = host_name(sandbox);
    in_host(|handle| async move { delete(&handle, &host_end).await })
}

/// Removes all host ends.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_all() -> io::Result<()> {
    in_host(|handle| async move {
        let mut links = handle.link().get().execute();
        let mut ours = Vec::new();
        while let Some(link) = links.try_next().await.map_err(io::Error::other)? {
            if name(&link).is_some_and(is_host_end) {
                ours.push(link.header.index);
            }
        }
        for index in ours {
            handle.link().del(index).execute().await.map_err(io::Error::other)?;
        }
        Ok(())
    })
}

/// Whether a link is the host's end of a pod's. Exactly the form of [`host_name`]: a person may have a link called
/// knarr-something.
pub(crate) fn is_host_end(name: &str) -> bool {
    name.len() == PREFIX.len() + 10 && name.starts_with(PREFIX)
}

pub(crate) fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

pub(crate) fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

pub(crate) async fn find(handle: &Handle, name: &str) -> io::Result<LinkMessage> {
    let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    found
        .ok()
        .flatten()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no link {name}")))
}

pub(crate) async fn delete(handle: &Handle, name: &str) -> io::Result<()> {
    match find(handle, name).await {
        Ok(link) => handle.link().del(link.header.index).execute().await.map_err(io::Error::other),
        Err(_) => Ok(()),
    }
}

pub(crate) fn mac(link: &LinkMessage) -> Option<[u8; 6]> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

/// Runs netlink requests in this namespace. On a thread of its own: the caller may be on one that drives tasks.
pub(crate) fn in_host<T, W>(work: impl FnOnce(Handle) -> W + Send) -> io::Result<T>
where
    T: Send,
    W: Future<Output = io::Result<T>>,
{
    on_thread(|| request(work))
}

/// Runs netlink requests in another namespace, on a thread that ends there.
fn in_namespace<T, W>(namespace: File, work: impl FnOnce(Handle) -> W + Send) -> io::Result<T>
where
    T: Send,
    W: Future<Output = io::Result<T>>,
{
    on_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        request(work)
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread for netlink ended")))
    })
}

/// Runs netlink requests in the namespace of this thread.
fn request<T, W: Future<Output = io::Result<T>>>(work: impl FnOnce(Handle) -> W) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let outcome = work(handle).await;
        connection.abort();
        outcome
    })
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
