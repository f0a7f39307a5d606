//! Addresses on a real wire, with a neighbour in another network namespace. Needs root.

use super::*;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};
use std::fs::File;
use std::net::UdpSocket;

const NEIGHBOUR_KNOWS: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// This thread's node, and its neighbour on a wire between two new namespaces.
struct Wire {
    node: Handle,
    neighbour: Handle,
    /// A socket of the neighbour.
    socket: UdpSocket,
    own: Vec<u8>,
    /// The neighbour's interface.
    index: u32,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn all(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

/// A new network namespace for this thread, with netlink.
fn namespace() -> Handle {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    handle
}

async fn link(handle: &Handle, name: &str) -> (u32, Vec<u8>) {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let link = found.try_next().await.unwrap().unwrap();
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => Some(mac.clone()),
        _ => None,
    });
    (link.header.index, mac.unwrap())
}

/// An interface that is up, with these addresses; they can be used at once.
async fn set_up(handle: &Handle, index: u32, addresses: &[&str]) {
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.unwrap();
    for address in addresses {
        let net: IpNet = address.parse().unwrap();
        let mut request = handle.address().add(index, net.addr(), net.prefix_len());
        request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        request.execute().await.unwrap();
    }
}

impl Wire {
    async fn new(ipv6: bool) -> Self {
        let neighbour = namespace();
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let other = File::open("/proc/thread-self/ns/net").unwrap();
        let node = namespace();
        if !ipv6 {
            std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        }
        node.link().add(LinkVeth::new("near", "far").build()).execute().await.unwrap();
        let (far, _) = link(&node, "far").await;
        let moved = LinkUnspec::new_with_index(far).setns_by_fd(other.as_raw_fd()).build();
        node.link().set(moved).execute().await.unwrap();
        let ((near, own), (index, _)) = (link(&node, "near").await, link(&neighbour, "far").await);
        set_up(&neighbour, index, &["10.9.0.2/24", "fd00:9::2/64"]).await;
        let addresses = ["10.9.0.1/24", "fd00:9::1/64", "fd00:9::77/128"];
        set_up(&node, near, if ipv6 { &addresses } else { &addresses[..1] }).await;
        Self { node, neighbour, socket, own, index }
    }

    /// The neighbour believes that a machine which has failed has these.
    async fn mislead(&self, addresses: &BTreeSet<IpAddr>) {
        for address in addresses {
            let add = self.neighbour.neighbours().add(self.index, *address);
            let add = add.link_layer_address(&NEIGHBOUR_KNOWS).state(NeighbourState::Stale);
            add.execute().await.unwrap();
        }
    }

    /// Whom the neighbour takes for somebody who has an address.
    async fn known(&self, address: IpAddr) -> Vec<u8> {
        let all: Vec<_> = self.neighbour.neighbours().get().execute().try_collect().await.unwrap();
        let wanted = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        let wanted = NeighbourAttribute::Destination(wanted);
        let entry = all.into_iter().find(|entry| entry.attributes.contains(&wanted)).unwrap();
        let mac = entry.attributes.into_iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(mac) => Some(mac),
            _ => None,
        });
        mac.unwrap()
    }

    async fn learns(&self, addresses: &BTreeSet<IpAddr>) {
        for address in addresses {
            testkit::eventually(&format!("the neighbour learns who has {address}"), || async {
                (self.known(*address).await == self.own).then_some(())
            })
            .await;
        }
    }

    /// The addresses of the node, but those that the kernel makes itself.
    async fn addresses(&self) -> BTreeMap<IpAddr, AddressMessage> {
        let all: Vec<AddressMessage> = self.node.address().get().execute().try_collect().await.unwrap();
        let named = all.into_iter().map(|message| (address_of(&message).unwrap(), message));
        named.filter(|(address, _)| !matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())).collect()
    }
}

/// Runs a test in a thread of its own, which has the namespaces.
fn apart(test: impl AsyncFnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap());
}

#[test]
fn neighbours_learn_who_has_an_address_now() {
    apart(async || {
        let wire = Wire::new(true).await;
        let wanted = all(&["10.9.0.10", "fd00:9::10"]);
        wire.mislead(&wanted).await;
        let kernel = Kernel::default();
        // Even if all may be given: what the node has of its own stays.
        let ours = |_: &IpAddr| true;
        let before = wire.addresses().await;
        kernel.hold(&wanted, &ours).await.unwrap();
        wire.learns(&wanted).await;
        for address in &wanted {
            let server = UdpSocket::bind((*address, 0)).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let to = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => *address,
            };
            wire.socket.send_to(b"hello", (to, server.local_addr().unwrap().port())).unwrap();
            assert_eq!(server.recv(&mut [0; 16]).unwrap(), 5);
        }
        // The node's own connections do not begin with it.
        let client = UdpSocket::bind("[::]:0").unwrap();
        client.connect("[fd00:9::2]:9").unwrap();
        assert!(!wanted.contains(&client.local_addr().unwrap().ip()));
        // What is held stays as it is.
        kernel.hold(&wanted, &ours).await.unwrap();
        assert!(wire.addresses().await.keys().eq(before.keys().chain(&wanted).collect::<BTreeSet<_>>()));
        kernel.hold(&BTreeSet::new(), &ours).await.unwrap();
        assert!(wire.addresses().await.keys().eq(before.keys()));
        assert!(kernel.telling.lock().is_empty());
    });
}

#[test]
fn an_address_is_usable_at_once_and_never_the_nodes_own_choice() {
    apart(async || {
        let wire = Wire::new(true).await;
        let wanted = all(&["fd00:9::10"]);
        Kernel::default().hold(&wanted, &|_| false).await.unwrap();
        let held = &wire.addresses().await[&ip("fd00:9::10")];
        assert_eq!(held.header.prefix_len, 128);
        let flags = held.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
        let flags = flags.unwrap();
        let expected = AddressFlags::Nodad
            | AddressFlags::Noprefixroute
            | AddressFlags::Deprecated
            | AddressFlags::Permanent;
        assert_eq!(flags, expected, "{flags:?}");
    });
}

#[test]
fn where_ipv6_is_off_ipv4_is_held() {
    apart(async || {
        let wire = Wire::new(false).await;
        let wanted = all(&["10.9.0.10", "fd00:9::10"]);
        let v4 = all(&["10.9.0.10"]);
        wire.mislead(&v4).await;
        let kernel = Kernel::default();
        kernel.hold(&wanted, &|_| true).await.unwrap();
        wire.learns(&v4).await;
        assert!(!wire.addresses().await.contains_key(&ip("fd00:9::10")));
    });
}

#[tokio::test(start_paused = true)]
async fn neighbours_are_told_a_few_times() {
    let start = tokio::time::Instant::now();
    let mut told = Vec::new();
    repeat(|| told.push(start.elapsed())).await;
    assert_eq!(told, [0, 1, 2].map(Duration::from_secs));
}

#[test]
fn interfaces_know_their_networks() {
    let all = interfaces().unwrap();
    let loopback = all.iter().find(|one| one.name == "lo").unwrap();
    assert!(loopback.networks.iter().any(|net| net.contains(&ip("127.0.0.1"))));
}
