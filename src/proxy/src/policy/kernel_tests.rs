//! Policies in a real kernel: a node that forwards between two pods and somebody outside, each a network namespace.
//! They need root, `nft` and `ip`; without root they pass unseen.

use super::tests::World;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Longer than a packet takes here, short enough for tests of what is dropped.
const PATIENCE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it.
struct Namespace {
    jobs: Sender<Job>,
    path: String,
}

impl Namespace {
    fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            // Or links have no address to ask for neighbours from for their first two seconds.
            std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
            tell.send(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid())).unwrap();
            todo.into_iter().for_each(|job| job());
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

    fn ip(&self, arguments: &str) {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        self.run(move || {
            assert!(Command::new("ip").args(&arguments).status().unwrap().success(), "{arguments:?}")
        });
    }

    /// Answers on a port, for as long as the test runs.
    fn serve(&self, address: &'static str) {
        let listener = self.run(move || TcpListener::bind(address).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let (mut stream, mut buffer) = (stream, [0; 16]);
                    // Echoes until the other end closes.
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        let _ = stream.write_all(&buffer[..length]);
                    }
                });
            }
        });
    }

    fn connect(&self, to: &'static str) -> std::io::Result<TcpStream> {
        self.run(move || TcpStream::connect_timeout(&to.parse::<SocketAddr>().unwrap(), PATIENCE))
    }
}

struct Node {
    node: Namespace,
    web: Namespace,
    client: Namespace,
    outside: Namespace,
    world: World,
}

impl Node {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("KNARR_REQUIRE_KERNEL_TESTS").is_none(), "not root");
            eprintln!("SKIPPED: not root");
            return None;
        }
        let [node, web, client, outside] = [(); 4].map(|()| Namespace::new());
        for (peer, name, address, gateway) in [
            (&web, "web", "10.1.0.2", "10.1.0.1"),
            (&client, "client", "10.1.0.6", "10.1.0.5"),
            (&outside, "outside", "192.0.2.2", "192.0.2.1"),
        ] {
            node.ip(&format!("link add {name} type veth peer name eth0 netns {}", peer.path));
            node.ip(&format!("addr add {gateway}/30 dev {name}"));
            node.ip(&format!("link set {name} up"));
            peer.ip(&format!("addr add {address}/30 dev eth0"));
            peer.ip("link set eth0 up");
            peer.ip(&format!("route add default via {gateway}"));
        }
        node.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        web.serve("10.1.0.2:8080");
        web.serve("10.1.0.2:9090");
        node.serve("10.1.0.1:7000");
        outside.serve("192.0.2.2:443");
        let mut world = World::new();
        world.pod("a/web", "web", "10.1.0.2", "here");
        world.pod("b/client", "client", "10.1.0.6", "here");
        let mut made = Self { node, web, client, outside, world };
        let script = made.world.rebuild();
        made.apply(script);
        Some(made)
    }

    fn apply(&self, script: String) {
        self.node.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let outcome = runtime.block_on(crate::nftables::apply(&script));
            outcome.unwrap_or_else(|error| panic!("{error}\n{script}"));
        });
    }

    fn policy(&mut self, name: &str, spec: Value) {
        self.world.policy(name, spec);
        let script = self.world.transaction();
        self.apply(script);
    }

    fn no_policy(&mut self, name: &str) {
        self.world.no_policy(name);
        // The second one takes away what the first left unused.
        for _ in 0..2 {
            let script = self.world.transaction();
            self.apply(script);
        }
    }
}

#[test]
fn ingress_is_for_those_who_are_named_only() {
    let Some(mut node) = Node::new() else { return };
    assert!(node.client.connect("10.1.0.2:8080").is_ok() && node.outside.connect("10.1.0.2:8080").is_ok());
    let mut before = node.client.connect("10.1.0.2:9090").unwrap();
    node.policy(
        "a/web",
        json!({"podSelector": {}, "ingress": [
            {"from": [{"namespaceSelector": {"matchLabels": {"team": "y"}}}], "ports": [{"port": "http"}]}]}),
    );
    assert!(node.client.connect("10.1.0.2:8080").is_ok());
    assert!(node.client.connect("10.1.0.2:9090").is_err(), "another port");
    assert!(node.outside.connect("10.1.0.2:8080").is_err(), "no pod");
    assert!(node.node.connect("10.1.0.2:9090").is_ok(), "the node itself probes its pods");
    // What was open goes on.
    before.write_all(b"x").unwrap();
    before.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(before.read(&mut [0; 1]).unwrap(), 1);
    // Another policy adds to it.
    node.policy(
        "a/more",
        json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "192.0.0.0/16",
            "except": ["192.0.3.0/24"]}}], "ports": [{"port": 9000, "endPort": 9100}]}]}),
    );
    assert!(node.outside.connect("10.1.0.2:9090").is_ok() && node.client.connect("10.1.0.2:8080").is_ok());
    // The namespace is not the one that was meant any more.
    node.world.namespace("b", json!({}));
    let script = node.world.transaction();
    node.apply(script);
    assert!(node.client.connect("10.1.0.2:8080").is_err());
    node.no_policy("a/web");
    node.no_policy("a/more");
    assert!(node.client.connect("10.1.0.2:8080").is_ok() && node.outside.connect("10.1.0.2:9090").is_ok());
}

