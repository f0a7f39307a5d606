//! The rules in a real kernel, with real connections, in a network namespace of the test's own.
//!
//! They need root, `nft` and `ip`. Without these they print `SKIPPED` and pass; `KNARR_REQUIRE_KERNEL_TESTS=1`
//! makes them fail instead.

use super::tests::{all_sorts, change, port, to};
use super::*;
use crate::service::{Protocol, ServicePort};
use apimachinery::family::Family;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// Runs a test on a thread with a network namespace of its own: it has the loopback interface with the
/// addresses of two "pods" and of the "node", and a default route.
fn in_namespace(test: impl FnOnce(&tokio::runtime::Runtime) + Send + 'static) {
    let missing = ["nft", "ip"].iter().find(|tool| Command::new(tool).arg("-V").output().is_err());
    let reason = match missing {
        Some(tool) => format!("{tool} is not installed"),
        None if !nix::unistd::geteuid().is_root() => "not root".to_owned(),
        None => String::new(),
    };
    if !reason.is_empty() {
        assert!(std::env::var_os("KNARR_REQUIRE_KERNEL_TESTS").is_none(), "{reason}");
        eprintln!("SKIPPED: {reason}");
        return;
    }
    let thread = std::thread::spawn(move || {
        // Of this thread alone; the processes and threads that it starts are in it too.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        for line in [
            "link set lo up",
            "link add node0 type veth peer name node1",
            "link set node1 up",
            "addr add 192.0.2.1/24 dev node0",
            "link set node0 up",
            "route add default dev node0",
            "addr add 10.1.0.2/32 dev lo",
            "addr add 10.1.0.3/32 dev lo",
        ] {
            ip(line);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        test(&runtime);
    });
    thread.join().unwrap();
}

fn ip(line: &str) {
    assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
}

fn apply(runtime: &tokio::runtime::Runtime, script: &str) {
    runtime.block_on(super::apply(script)).unwrap_or_else(|error| panic!("{error}\n{script}"));
}

/// Serves a TCP port: tells every client which address answered, and who it seems to be.
fn serve(at: &str) {
    let listener = TcpListener::bind(at).unwrap();
    let name = at.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            // A client may have gone away.
            let _ = stream.write_all(format!("{name} {peer}").as_bytes());
        }
    });
}

