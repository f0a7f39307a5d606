//! Nodes that have IPv6 addresses only: joining by address and by name, pods, Services, the API from pods, a new address.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, bail, ensure};
use e2e::cluster::Cluster;
use e2e::network::Network;
use e2e::node::{Node, PATIENCE};
use e2e::wait;
use serde_json::{Value, json};

/// A whole node and a control plane alone on one subnet, a worker on another.
fn prepared() -> Result<Cluster> {
    let network = Network::new("six", &["fd00:77::", "fd00:78::"])?;
    let nodes = vec![
        Node::on(network.machine("six1", "fd00:77::1")?, "node-1")?,
        Node::worker_on(network.machine("six2", "fd00:78::2")?, "node-2")?,
        Node::control_plane_on(network.machine("six3", "fd00:77::3")?, "node-3")?,
    ];
    Ok(Cluster { nodes, network })
}

/// Runs a knarr command on a node for which the first one's name is in `/etc/hosts`, with an address of IPv4, too, that
/// leads nowhere.
fn knowing_the_first(node: &Node, command: &str) -> Result<String> {
    let hosts = node.data_dir().with_file_name("hosts");
    std::fs::write(&hosts, "192.0.2.1 first.example\nfd00:77::1 first.example\n")?;
    let script =
        format!("mount --bind {} /etc/hosts; exec {} {command}", hosts.display(), node.binary.display());
    let output = node.shell("exec unshare --mount sh -ec \"$SCRIPT\"").env("SCRIPT", script).output()?;
    e2e::machine::text_of(command, output)
}

/// Which of the datastore's nodes are alive, as a node says.
fn alive(cluster: &Cluster, by: usize) -> Result<Vec<String>> {
    let status = cluster.status(by)?;
    let nodes = status["high-availability"]["nodes"].as_array().cloned().unwrap_or_default();
    let alive = nodes.iter().filter(|node| node["alive"] == true);
    Ok(alive.filter_map(|node| Some(node["address"].as_str()?.to_owned())).collect())
}

#[test]
fn nodes_with_ipv6_addresses_only_join_and_their_pods_reach_each_other() -> Result<()> {
    let mut cluster = prepared()?;
    let first = &cluster.nodes[0];
    first.run("start")?;
    cluster.ready(0, 0)?;
    let lines = first.run("add-node --format short")?;
    ensure!(lines.starts_with("knarr join [fd00:77::1]:6443/") && lines.lines().count() == 1, "{lines}");
    let line = lines.trim().strip_prefix("knarr ").context("a command")?;
    let told = cluster.nodes[1].run(&format!("{line} --worker"))?;
    ensure!(told.contains("Successfully joined the cluster."), "{told}");
    let token = first.run("add-node --format token-check")?;
    let told = knowing_the_first(&cluster.nodes[2], &format!("join first.example:6443/{}", token.trim()))?;
    ensure!(told.contains("Successfully joined the cluster."), "{told}");
    ensure!(alive(&cluster, 0)? == ["[fd00:77::1]:19001", "[fd00:77::3]:19001"], "{}", first.run("status")?);
    let kubeconfig = first.run("config")?;
    ensure!(kubeconfig.contains("server: https://[fd00:77::1]:6443\n"), "{kubeconfig}");

    // Nodes are reached at their own addresses, by pods at those that they have among them.
    let node = first.get("node node-2")?;
    let addresses: Vec<&Value> =
        node["status"]["addresses"].as_array().into_iter().flatten().map(|one| &one["address"]).collect();
    ensure!(addresses == ["fd00:78::2", "10.1.1.0", "node-2"], "{addresses:?}");
    let slices = first.get("endpointslices -l kubernetes.io/service-name=kubernetes")?;
    let listed: Vec<(&Value, &Value)> = slices["items"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|slice| {
            slice["endpoints"].as_array().into_iter().flatten().map(|one| (&slice["addressType"], one))
        })
        .map(|(family, endpoint)| (family, &endpoint["addresses"][0]))
        .collect();
    ensure!(
        listed
            == [
                (&json!("IPv6"), &json!("fd00:77::1")),
                (&json!("IPv6"), &json!("fd00:77::3")),
                (&json!("IPv4"), &json!("10.1.0.0")),
            ],
        "{listed:?}"
    );

    // One pod on each node. The probe comes from the node; names are served by a pod that has to reach the API.
    let pod = |name: &str, on: &str, container: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": on, "terminationGracePeriodSeconds": 0, "containers": [container]}})
    };
    let web = json!({"name": "web", "image": "nginx",
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}});
    let shell = json!({"name": "sh", "image": "busybox", "command": ["sh", "-c", "echo here; sleep 100000"]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let items = [pod("web", "node-1", web), pod("sh", "node-2", shell), service];
    first.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    wait::until("pods on both nodes", PATIENCE, || {
        first.kubectl("wait --for=condition=Ready pods --all --timeout=1s").map(drop)
    })
    .with_context(|| cluster.logs())?;
    ensure!(first.kubectl("logs sh")?.contains("here"), "the kubelet's log over IPv6");
    let service = first.get("service web")?;
    let address = service["spec"]["clusterIP"].as_str().context("an address")?.to_owned();
    wait::until("a pod to reach another", PATIENCE, || {
        first.kubectl("exec sh -- curl -sf --max-time 3 http://web.default.svc.cluster.local/").map(drop)
    })
    .with_context(|| cluster.logs())?;
    // The node itself, without any other address of IPv4.
    for node in cluster.nodes.iter().take(2) {
        node.machine.shell(&format!("curl -sf --max-time 5 http://{address} > /dev/null"))?;
    }

    // A node of the datastore moves.
    cluster.nodes[2].machine.readdress("fd00:77::9")?;
    wait::until("the others to know the address", PATIENCE, || {
        let alive = alive(&cluster, 0)?;
        if alive == ["[fd00:77::1]:19001", "[fd00:77::9]:19001"] { Ok(()) } else { bail!("{alive:?}") }
    })
    .with_context(|| cluster.logs())
}
