//! Addresses on this machine's interfaces: the kernel answers for them (ARP), and neighbours are told when one comes.

use async_trait::async_trait;
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{self, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

/// How often neighbours are told: one frame may be lost.
const ANNOUNCEMENTS: usize = 3;

/// Somebody who can hold addresses.
#[async_trait]
pub trait Links: Send + Sync + 'static {
    /// Holds exactly these of the addresses that `ours` says are balanced ones.
    async fn hold(
        &self,
        wanted: &BTreeSet<Ipv4Addr>,
        ours: &(dyn for<'a> Fn(&'a Ipv4Addr) -> bool + Send + Sync),
    ) -> io::Result<()>;
}

/// The kernel's interfaces.
pub struct Kernel;

/// An interface as far as it matters here.
struct Interface {
    name: String,
    link: LinkAddr,
    networks: Vec<Ipv4Net>,
}

#[async_trait]
impl Links for Kernel {
    async fn hold(
        &self,
        wanted: &BTreeSet<Ipv4Addr>,
        ours: &(dyn for<'a> Fn(&'a Ipv4Addr) -> bool + Send + Sync),
    ) -> io::Result<()> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let driving = tokio::spawn(connection);
        let held: Vec<AddressMessage> =
            handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
        let mut there = BTreeSet::new();
        for message in held {
            let Some(address) = address_of(&message).filter(|_| message.header.prefix_len == 32) else {
                continue;
            };
            if wanted.contains(&address) {
                there.insert(address);
            } else if ours(&address) {
                handle.address().del(message).execute().await.map_err(io::Error::other)?;
                tracing::info!(%address, "given up");
            }
        }
        let interfaces = interfaces()?;
        for address in wanted.difference(&there) {
            let near = |one: &&Interface| one.networks.iter().any(|net| net.contains(address));
            let Some(interface) = interfaces.iter().find(near) else {
                tracing::warn!(%address, "no interface of this node has a network with it: nobody will find it");
                continue;
            };
            let index = u32::try_from(interface.link.ifindex()).map_err(io::Error::other)?;
            handle
                .address()
                .add(index, IpAddr::V4(*address), 32)
                .execute()
                .await
                .map_err(io::Error::other)?;
            announce(interface, *address)?;
            tracing::info!(%address, interface = interface.name, "held");
        }
        driving.abort();
        Ok(())
    }
}

fn address_of(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })
}

fn interfaces() -> io::Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    let mut networks = Vec::new();
    for one in getifaddrs()? {
        let Some(address) = one.address else { continue };
        if let Some(link) = address.as_link_addr() {
            all.push(Interface { name: one.interface_name, link: *link, networks: Vec::new() });
        } else if let (Some(address), Some(mask)) =
            (address.as_sockaddr_in(), one.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in().copied()))
            && let Ok(net) = Ipv4Net::with_netmask(address.ip(), mask.ip())
            && net.prefix_len() < 32
        {
            networks.push((one.interface_name, net));
        }
    }
    for (name, net) in networks {
        all.iter_mut().filter(|one| one.name == name).for_each(|one| one.networks.push(net));
    }
    Ok(all)
}

/// Tells everybody on an interface's wire whose the address is now.
fn announce(interface: &Interface, address: Ipv4Addr) -> io::Result<()> {
    let Some(own) = interface.link.addr() else { return Ok(()) };
    let frame = gratuitous(own, address);
    // Open only while it sends: it would get a copy of every packet.
    let socket =
        socket::socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    for _ in 0..ANNOUNCEMENTS {
        socket::sendto(socket.as_raw_fd(), &frame, &interface.link, MsgFlags::empty())?;
    }
    Ok(())
}

/// An Ethernet frame with an ARP request for one's own address (RFC 5227, 2.3).
fn gratuitous(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend([0xff; 6]);
    frame.extend(own);
    // ARP; Ethernet and IPv4, addresses of 6 and 4 bytes; a request.
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(own);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_asks_for_its_own_address() {
        let frame = gratuitous([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[12..14], [8, 6]);
        assert_eq!(frame[28..32], [10, 0, 0, 9]);
        assert_eq!(frame[38..], [10, 0, 0, 9]);
    }

    #[test]
    fn interfaces_know_their_networks() {
        let all = interfaces().unwrap();
        let loopback = all.iter().find(|one| one.name == "lo").unwrap();
        assert!(loopback.networks.iter().any(|net| net.contains(&Ipv4Addr::LOCALHOST)));
    }
}