fn ask(to: &str) -> std::io::Result<String> {
    let to: SocketAddr = to.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How often each endpoint answered.
fn spread(to: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for _ in 0..40 {
        let answer = ask(to).unwrap_or_else(|error| panic!("{to}: {error}"));
        *found.entry(answer.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    found
}

fn refused(to: &str) -> bool {
    ask(to).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn every_rule_set_and_difference_is_accepted_by_the_kernel() {
    in_namespace(|runtime| {
        let mut table = ShadowTable::new(Family::V4);
        apply(runtime, &table.rebuild(&[]));
        for (port, reachable) in all_sorts() {
            apply(runtime, &change(&mut table, Family::V4, &[(&port, Some(reachable))]));
        }
        // Made anew while it is there, as at a restart.
        apply(runtime, &table.rebuild(&["192.0.2.0/24".parse().unwrap()]));
        for (port, reachable) in all_sorts() {
            let mut other = port.clone();
            other.affinity_seconds = port.affinity_seconds.map_or(Some(5), |_| None);
            apply(runtime, &change(&mut table, Family::V4, &[(&other, Some(reachable))]));
            apply(runtime, &table.collect_garbage());
            apply(runtime, &change(&mut table, Family::V4, &[(&other, Some(to(&[], &[])))]));
        }
        for (port, _) in all_sorts() {
            apply(runtime, &change(&mut table, Family::V4, &[(&port, None)]));
        }
        apply(runtime, &table.collect_garbage());

        let mut table = ShadowTable::new(Family::V6);
        // The longest names that the API allows.
        let mut long = port(&"s".repeat(63));
        long.name.namespace = "n".repeat(63);
        long.name.port = "p".repeat(15);
        long.name.protocol = Protocol::Sctp;
        long.affinity_seconds = Some(86_400);
        long.node_port = Some(32767);
        let endpoint = "[fd01:1111:2222:3333:4444:5555:6666:7777]:65535";
        change(&mut table, Family::V6, &[(&long, Some(to(&[endpoint], &[])))]);
        apply(runtime, &table.rebuild(&[]));
        runtime.block_on(async {
            assert!(table_exists(Family::V4).await && table_exists(Family::V6).await);
            crate::cleanup().await.unwrap();
            crate::cleanup().await.unwrap();
            assert!(!table_exists(Family::V4).await && !table_exists(Family::V6).await);
        });
    });
}

#[test]
fn connections_are_spread_follow_changes_and_are_refused_without_endpoints() {
    in_namespace(|runtime| {
        serve("10.1.0.2:8080");
        serve("10.1.0.3:8080");
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        let mut table = ShadowTable::new(Family::V4);
        let web = ServicePort {
            node_port: Some(30080),
            external_ips: vec!["203.0.113.5".parse().unwrap()],
            ..port("web")
        };
        change(&mut table, Family::V4, &[(&web, Some(to(&["10.1.0.2:8080", "10.1.0.3:8080"], &[])))]);
        apply(runtime, &table.rebuild(&[]));
        let places = ["10.152.183.10:80", "203.0.113.5:80", "192.0.2.1:30080", "127.0.0.1:30080"];
        for place in places {
            let found = spread(place);
            assert_eq!(found.len(), 2, "{place}: {found:?}");
            assert!(found.values().all(|count| *count >= 5), "{place}: {found:?}");
        }
        // A port of the cluster IP that the Service does not have.
        assert!(refused("10.152.183.10:81"));

        let update = change(&mut table, Family::V4, &[(&web, Some(to(&["10.1.0.3:8080"], &[])))]);
        apply(runtime, &update);
        for place in places {
            assert_eq!(spread(place).into_keys().collect::<Vec<_>>(), ["10.1.0.3:8080"]);
        }
        apply(runtime, &change(&mut table, Family::V4, &[(&web, Some(to(&[], &[])))]));
        for place in places {
            assert!(refused(place), "{place}");
        }
    });
}

#[test]
fn a_client_stays_with_its_endpoint_under_session_affinity() {
    in_namespace(|runtime| {
        serve("10.1.0.2:8080");
        serve("10.1.0.3:8080");
        let mut table = ShadowTable::new(Family::V4);
        let sticky = ServicePort { affinity_seconds: Some(600), ..port("sticky") };
        let both = to(&["10.1.0.2:8080", "10.1.0.3:8080"], &[]);
        change(&mut table, Family::V4, &[(&sticky, Some(both))]);
        apply(runtime, &table.rebuild(&[]));
        let found = spread("10.152.183.10:80");
        assert_eq!(found.len(), 1, "{found:?}");
        let (kept, other) = match found.keys().next().map(String::as_str) {
            Some("10.1.0.2:8080") => ("10.1.0.2:8080", "10.1.0.3:8080"),
            _ => ("10.1.0.3:8080", "10.1.0.2:8080"),
        };
        // More endpoints do not move it; the loss of its own does.
        let more = to(&["10.1.0.2:8080", "10.1.0.3:8080", "10.1.0.4:8080"], &[]);
        apply(runtime, &change(&mut table, Family::V4, &[(&sticky, Some(more))]));
        assert_eq!(spread("10.152.183.10:80").into_keys().collect::<Vec<_>>(), [kept]);
        apply(runtime, &change(&mut table, Family::V4, &[(&sticky, Some(to(&[other], &[])))]));
        assert_eq!(spread("10.152.183.10:80").into_keys().collect::<Vec<_>>(), [other]);
    });
}

#[test]
fn datagrams_arrive_and_their_answers_come_back() {
    in_namespace(|runtime| {
        let mut dns = port("dns");
        dns.name.protocol = Protocol::Udp;
        dns.port = 53;
        let mut table = ShadowTable::new(Family::V4);
        change(&mut table, Family::V4, &[(&dns, Some(to(&["10.1.0.2:5353"], &[])))]);
        apply(runtime, &table.rebuild(&[]));
        let server = UdpSocket::bind("10.1.0.2:5353").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.connect("10.152.183.10:53").unwrap();
        client.send(b"question").unwrap();
        let mut buffer = [0; 16];
        let (count, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"question");
        server.send_to(b"answer", from).unwrap();
        let count = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"answer");
    });
}

/// A pod: a thread in a namespace of its own, with an address and a point-to-point route, as the pod network
/// makes them. What is sent to it runs there.
fn pod(address: &str) -> mpsc::Sender<Box<dyn FnOnce() + Send>> {
    let (tell, told) = mpsc::channel();
    let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(nix::unistd::gettid()).unwrap();
        queue.into_iter().for_each(|job| job());
    });
    let thread = told.recv().unwrap();
    let link = format!("veth{}", address.rsplit('.').next().unwrap());
    ip(&format!("link add {link} type veth peer name eth0 netns {thread}"));
    ip(&format!("addr add 169.254.1.1/32 dev {link}"));
    ip(&format!("link set {link} up"));
    let own = address.to_owned();
    let (done, ready) = mpsc::channel();
    let set_up = move || {
        ip("link set lo up");
        ip(&format!("addr add {own}/32 dev eth0"));
        ip("link set eth0 up");
        ip("route add 169.254.1.1 dev eth0");
        ip("route add default via 169.254.1.1 dev eth0");
        serve(&format!("{own}:8080"));
        done.send(()).unwrap();
    };
    jobs.send(Box::new(set_up)).unwrap();
    ready.recv().unwrap();
    ip(&format!("route add {address} dev {link}"));
    jobs
}

#[test]
fn pods_reach_services_with_their_own_address_and_themselves_with_the_node_s() {
    in_namespace(|runtime| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let (one, _other) = (pod("10.1.0.12"), pod("10.1.0.13"));
        let mut table = ShadowTable::new(Family::V4);
        let service = |name: &str, ip: &str| {
            let cluster_ips = vec![format!("10.152.183.{ip}").parse().unwrap()];
            ServicePort { cluster_ips, ..port(name) }
        };
        let mut local = service("local", "14");
        (local.node_port, local.external_local) = (Some(30080), true);
        for (port, cluster) in [
            (service("itself", "11"), &["10.1.0.12:8080"][..]),
            (service("other", "12"), &["10.1.0.13:8080"]),
            (service("nobody", "13"), &[]),
            (local, &["10.1.0.13:8080"]),
        ] {
            change(&mut table, Family::V4, &[(&port, Some(to(cluster, &[])))]);
        }
        apply(runtime, &table.rebuild(&[]));
        let (tell, told) = mpsc::channel();
        let ask_all = move || {
            let places = [
                "10.152.183.11:80",
                "10.152.183.12:80",
                "10.152.183.13:80",
                "10.152.183.12:81",
                "192.0.2.1:30080",
            ];
            tell.send(places.map(|place| ask(place).map_err(|error| error.kind()))).unwrap();
        };
        one.send(Box::new(ask_all)).unwrap();
        let [itself, other, nobody, wrong_port, node_port] = told.recv().unwrap();
        let itself = itself.unwrap();
        assert!(itself.starts_with("10.1.0.12:8080 ") && !itself.ends_with(" 10.1.0.12"), "{itself}");
        assert_eq!(other.unwrap(), "10.1.0.13:8080 10.1.0.12");
        assert_eq!(nobody.unwrap_err(), ErrorKind::ConnectionRefused);
        assert_eq!(wrong_port.unwrap_err(), ErrorKind::ConnectionRefused);
        // Under externalTrafficPolicy Local, a pod reaches endpoints elsewhere all the same.
        assert_eq!(node_port.unwrap(), "10.1.0.13:8080 10.1.0.12");
        // So does the node itself, and is not seen with a service's address.
        assert!(ask("10.152.183.12:80").unwrap().starts_with("10.1.0.13:8080 "));
        assert!(ask("192.0.2.1:30080").unwrap().starts_with("10.1.0.13:8080 "));
    });
}
