//! Pods and Services with addresses of both families, and of IPv6 alone.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::cluster::Cluster;
use e2e::machine::Machine;
use e2e::network::Network;
use e2e::node::Node;
use serde_json::{Value, json};
use std::net::{IpAddr, TcpListener};
use std::thread::JoinHandle;

const BOTH: &str =
    "cluster-cidr: 10.1.0.0/16,fd00:10:1::/56\nservice-cidr: [10.152.183.0/24, \"fd00:10:152::/112\"]\n";
const SIX_FIRST: &str =
    "cluster-cidr: fd00:10:1::/56,10.1.0.0/16\nservice-cidr: fd00:10:152::/112,10.152.183.0/24\n";
const SIX: &str = "cluster-cidr: fd00:10:1::/56\nservice-cidr: fd00:10:152::/112\n";

/// A whole node with addresses of both families, and a worker on its subnet that has none of IPv6.
fn prepared() -> Result<Cluster> {
    let network = Network::new("dual", &["10.79.0.0"])?;
    let router = network.router();
    router.ip("address add fd00:79::254/64 dev br-10-79-0 nodad")?;
    let first = network.machine("dual1", "10.79.0.1")?;
    first.ip("address add fd00:79::1/64 dev eth0 nodad")?;
    first.ip("route add default via fd00:79::254")?;
    let second = network.machine("dual2", "10.79.0.2")?;
    let nodes = vec![Node::on(first, "node-1")?, Node::worker_on(second, "node-2")?];
    nodes[0].configure(BOTH)?;
    Ok(Cluster { nodes, network })
}

fn web(on: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"nodeName": on, "terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": "nginx",
            "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}}]}})
}

fn shell(on: &str) -> Value {
    let addresses = json!({"name": "POD_IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sh", "labels": {"app": "sh"}},
        "spec": {"nodeName": on, "terminationGracePeriodSeconds": 0, "containers": [{"name": "sh", "image": "busybox",
            "command": ["sh", "-c", "sleep 100000"], "env": [addresses]}]}})
}

fn start(node: &Node, items: &[Value]) -> Result<()> {
    node.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    node.eventually("the pods", || {
        node.kubectl("wait --for=condition=Ready pods --all --timeout=1s").map(drop)
    })
}

/// The addresses in a list of an object.
fn texts(list: &Value, field: &str) -> Vec<String> {
    let text = |one: &Value| one.get(field).unwrap_or(one).as_str().map(str::to_owned);
    list.as_array().into_iter().flatten().filter_map(text).collect()
}

/// As it stands in a URL.
fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

fn ask(url: &str) -> String {
    format!("curl -sf --max-time 3 {url}")
}

/// Waits until the shell in the pod gets the web server's answer.
fn reaches(node: &Node, url: &str) -> Result<()> {
    node.eventually(url, || {
        let told = node.kubectl(&format!("exec sh -- {}", ask(url)))?;
        ensure!(told == "web latest\n", "{told}");
        Ok(())
    })
}

/// Answers whom the next connection to a machine comes from.
fn visitor(machine: &Machine, address: &'static str) -> Result<JoinHandle<Result<IpAddr>>> {
    let path = machine.path();
    let listener = std::thread::spawn(move || {
        Machine::enter_path(&path)?;
        Ok::<_, anyhow::Error>(TcpListener::bind(address)?)
    });
    let listener = listener.join().expect("a thread")?;
    Ok(std::thread::spawn(move || Ok(listener.accept()?.1.ip())))
}

