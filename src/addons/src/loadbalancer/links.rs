//! Addresses on this machine's interfaces: the kernel answers for them (ARP, NDP), and neighbours are told when one comes.

use super::announcement;
use async_trait::async_trait;
use futures::TryStreamExt;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{self, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType};
use parking_lot::Mutex;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::task::AbortHandle;

/// How often neighbours are told, and the time between: a frame may be lost (RFC 4861, 7.2.6 and 10; RFC 5227 is content
/// with less).
const ANNOUNCEMENTS: usize = 3;
const BETWEEN: Duration = Duration::from_secs(1);

/// Somebody who can hold addresses.
#[async_trait]
pub trait Links: Send + Sync + 'static {
    /// Holds exactly these of the addresses that `ours` says are balanced ones.
    async fn hold(
        &self,
        wanted: &BTreeSet<IpAddr>,
        ours: &(dyn for<'a> Fn(&'a IpAddr) -> bool + Send + Sync),
    ) -> io::Result<()>;
}

/// The kernel's interfaces.
#[derive(Debug, Default)]
pub struct Kernel {
    /// Who tells of the addresses that are held.
    telling: Mutex<BTreeMap<IpAddr, AbortHandle>>,
}

/// An interface as far as it matters here.
struct Interface {
    name: String,
    link: LinkAddr,
    networks: Vec<IpNet>,
}

#[async_trait]
impl Links for Kernel {
    async fn hold(
        &self,
        wanted: &BTreeSet<IpAddr>,
        ours: &(dyn for<'a> Fn(&'a IpAddr) -> bool + Send + Sync),
    ) -> io::Result<()> {
        self.tell_only(wanted);
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let driving = tokio::spawn(connection);
        let held: Vec<AddressMessage> =
            handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
        let mut there = BTreeSet::new();
        let mut result = Ok(());
        for message in held {
            let Some(address) = address_of(&message) else { continue };
            if wanted.contains(&address) {
                there.insert(address);
            } else if is_balanced(&message, address) && ours(&address) {
                match handle.address().del(message).execute().await {
                    Ok(()) => tracing::info!(%address, "given up"),
                    Err(error) => result = Err(io::Error::other(error)),
                }
            }
        }
        let interfaces = interfaces()?;
        for address in wanted.difference(&there) {
            let near = |one: &&Interface| one.networks.iter().any(|net| net.contains(address));
            let Some(interface) = interfaces.iter().find(near) else {
                tracing::warn!(%address, "no interface of this node has a network with it: nobody will find it");
                continue;
            };
            match add(&handle, interface, *address).await {
                Ok(()) => {
                    tracing::info!(%address, interface = interface.name, "held");
                    self.tell(*address, interface.link);
                }
                // Others may be had all the same.
                Err(error) => result = Err(error),
            }
        }
        driving.abort();
        result
    }
}

impl Kernel {
    /// Tells the neighbours on a link whose an address is now.
    fn tell(&self, address: IpAddr, link: LinkAddr) {
        let Some(own) = link.addr() else { return };
        let frame = announcement::frame(own, address);
        let task = tokio::spawn(repeat(move || {
            if let Err(error) = send(&frame, &link) {
                tracing::warn!(%address, "neighbours are not told: {error}");
            }
        }));
        let before = self.telling.lock().insert(address, task.abort_handle());
        before.iter().for_each(AbortHandle::abort);
    }

    /// Tells nobody any more of addresses that others have now.
    fn tell_only(&self, wanted: &BTreeSet<IpAddr>) {
        self.telling.lock().retain(|address, task| {
            let stays = wanted.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
    }
}

async fn repeat(mut announce: impl FnMut()) {
    announce();
    for _ in 1..ANNOUNCEMENTS {
        tokio::time::sleep(BETWEEN).await;
        announce();
    }
}

/// Sends a frame as it is.
fn send(frame: &[u8], link: &LinkAddr) -> io::Result<()> {
    // Open only while it sends: it would get a copy of every packet.
    let socket =
        socket::socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    socket::sendto(socket.as_raw_fd(), frame, link, MsgFlags::empty())?;
    Ok(())
}

/// Puts an address on an interface. An IPv6 one is used at once, without asking whether somebody has it: the node that
/// failed may answer still. No connection of the node's own begins with it, and no route comes with it.
async fn add(handle: &rtnetlink::Handle, interface: &Interface, address: IpAddr) -> io::Result<()> {
    let index = u32::try_from(interface.link.ifindex()).map_err(io::Error::other)?;
    let mut request = handle.address().add(index, address, whole(address));
    if address.is_ipv6() {
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = u32::MAX;
        lifetime.ifa_preferred = 0;
        request.message_mut().attributes.extend([
            AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
            AddressAttribute::CacheInfo(lifetime),
        ]);
    }
    request.execute().await.map_err(io::Error::other)
}

/// Whether an address is as [`add`] makes them. Others may be the node's own: DHCPv6 gives addresses without a network.
fn is_balanced(message: &AddressMessage, address: IpAddr) -> bool {
    let made = AddressFlags::Deprecated | AddressFlags::Permanent;
    let has =
        |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Flags(f) if f.contains(made));
    message.header.prefix_len == whole(address) && (address.is_ipv4() || message.attributes.iter().any(has))
}

/// The length of a prefix that is a whole address.
fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// What an interface has; of IPv6 the kernel says it only apart when it is not the peer's.
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn interfaces() -> io::Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    let mut networks = Vec::new();
    for one in getifaddrs()? {
        let (Some(address), mask) = (one.address, one.netmask) else { continue };
        if let Some(link) = address.as_link_addr() {
            all.push(Interface { name: one.interface_name, link: *link, networks: Vec::new() });
            continue;
        }
        let net = mask.and_then(|mask| {
            let v4 = address.as_sockaddr_in().zip(mask.as_sockaddr_in());
            let v6 = address.as_sockaddr_in6().zip(mask.as_sockaddr_in6());
            let v4 = v4.and_then(|(own, mask)| Ipv4Net::with_netmask(own.ip(), mask.ip()).ok());
            let v6 = v6.and_then(|(own, mask)| Ipv6Net::with_netmask(own.ip(), mask.ip()).ok());
            v4.map(IpNet::V4).or(v6.map(IpNet::V6))
        });
        if let Some(net) = net.filter(|net| net.prefix_len() < net.max_prefix_len()) {
            networks.push((one.interface_name, net));
        }
    }
    for (name, net) in networks {
        all.iter_mut().filter(|one| one.name == name).for_each(|one| one.networks.push(net));
    }
    Ok(all)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