#[test]
fn egress_is_to_those_who_are_named_only() {
    let Some(mut node) = Node::new() else { return };
    let node_s = "10.1.0.1:7000";
    assert!(node.client.connect("192.0.2.2:443").is_ok() && node.client.connect(node_s).is_ok());
    node.policy(
        "b/client",
        json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}],
             "ports": [{"port": 8080}]}]}),
    );
    assert!(node.client.connect("10.1.0.2:8080").is_ok());
    assert!(node.client.connect("10.1.0.2:9090").is_err());
    assert!(node.client.connect("192.0.2.2:443").is_err());
    assert!(node.client.connect(node_s).is_err(), "the node is not exempt");
    assert!(node.web.connect("192.0.2.2:443").is_ok(), "others are not touched");
    // Both ends have a say.
    node.policy("a/none", json!({"podSelector": {}}));
    assert!(node.client.connect("10.1.0.2:8080").is_err());
    // Made anew while it is there, as at a restart.
    let script = node.world.rebuild();
    node.apply(script);
    assert!(node.client.connect("192.0.2.2:443").is_err() && node.web.connect("192.0.2.2:443").is_ok());
    node.no_policy("a/none");
    node.no_policy("b/client");
    assert!(node.client.connect("192.0.2.2:443").is_ok());
}

#[test]
fn policies_hold_for_ipv6_and_leave_neighbours_to_find_each_other() {
    let Some(mut node) = Node::new() else { return };
    for (peer, name, network) in [(&node.web, "web", "fd00:1:"), (&node.client, "client", "fd00:2:")] {
        node.node.ip(&format!("addr add {network}:1/64 dev {name} nodad"));
        peer.ip(&format!("addr add {network}:2/64 dev eth0 nodad"));
        peer.ip(&format!("route add default via {network}:1"));
    }
    node.node.run(|| std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap());
    node.web.serve("[fd00:1::2]:8080");
    node.web.serve("[fd00:1::2]:9090");
    node.node.serve("[fd00:2::1]:7000");
    node.world.pod("a/six", "web", "fd00:1::2", "here");
    node.world.pod("b/six", "client", "fd00:2::2", "here");
    node.world.policy(
        "b/client",
        json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}],
             "ports": [{"port": 8080}]}]}),
    );
    let script = node.world.0.tables[1].rebuild();
    node.apply(script);
    // Who the gateway is has not been asked before: the question comes from the pod's own address.
    assert!(node.client.connect("[fd00:1::2]:8080").is_ok());
    assert!(node.client.connect("[fd00:1::2]:9090").is_err());
    assert!(node.client.connect("[fd00:2::1]:7000").is_err(), "the node is not exempt");
    node.world.policy("a/none", json!({"podSelector": {}}));
    let script = node.world.0.tables[1].transaction();
    node.apply(script);
    assert!(node.client.connect("[fd00:1::2]:8080").is_err());
    assert!(node.node.connect("[fd00:1::2]:8080").is_ok(), "the node itself probes its pods");
}

#[test]
fn every_kind_of_rule_is_accepted_by_the_kernel_in_both_families() {
    let Some(mut node) = Node::new() else { return };
    node.world.pod("a/six", "web", "fd00::2", "here");
    node.policy(
        "a/all",
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}, {"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "fd00::/8", "except": ["fd00:1::/32"]}},
                {"ipBlock": {"cidr": "::/0"}}, {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}],
                "ports": [{"port": "http"}, {"protocol": "SCTP", "port": 1}, {"protocol": "UDP"}]}],
            "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "SCTP", "port": "sig"}]}]}),
    );
    for table in 0..2 {
        let script = node.world.0.tables[table].rebuild();
        node.apply(script);
    }
}