#[test]
fn pods_and_services_have_addresses_of_both_families() -> Result<()> {
    let cluster = prepared()?;
    let [first, second] = cluster.nodes.as_slice() else { unreachable!("two nodes") };
    first.run("start")?;
    cluster.ready(0, 0)?;
    let line = first.run("add-node --format short")?;
    let line = line.lines().next().and_then(|line| line.strip_prefix("knarr ")).context("a command")?;
    second.run(&format!("{line} --worker"))?;

    // Each node has a range of each, and an address of each: its own, or the first of its pods'.
    for (name, ranges, addresses) in [
        ("node-1", ["10.1.0.0/24", "fd00:10:1::/64"], ["10.79.0.1", "fd00:79::1", "node-1"]),
        ("node-2", ["10.1.1.0/24", "fd00:10:1:1::/64"], ["10.79.0.2", "fd00:10:1:1::", "node-2"]),
    ] {
        first.eventually("the node's addresses", || {
            let node = first.get(&format!("node {name}"))?;
            let told = (&node["spec"]["podCIDRs"], texts(&node["status"]["addresses"], "address"));
            ensure!(texts(told.0, "") == ranges && told.1 == addresses, "{told:?}");
            Ok(())
        })?;
    }

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "selector": {"app": "web"},
            "ports": [{"port": 80}]}});
    start(first, &[web("node-2"), shell("node-1"), service]).with_context(|| cluster.logs())?;
    let pods = texts(&first.get("pod web")?["status"]["podIPs"], "ip");
    ensure!(
        pods.len() == 2 && pods[0].starts_with("10.1.1.") && pods[1].starts_with("fd00:10:1:1::"),
        "{pods:?}"
    );
    let own = texts(&first.get("pod sh")?["status"]["podIPs"], "ip");
    let told = first.kubectl("exec sh -- sh -c echo${IFS}$POD_IPS")?;
    ensure!(told.trim() == own.join(","), "{told}");
    let hosts = first.kubectl("exec sh -- cat /etc/hosts")?;
    ensure!(own.iter().all(|address| hosts.contains(address.as_str())), "{hosts}");

    // Pod to pod on another node, by Service, by name: by each family.
    let service = first.get("service web")?;
    let services = texts(&service["spec"]["clusterIPs"], "");
    ensure!(services.len() == 2 && services[1].starts_with("fd00:10:152::"), "{services:?}");
    for address in pods.iter().chain(&services) {
        reaches(first, &format!("http://{}/", host(address))).with_context(|| cluster.logs())?;
    }
    for family in ["-4", "-6"] {
        reaches(first, &format!("{family} http://web.default.svc.cluster.local/"))?;
    }
    let reverse = first.kubectl(&format!("exec sh -- nslookup {}", services[1]))?;
    ensure!(reverse.contains("web.default.svc.cluster.local"), "{reverse}");
    // Nodes, whether they have addresses of IPv6 or not.
    for node in &cluster.nodes {
        for address in pods.iter().chain(&services) {
            let told = node.machine.shell(&ask(&format!("http://{}/", host(address))))?;
            ensure!(told == "web latest\n", "{told}");
        }
    }
    // From outside, by the port of a node that does not have the pod.
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("a port")?;
    for address in ["10.79.0.1", "[fd00:79::1]"] {
        let told = cluster.network.router().shell(&ask(&format!("http://{address}:{port}/")))?;
        ensure!(told == "web latest\n", "{told}");
    }
    // By addresses that a node speaks for, by ARP and NDP.
    first.run("enable loadbalancer:10.79.0.100-10.79.0.109,fd00:79::100-fd00:79::109")?;
    first.kubectl("patch service web -p {\"spec\":{\"type\":\"LoadBalancer\"}}")?;
    first.eventually("the load balancer's addresses", || {
        let balanced = texts(&first.get("service web")?["status"]["loadBalancer"]["ingress"], "ip");
        ensure!(balanced == ["10.79.0.100", "fd00:79::100"], "{balanced:?}");
        Ok(())
    })?;
    for address in ["10.79.0.100", "[fd00:79::100]"] {
        first.eventually(address, || {
            let told = cluster.network.router().shell(&ask(&format!("http://{address}/")))?;
            ensure!(told == "web latest\n", "{told}");
            Ok(())
        })?;
    }
    // To outside, where nobody knows of pods.
    for (at, from) in [("10.79.0.254:8099", "10.79.0.1"), ("[fd00:79::254]:8099", "fd00:79::1")] {
        let visitor = visitor(cluster.network.router(), at)?;
        // Nothing is answered there.
        let _ = first.kubectl(&format!("exec sh -- {}", ask(&format!("http://{at}/"))));
        let seen = visitor.join().expect("a thread")?;
        ensure!(seen == from.parse::<IpAddr>()?, "{seen}");
    }

    // A policy holds for both.
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"may": "come"}}}]}]}});
    first.apply(&policy.to_string())?;
    for address in pods.iter().chain(&services) {
        let url = format!("http://{}/", host(address));
        first.eventually("the policy", || {
            first.kubectl_fails(&format!("exec sh -- {}", ask(&url))).map(drop)
        })?;
    }
    first.kubectl("label pod sh may=come")?;
    for address in pods.iter().chain(&services) {
        reaches(first, &format!("http://{}/", host(address)))?;
    }
    Ok(())
}

/// A node of a cluster whose primary family is IPv6.
fn with_ipv6_first(address: &str, networks: &str) -> Result<Node> {
    let mut node = Node::on(Machine::new("dual6", address)?, "node-1")?;
    node.configure(networks)?;
    node.launch()?;
    node.wait_ready()?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    start(&node, &[web("node-1"), shell("node-1"), service])?;
    let service = node.get("service web")?;
    let address = service["spec"]["clusterIP"].as_str().context("an address")?.to_owned();
    ensure!(
        address.starts_with("fd00:10:152::") && service["spec"]["ipFamilies"] == json!(["IPv6"]),
        "{service}"
    );
    // By way of the cluster's DNS, which has to reach the API server.
    reaches(&node, "http://web.default.svc.cluster.local/")?;
    let told = node.machine.shell(&ask(&format!("http://[{address}]/")))?;
    ensure!(told == "web latest\n", "{told}");
    Ok(node)
}

/// The kinds of the addresses of the pod `web`, of which the first is the pod's address.
fn pod_families(node: &Node) -> Result<Vec<bool>> {
    let pod = node.get("pod web")?;
    let ips = texts(&pod["status"]["podIPs"], "ip");
    ensure!(pod["status"]["podIP"].as_str() == ips.first().map(String::as_str), "{pod}");
    Ok(ips.iter().map(|ip| ip.contains(':')).collect())
}

#[test]
fn a_cluster_may_have_ipv6_alone() -> Result<()> {
    let node = with_ipv6_first("fd00:80::2", SIX)?;
    ensure!(pod_families(&node)? == [true]);
    let told = node.kubectl_fails("create service clusterip four --clusterip=10.152.183.7 --tcp=80")?;
    ensure!(told.contains("not configured on this cluster"), "{told}");
    Ok(())
}

#[test]
fn ipv6_may_come_first_on_a_node_that_has_none() -> Result<()> {
    let node = with_ipv6_first("10.80.0.2", SIX_FIRST)?;
    ensure!(pod_families(&node)? == [true, false]);
    let slices = node.get("endpointslices -l kubernetes.io/service-name=kubernetes")?;
    let listed: Vec<&Value> = slices["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|slice| &slice["endpoints"][0]["addresses"][0])
        .collect();
    ensure!(listed == ["10.80.0.2", "fd00:10:1::"], "{listed:?}");
    Ok(())
}
