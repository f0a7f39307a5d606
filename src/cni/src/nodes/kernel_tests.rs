//! Three nodes and a router, each a network namespace. Needs root.

use super::*;
use nix::sched::{CloneFlags, unshare};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// More than one packet of any size.
const BULK: usize = 300_000;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it. Ends with this.
struct Namespace {
    jobs: Sender<Job>,
    path: String,
}

impl Namespace {
    fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid())).unwrap();
            for job in todo {
                job();
            }
        });
        let namespace = Self { jobs, path: told.recv().unwrap() };
        namespace.ip("link set lo up");
        namespace
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        self.jobs.send(Box::new(move || tell.send(work()).unwrap())).unwrap();
        told.recv().unwrap()
    }

    /// Runs `ip` and answers what it printed.
    fn ip(&self, arguments: &str) -> String {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        self.run(move || {
            let output = Command::new("ip").args(&arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Connects its eth0 with a link of the router.
    fn plug(&self, router: &Self, name: &str, address: &str, gateway: &str) {
        router.ip(&format!("link add {name} type veth peer name eth0 netns {}", self.path));
        router.ip(&format!("link set {name} up"));
        self.ip(&format!("addr add {address} dev eth0{}", no_dad(address)));
        self.ip("link set eth0 up");
        self.ip(&format!("route add default via {gateway}"));
        self.run(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
    }

    fn follow(&self, members: &[Member], own: &'static str) -> usize {
        let members = members.to_owned();
        let services = ["10.152.183.0/24".parse().unwrap(), "fd00:10:152::/112".parse().unwrap()];
        self.run(move || follow(&members, own, &services).unwrap())
    }

    /// Whether bulk data gets from an address here to one there.
    fn reaches(&self, from: &str, other: &Self, to: &str) -> bool {
        let to: IpAddr = to.parse().unwrap();
        let from: IpAddr = from.parse().unwrap();
        let listener = other.run(move || TcpListener::bind((to, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || -> io::Result<SocketAddr> {
            listener.set_nonblocking(true)?;
            let start = std::time::Instant::now();
            let (mut stream, peer) = loop {
                match listener.accept() {
                    Ok(accepted) => break accepted,
                    Err(_) if start.elapsed() < Duration::from_secs(5) => std::thread::yield_now(),
                    Err(error) => return Err(error),
                }
            };
            stream.set_nonblocking(false)?;
            stream.write_all(&vec![7; BULK])?;
            Ok(peer)
        });
        let read = self.run(move || -> io::Result<usize> {
            let socket = nix::sys::socket::socket(
                if from.is_ipv4() {
                    nix::sys::socket::AddressFamily::Inet
                } else {
                    nix::sys::socket::AddressFamily::Inet6
                },
                nix::sys::socket::SockType::Stream,
                nix::sys::socket::SockFlag::empty(),
                None,
            )?;
            use std::os::fd::AsRawFd as _;
            nix::sys::socket::setsockopt(
                &socket,
                nix::sys::socket::sockopt::SendTimeout,
                &nix::sys::time::TimeVal::new(3, 0),
            )?;
            let bound = nix::sys::socket::SockaddrStorage::from(SocketAddr::new(from, 0));
            nix::sys::socket::bind(socket.as_raw_fd(), &bound)?;
            let peer = nix::sys::socket::SockaddrStorage::from(SocketAddr::new(to, port));
            nix::sys::socket::connect(socket.as_raw_fd(), &peer)?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut data = Vec::new();
            stream.read_to_end(&mut data)
        });
        let peer = served.join().unwrap();
        if let (Ok(read), Ok(peer)) = (&read, &peer) {
            assert_eq!((*read, peer.ip()), (BULK, from), "nothing is masqueraded");
        }
        read.is_ok() && peer.is_ok()
    }
}

/// Nobody has to make sure that an address is nobody else's, which takes a second.
fn no_dad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}

fn member(name: &str, address: &str, range: &str) -> Member {
    let address = address.parse().unwrap();
    let address_v6 = match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    };
    Member { name: name.to_owned(), address, address_v6, pod_cidrs: vec![range.parse().unwrap()] }
}

struct Cluster {
    router: Namespace,
    a: Namespace,
    b: Namespace,
    c: Namespace,
    members: Vec<Member>,
}

/// a and b are on one subnet, c on another; the router between knows nothing of pods.
fn cluster() -> Option<Cluster> {
    cluster_of(["192.168.7.", "192.168.8."], 24)
}

/// The same with what addresses of the subnets begin with, and the length of their prefixes.
fn cluster_of([near, far]: [&str; 2], length: u8) -> Option<Cluster> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    let [router, a, b, c] = [(); 4].map(|()| Namespace::new());
    router.ip("link add br0 type bridge");
    router.ip(&format!("addr add {near}1/{length} dev br0{}", no_dad(near)));
    router.ip("link set br0 up");
    for (node, name, host) in [(&a, "a0", 2), (&b, "b0", 3)] {
        router.ip("link set br0 up");
        // The way out is there as soon as the link is in the bridge.
        node.plug(&router, name, &format!("{near}{host}/{length}"), &format!("{near}1"));
        router.ip(&format!("link set {name} master br0"));
    }
    c.plug(&router, "c0", &format!("{far}2/{length}"), &format!("{far}1"));
    router.ip(&format!("addr add {far}1/{length} dev c0{}", no_dad(far)));
    router.run(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    });
    // A pod of each.
    for (node, pod) in [(&a, "10.1.0.5"), (&b, "10.1.1.5"), (&c, "10.1.2.5")] {
        node.ip(&format!("addr add {pod}/32 dev lo"));
    }
    let members = vec![
        member("a", &format!("{near}2"), "10.1.0.0/24"),
        member("b", &format!("{near}3"), "10.1.1.0/24"),
        member("c", &format!("{far}2"), "10.1.2.0/24"),
    ];
    Some(Cluster { router, a, b, c, members })
}

impl Cluster {
    fn follow(&self) -> [usize; 3] {
        let (a, b, c) = (&self.a, &self.b, &self.c);
        [a.follow(&self.members, "a"), b.follow(&self.members, "b"), c.follow(&self.members, "c")]
    }
}

#[test]
fn pods_reach_each_other_directly_and_through_the_tunnel() {
    let Some(cluster) = cluster() else { return };
    let Cluster { a, b, c, .. } = &cluster;
    assert!(!a.reaches("10.1.0.5", b, "10.1.1.5"));
    cluster.follow();
    assert!(a.reaches("10.1.0.5", b, "10.1.1.5"));
    assert!(b.reaches("10.1.1.5", a, "10.1.0.5"));
    assert!(a.reaches("10.1.0.5", c, "10.1.2.5"));
    assert!(c.reaches("10.1.2.5", b, "10.1.1.5"));
    // A node itself reaches pods elsewhere with the address of its end.
    assert!(a.reaches("10.1.0.0", c, "10.1.2.5"));
    assert!(a.ip("-d link show knarr-vxlan").contains("mtu 1450"));
    assert!(a.ip("route").contains("unreachable 10.1.0.0/24"));
}

#[test]
fn pods_reach_each_other_where_nodes_have_ipv6_addresses_only() {
    let Some(mut cluster) = cluster_of(["fd00:7::", "fd00:8::"], 64) else { return };
    assert_eq!(cluster.follow(), [7, 7, 9]);
    assert_eq!(cluster.follow(), [0; 3], "another process that starts finds all as it should be");
    let Cluster { a, b, c, .. } = &cluster;
    assert!(a.reaches("10.1.0.5", b, "10.1.1.5"));
    assert!(a.reaches("10.1.0.5", c, "10.1.2.5"));
    assert!(c.reaches("10.1.2.5", b, "10.1.1.5"));
    // Nodes themselves have addresses that pods can answer.
    assert!(b.reaches("10.1.1.0", c, "10.1.2.5"));
    assert!(c.ip("route get 10.1.1.5").contains("src 10.1.2.0"));
    assert!(a.ip("route get 10.1.1.5").contains("via inet6 fd00:7::3 dev eth0 src 10.1.0.0"));
    assert!(a.ip("route get 10.152.183.10").contains("dev knarr-vxlan src 10.1.0.0"));
    assert!(a.ip("-d link show knarr-vxlan").contains("mtu 1430"));
    // c moves: its tunnel comes from the new address, that of the others leads there.
    c.ip("addr del fd00:8::2/64 dev eth0");
    c.ip("addr add fd00:8::9/64 dev eth0 nodad");
    c.ip("route replace default via fd00:8::1");
    cluster.members[2].address = "fd00:8::9".parse().unwrap();
    assert_eq!(cluster.follow(), [1, 1, 8]);
    assert_eq!(cluster.follow(), [0; 3]);
    assert!(cluster.a.reaches("10.1.0.5", &cluster.c, "10.1.2.5"));
    cluster.a.run(|| remove().unwrap());
    assert!(!cluster.a.ip("route").contains("10.") && !cluster.a.ip("link").contains("knarr-vxlan"));
}

impl Cluster {
    /// Gives nodes' pods addresses of IPv6, too.
    fn with_pods_of_both(&mut self) {
        for (n, node) in [&self.a, &self.b, &self.c].into_iter().enumerate() {
            node.ip(&format!("addr add fd00:10:1:{n}::5/128 dev lo nodad"));
            self.members[n].pod_cidrs.push(format!("fd00:10:1:{n}::/64").parse().unwrap());
        }
    }
}

#[test]
fn pods_of_both_families_reach_each_other_between_nodes_of_ipv4() {
    let Some(mut cluster) = cluster() else { return };
    cluster.follow();
    cluster.with_pods_of_both();
    cluster.follow();
    assert_eq!(cluster.follow(), [0; 3], "another process that starts finds all as it should be");
    let Cluster { a, b, c, .. } = &cluster;
    for (node, from) in [(a, "fd00:10:1::5"), (a, "fd00:10:1::")] {
        assert!(node.reaches(from, b, "fd00:10:1:1::5"));
        assert!(node.reaches(from, c, "fd00:10:1:2::5"));
    }
    assert!(b.reaches("fd00:10:1:1::5", a, "fd00:10:1::5"));
    assert!(a.reaches("10.1.0.5", b, "10.1.1.5") && c.reaches("10.1.2.5", a, "10.1.0.5"));
    assert!(a.ip("route get 10.1.1.5").contains("via 192.168.7.3 dev eth0"), "IPv4 goes as it did");
    assert!(a.ip("-6 route get fd00:10:152::a").contains("dev knarr-vxlan"));
    assert!(a.ip("-6 route get fd00:10:1:1::5").contains("src fd00:10:1::"));
    // What others break is mended.
    a.ip("-6 route del fd00:10:1:1::/64");
    a.ip("-6 route del unreachable fd00:10:1::/64");
    a.ip("-6 neigh del fe80::4b:aff:fe01:200 dev knarr-vxlan");
    assert_eq!(cluster.follow(), [3, 0, 0]);
    // The address of another range goes with the device that had it.
    cluster.members[0].pod_cidrs[1] = "fd00:10:1:9::/64".parse().unwrap();
    cluster.follow();
    assert!(!cluster.a.ip("-6 addr").contains("fd00:10:1::/128"));
    assert_eq!(cluster.follow(), [0; 3]);
    cluster.a.run(|| remove().unwrap());
    let routes = cluster.a.ip("-6 route");
    assert!(!routes.contains("proto 75"), "{routes}");
}

#[test]
fn nodes_with_addresses_of_both_families_reach_pods_of_ipv6_directly() {
    let Some(mut cluster) = cluster() else { return };
    cluster.with_pods_of_both();
    for (n, node) in [&cluster.a, &cluster.b].into_iter().enumerate() {
        let address = format!("fd00:7::{}", n + 2);
        node.ip(&format!("addr add {address}/64 dev eth0 nodad"));
        cluster.members[n].address_v6 = Some(address.parse().unwrap());
    }
    cluster.follow();
    assert_eq!(cluster.follow(), [0; 3]);
    let Cluster { a, b, c, .. } = &cluster;
    assert!(a.ip("-6 route get fd00:10:1:1::5").contains("via fd00:7::3 dev eth0"));
    assert!(a.reaches("fd00:10:1::5", b, "fd00:10:1:1::5") && a.reaches("fd00:7::2", b, "fd00:10:1:1::5"));
    assert!(
        a.reaches("fd00:10:1::5", c, "fd00:10:1:2::5") && c.reaches("fd00:10:1:2::5", b, "fd00:10:1:1::5")
    );
    // Without it the neighbour is reached through the tunnel, and back.
    cluster.members[1].address_v6 = None;
    cluster.follow();
    let Cluster { a, b, .. } = &cluster;
    assert!(a.ip("-6 route get fd00:10:1:1::5").contains("dev knarr-vxlan"));
    assert!(a.reaches("fd00:10:1::5", b, "fd00:10:1:1::5"));
}

#[test]
fn pods_of_ipv6_alone_reach_each_other() {
    let Some(mut cluster) = cluster_of(["fd00:7::", "fd00:8::"], 64) else { return };
    cluster.with_pods_of_both();
    for member in &mut cluster.members {
        member.pod_cidrs.remove(0);
    }
    assert_eq!(cluster.follow(), [6, 6, 8]);
    assert_eq!(cluster.follow(), [0; 3]);
    let Cluster { a, b, c, .. } = &cluster;
    assert!(a.reaches("fd00:10:1::5", b, "fd00:10:1:1::5") && a.reaches("fd00:10:1::5", c, "fd00:10:1:2::5"));
    assert!(!a.ip("route").contains("10.1."));
}

#[test]
fn only_differences_are_applied_and_what_is_not_ours_stays() {
    let Some(mut cluster) = cluster() else { return };
    cluster.a.ip("route add 10.9.0.0/16 via 192.168.7.3");
    assert_eq!(cluster.follow(), [6, 6, 8]);
    assert_eq!(cluster.follow(), [0; 3], "another process that starts finds all as it should be");
    // What others break is mended.
    cluster.a.ip("route del 10.1.1.0/24");
    cluster.a.ip("link del knarr-vxlan");
    assert_eq!(cluster.follow(), [5, 0, 0]);
    cluster.a.ip("link set knarr-vxlan mtu 1300");
    assert_eq!(cluster.follow(), [1, 0, 0]);
    // A node leaves, and with it all that only it needed.
    let c = cluster.members.pop().unwrap();
    assert_eq!(cluster.a.follow(&cluster.members, "a"), 2);
    let routes = cluster.a.ip("route");
    assert!(!routes.contains("10.1.2.0") && routes.contains("10.9.0.0/16 via 192.168.7.3"), "{routes}");
    assert!(!cluster.a.ip("link").contains("knarr-vxlan"));
    // It comes back with another range.
    cluster.members.push(Member { pod_cidrs: vec!["10.1.7.0/24".parse().unwrap()], ..c });
    cluster.follow();
    cluster.c.ip("addr add 10.1.7.5/32 dev lo");
    assert!(cluster.a.reaches("10.1.0.5", &cluster.c, "10.1.7.5"));
    cluster.a.run(|| remove().unwrap());
    let routes = cluster.a.ip("route");
    assert!(!routes.contains("10.1.") && routes.contains("10.9.0.0/16"), "{routes}");
}

#[test]
fn a_node_s_new_address_is_followed() {
    let Some(mut cluster) = cluster() else { return };
    cluster.follow();
    // To another address; the default route goes with the old one.
    let Cluster { a, c, .. } = &cluster;
    c.ip("addr del 192.168.8.2/24 dev eth0");
    c.ip("addr add 192.168.8.9/24 dev eth0");
    c.ip("route replace default via 192.168.8.1");
    assert!(!a.reaches("10.1.0.5", c, "10.1.2.5"));
    cluster.members[2].address = "192.168.8.9".parse().unwrap();
    assert_eq!(cluster.follow(), [1, 1, 0]);
    assert!(cluster.a.reaches("10.1.0.5", &cluster.c, "10.1.2.5"));
    // To the subnet of the others: no tunnel any more.
    cluster.router.ip("addr del 192.168.8.1/24 dev c0");
    cluster.router.ip("link set c0 master br0");
    cluster.c.ip("addr del 192.168.8.9/24 dev eth0");
    cluster.c.ip("addr add 192.168.7.4/24 dev eth0");
    cluster.members[2].address = "192.168.7.4".parse().unwrap();
    cluster.follow();
    assert!(cluster.a.reaches("10.1.0.5", &cluster.c, "10.1.2.5"));
    assert!(!cluster.c.ip("link").contains("knarr-vxlan"));
}

#[test]
fn changes_of_links_and_addresses_are_told_but_not_those_of_pods() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let namespace = Namespace::new();
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut changes = changes().unwrap();
            let ip = |arguments: &str| {
                let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
                assert!(status.success());
            };
            let (one, other) = (link::host_name("x"), link::host_name("y"));
            ip(&format!("link add {one} type veth peer name {other}"));
            let quiet = tokio::time::timeout(Duration::from_millis(200), changes.next());
            assert!(quiet.await.is_err());
            ip("addr add 192.168.7.2/24 dev lo");
            let told = tokio::time::timeout(Duration::from_secs(10), changes.next());
            assert_eq!(told.await.unwrap(), Some(()));
        });
    });
}
