//! A cluster of three whole nodes, and what happens to machines: crashes, cut cables, one-way networks, restarts, power
//! cuts, the loss of the majority. Meanwhile clients write down what they are told, which has to be possible; pods go on
//! running and Services answering.
//!
//! One round by default; `KNARR_FAULTS=N` for N of them, and for what takes long.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, bail, ensure};
use e2e::cluster::{Cluster, Way};
use e2e::disk::SlowDisk;
use e2e::load::Load;
use e2e::newer;
use e2e::node::PATIENCE;
use e2e::visitors::{Visit, Visitors};
use e2e::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a fault lasts, so that everybody notices.
const A_WHILE: Duration = Duration::from_secs(3);
/// A node that is silent for this long is NotReady, in place of 50 s: longer than what is short here, and the 10 s between
/// two signs of life.
const GRACE: Duration = Duration::from_secs(25);
/// A node that is back has its pods in service after this time.
const BACK: Duration = Duration::from_secs(10);
/// The longest time without writes while two of three nodes are well: debug builds on two shared cores are slow, the bar
/// is measured elsewhere.
const OUTAGE: Duration = Duration::from_secs(6);
/// What `status` may take.
const STATUS: Duration = Duration::from_secs(2);

fn rounds() -> Option<usize> {
    std::env::var("KNARR_FAULTS").ok().and_then(|rounds| rounds.parse().ok())
}

/// Nodes that run pods: all of them, or two where it has to be short.
fn whole() -> usize {
    if rounds().is_some() { 3 } else { 2 }
}

struct World {
    cluster: Cluster,
    load: Load,
    visitors: Visitors,
    visits: Vec<Visit>,
    /// What each pod is, which nothing may change.
    pods: BTreeMap<String, Value>,
}

impl World {
    fn begin(name: &str) -> Result<Self> {
        let cluster = Cluster::prepared(name, 3, whole())?;
        for node in &cluster.nodes {
            node.configure(&format!("node-monitor-grace-period: {}s\n", GRACE.as_secs()))?;
        }
        let begin = Instant::now();
        let cluster = Cluster::started(cluster)?;
        cluster.voters(0, 3, true)?;
        eprintln!("three nodes after {:?}", begin.elapsed());
        let visits = workload(&cluster)?;
        let pods = pods(&cluster, 0)?;
        eprintln!("pods on them after {:?}", begin.elapsed());
        let outside = cluster.network.router();
        let load = Load::start(outside, cluster.nodes[0].data_dir(), &cluster.api_servers(), 2)?;
        let visitors = Visitors::start(outside, visits.clone())?;
        Ok(Self { cluster, load, visitors, visits, pods })
    }

    /// Lets something happen, and says how long nothing was written.
    fn during(&self, what: &str, happening: impl FnOnce() -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        happening().with_context(|| what.to_owned())?;
        self.writes_go_on()?;
        let gap = self.load.longest_gap(begin);
        eprintln!("{what}: {:?} without writes, {:?} in all", gap, begin.elapsed());
        ensure!(gap < OUTAGE, "{what}: nothing was written for {gap:?}\n{}", self.cluster.logs());
        Ok(())
    }

    fn writes_go_on(&self) -> Result<()> {
        let before = self.load.writes();
        wait::until("a write", PATIENCE, || {
            if self.load.writes() > before { Ok(()) } else { bail!("{before} so far") }
        })
        .with_context(|| self.cluster.logs())
    }

    /// Waits until all three nodes vote again.
    fn whole(&self, by: usize) -> Result<()> {
        self.cluster.voters(by, 3, true)
    }

    /// Waits until nodes that were out of reach are back in service, and lets them be visited again.
    fn back(&self, nodes: impl IntoIterator<Item = usize>) -> Result<()> {
        let begin = Instant::now();
        served(&self.cluster, &self.visits)?;
        eprintln!("all are in service {:?} later", begin.elapsed());
        ensure!(begin.elapsed() < BACK, "{:?}", begin.elapsed());
        nodes.into_iter().for_each(|node| self.visitors.with(node));
        Ok(())
    }

    /// A node whose status says, in time, that there is no quorum.
    fn says_no_quorum(&self, n: usize) -> Result<()> {
        let (quorum, took) = self.cluster.quorum(n)?;
        ensure!(!quorum && took < STATUS, "node-{} says quorum: {quorum}, after {took:?}", n + 1);
        let output = self.cluster.nodes[n].knarr().arg("status").output()?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(!output.status.success() && told.contains("no quorum: 1 of 3 voters answer"), "{told}");
        Ok(())
    }

    fn nobody_was_restarted(&self, by: usize) -> Result<()> {
        let now = pods(&self.cluster, by)?;
        ensure!(now == self.pods, "pods were {:#?}\nand are {now:#?}", self.pods);
        Ok(())
    }

    fn processes(&self) -> Result<()> {
        let cluster = &self.cluster;
        let leader = cluster.leader(0)?;
        let [one, other] = [(leader + 1) % 3, (leader + 2) % 3];
        self.during("a follower is killed", || {
            cluster.kill(one)?;
            std::thread::sleep(A_WHILE);
            cluster.start(one)
        })?;
        self.whole(other)?;
        self.during("the leader is killed", || {
            cluster.kill(leader)?;
            self.writes_go_on()?;
            wait::until("another leader", PATIENCE, || {
                ensure!(cluster.leader(one)? != leader, "the dead one leads");
                Ok(())
            })?;
            cluster.start(leader)
        })?;
        self.whole(other)?;
        // One after the other, the leader last, each with a newer binary.
        let leader = cluster.leader(0)?;
        for n in [(leader + 1) % 3, (leader + 2) % 3, leader] {
            let what = if n == leader { "the leader is restarted" } else { "a follower is restarted" };
            self.during(what, || {
                cluster.stop(n)?;
                self.writes_go_on()?;
                cluster.start(n)
            })?;
            self.whole(n)?;
        }
        Ok(())
    }

    fn networks(&self) -> Result<()> {
        let cluster = &self.cluster;
        let leader = cluster.leader(0)?;
        let other = (leader + 1) % 3;
        self.visitors.without(leader);
        self.during("the leader's cable is cut", || {
            cluster.unplug(leader)?;
            self.writes_go_on()?;
            self.says_no_quorum(leader)?;
            std::thread::sleep(A_WHILE);
            cluster.plug(leader)
        })?;
        self.whole(other)?;
        let leader = cluster.leader(other)?;
        let other = (leader + 1) % 3;
        self.visitors.without(leader);
        self.during("the leader hears nobody", || {
            cluster.partition(leader, Way::In)?;
            self.writes_go_on()?;
            std::thread::sleep(A_WHILE);
            ensure!(cluster.leader(other)? != leader, "who hears nobody leads");
            cluster.heal(leader)
        })?;
        self.whole(other)?;
        let leader = cluster.leader(other)?;
        self.visitors.without(leader);
        self.during("the leader is alone with its clients", || {
            cluster.partition(leader, Way::Both)?;
            std::thread::sleep(A_WHILE);
            self.says_no_quorum(leader)?;
            cluster.heal(leader)
        })?;
        self.whole(other)?;
        self.back(0..3)
    }

    /// Disks that write ten times a second, of a follower and of the leader.
    fn disks(&self) -> Result<()> {
        let cluster = &self.cluster;
        let leader = cluster.leader(0)?;
        for (what, n) in
            [("a follower's disk is slow", (leader + 1) % 3), ("the leader's disk is slow", leader)]
        {
            let node = &cluster.nodes[n];
            self.during(what, || {
                let slow = SlowDisk::new(node.server_pid()?, &node.data_dir(), 10)?;
                if slow.is_none() {
                    eprintln!("this kernel slows no disk down");
                    return Ok(());
                }
                std::thread::sleep(2 * A_WHILE);
                Ok(())
            })?;
            self.whole(n)?;
        }
        Ok(())
    }

    /// Long enough for the others to give the node up, then back.
    fn silence(&self) -> Result<()> {
        let cluster = &self.cluster;
        let node = (cluster.leader(0)? + 1) % 3;
        let other = (node + 1) % 3;
        self.visitors.without(node);
        self.during("a cable is cut for long", || {
            cluster.unplug(node)?;
            let begin = Instant::now();
            wait::until("the node to be given up", PATIENCE, || {
                let wait = format!("wait --for=condition=Ready=Unknown node/node-{} --timeout=1s", node + 1);
                cluster.nodes[other].kubectl(&wait)
            })?;
            eprintln!("given up after {:?}", begin.elapsed());
            cluster.plug(node)?;
            let took = cluster.ready(other, node)?;
            eprintln!("Ready {took:?} after its cable was put in");
            ensure!(took < BACK, "{took:?}");
            Ok(())
        })?;
        self.whole(other)?;
        self.back([node])
    }

    /// What the clients were told can be true, pods are what they were, and nobody complained.
    fn end(self) -> Result<Cluster> {
        self.nobody_was_restarted(0)?;
        let history = self.load.finish()?;
        eprintln!("{} operations and {} lists", history.operations.len(), history.lists.len());
        history.check()?;
        let served = self.visitors.finish().with_context(|| {
            let ask = |what: &str| self.cluster.nodes[0].kubectl(what).unwrap_or_default();
            let given_up = ask("get events -A --field-selector reason=NodeNotReady -o wide");
            let flipped = ask("get nodes,pods -o jsonpath={range.items[*]}{.metadata.name}{.status.conditions[?(@.type=='Ready')]}{end}");
            format!("{given_up}{flipped}")
        })?;
        eprintln!("{served} visits");
        Ok(self.cluster)
    }
}

/// One nginx and one shell on each node, and a Service of the former; answers the ways to visit it.
fn workload(cluster: &Cluster) -> Result<Vec<Visit>> {
    let mut items = Vec::new();
    for n in 1..=whole() {
        let (on, port) = (format!("node-{n}"), 30_080 + n);
        items.push(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("web-{n}"), "labels": {"app": "web", "on": on}},
            "spec": {"nodeName": on, "containers": [{"name": "web", "image": "nginx"}]}}));
        items.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("sh-{n}")},
            "spec": {"nodeName": on, "terminationGracePeriodSeconds": 0, "containers": [
                {"name": "sh", "image": "busybox", "command": ["sleep", "100000"]}]}}));
        items.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("web-{n}")},
            "spec": {"type": "NodePort", "selector": {"app": "web", "on": on},
                "ports": [{"port": 80, "nodePort": port}]}}));
    }
    let first = &cluster.nodes[0];
    first.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    first.eventually("pods on every node", || {
        first
            .kubectl("wait --for=condition=Ready pods --all -A --timeout=20s")
            .map(drop)
            .with_context(|| cluster.logs())
    })?;
    let mut visits = Vec::new();
    for by in 0..whole() {
        for to in 0..whole() {
            let address = format!("{}:{}", cluster.nodes[by].machine.address, 30_081 + to).parse()?;
            visits.push(Visit { by, address, to, answer: format!("web-{} latest\n", to + 1) });
        }
    }
    served(cluster, &visits)?;
    Ok(visits)
}

/// Waits until all visits are answered.
fn served(cluster: &Cluster, visits: &[Visit]) -> Result<()> {
    for visit in visits {
        wait::until("a Service", PATIENCE, || {
            let machine = cluster.network.router();
            machine.run(async { visit.ask() }).with_context(|| format!("{visit:?}"))
        })
        .with_context(|| cluster.logs())?;
    }
    Ok(())
}

/// A node gets another address while it runs: it is what it was, under the new one, and its pods notice nothing.
fn addresses(cluster: &mut Cluster) -> Result<()> {
    let leader = cluster.leader(0)?;
    let before = pods(cluster, leader)?;
    let node = (0..whole()).find(|node| *node != leader).context("a follower")?;
    let other = (node + 1) % 3;
    let new = format!("10.78.0.{}", 100 + node);
    cluster.nodes[node].machine.readdress(&new)?;
    let begin = Instant::now();
    wait::until("the others to know the address", PATIENCE, || {
        let status = cluster.status(other)?;
        let nodes = status["high-availability"]["nodes"].as_array().cloned().unwrap_or_default();
        let known =
            nodes.iter().any(|node| node["address"] == format!("{new}:19001") && node["alive"] == true);
        if known { Ok(()) } else { bail!("{status}") }
    })
    .with_context(|| cluster.logs())?;
    eprintln!("it has its place again {:?} after the change", begin.elapsed());
    cluster.voters(other, 3, true)?;
    let ca = cluster.nodes[other].data_dir().join("pki/ca.crt");
    wait::until("a certificate for the address", PATIENCE, || {
        let ask = format!("curl -sf --max-time 2 --cacert {} https://{new}:6443/readyz", ca.display());
        cluster.network.router().shell(&ask)
    })?;
    wait::until("the node's new address", PATIENCE, || {
        let told = cluster.nodes[other].kubectl(&format!("get node node-{} -o wide", node + 1))?;
        let slice = cluster.nodes[other].kubectl("get endpointslice kubernetes -o yaml")?;
        if told.contains(&new) && slice.contains(&new) { Ok(()) } else { bail!("{told}{slice}") }
    })?;
    eprintln!("and all know it after {:?}", begin.elapsed());
    ensure!(pods(cluster, other)? == before, "pods were restarted");
    Ok(())
}

/// Names are resolved on every node, and lead to pods on every node.
fn services_work(cluster: &Cluster, by: usize) -> Result<()> {
    for from in 1..=whole() {
        for to in 1..=whole() {
            let ask = format!("curl -sf --max-time 5 http://web-{to}.default/");
            let answer = wait::until("a Service by its name", PATIENCE, || {
                cluster.nodes[by].kubectl_args(&["exec", &format!("sh-{from}"), "--", "sh", "-ec", &ask])
            })?;
            ensure!(answer == format!("web-{to} latest\n"), "from {from}: {answer}");
        }
    }
    Ok(())
}

/// Waits until the nodes that run pods tell of the newer version, and the add-ons come from it.
fn upgraded(cluster: &Cluster, by: usize) -> Result<()> {
    let (node, version) = (&cluster.nodes[by], newer::version());
    wait::until("nodes of the newer version", PATIENCE, || {
        let nodes = node.get("nodes")?;
        let of = |node: &Value| node["status"]["nodeInfo"]["kubeletVersion"].as_str().map(str::to_owned);
        let versions: Vec<_> = nodes["items"].as_array().context("nodes")?.iter().map(of).collect();
        let newer = |told: &Option<String>| told.as_ref().is_some_and(|told| told.ends_with(&version));
        if versions.iter().filter(|told| newer(told)).count() == whole() {
            Ok(())
        } else {
            bail!("{versions:?}")
        }
    })?;
    wait::until("the add-ons of the newer version", PATIENCE, || {
        let dns = node.get("deployment knarr-dns -n kube-system")?;
        let image = &dns["spec"]["template"]["spec"]["containers"][0]["image"];
        if image.as_str().is_some_and(|image| image.ends_with(&version)) { Ok(()) } else { bail!("{image}") }
    })?;
    node.kubectl("rollout status deployment/knarr-dns -n kube-system --timeout=60s").map(drop)
}

/// Uid, container and restarts of each pod.
fn pods(cluster: &Cluster, by: usize) -> Result<BTreeMap<String, Value>> {
    let pods = cluster.nodes[by].get("pods")?;
    let pods = pods["items"].as_array().context("pods")?;
    let told = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let what = json!([pod["metadata"]["uid"], status["containerID"], status["restartCount"]]);
        Some((pod["metadata"]["name"].as_str()?.to_owned(), what))
    };
    pods.iter().map(|pod| told(pod).context("a pod")).collect()
}

#[test]
fn what_three_nodes_tell_their_clients_stays_true_whatever_happens() -> Result<()> {
    let elsewhere = tempfile::Builder::new().prefix("knarr-").tempdir()?;
    let newer = elsewhere.path().join("knarr");
    newer::write(&newer)?;
    // After the folder, so that it is gone before: it is stopped by that binary.
    let mut world = World::begin("faults")?;
    for node in &mut world.cluster.nodes {
        node.binary.clone_from(&newer);
    }
    for _ in 0..rounds().unwrap_or(1) {
        world.processes()?;
        upgraded(&world.cluster, 0)?;
        world.networks()?;
        if rounds().is_some() {
            world.disks()?;
            world.silence()?;
        }
    }
    services_work(&world.cluster, 0)?;
    let mut cluster = world.end()?;

    // A power cut, and the power comes back: its pods run again.
    let dark = cluster.leader(0)?.min(whole() - 1);
    let other = (dark + 1) % 3;
    cluster.power_off(dark)?;
    let begin = Instant::now();
    cluster.nodes[other].kubectl("create configmap in-the-dark")?;
    eprintln!("written {:?} after the power cut", begin.elapsed());
    cluster.voters(other, 2, false)?;
    cluster.plug(dark)?;
    cluster.start(dark)?;
    cluster.ready(other, dark)?;
    cluster.voters(other, 3, true)?;
    cluster.nodes[other].eventually("its pods to run again", || {
        cluster.nodes[other]
            .kubectl("wait --for=condition=Ready pods --all -A --timeout=20s")
            .with_context(|| cluster.logs())
    })?;
    services_work(&cluster, other)?;
    addresses(&mut cluster)?;

    // The majority is lost, for good: one command makes a cluster of the survivor, whose pods have seen nothing.
    let survivor = dark;
    let before = pods(&cluster, survivor)?;
    for n in (0..3).filter(|n| *n != survivor) {
        cluster.power_off(n)?;
    }
    let (quorum, took) = cluster.quorum(survivor)?;
    ensure!(!quorum && took < STATUS, "quorum: {quorum}, after {took:?}");
    cluster.stop(survivor)?;
    let told = cluster.nodes[survivor].run("datastore recover --yes")?;
    ensure!(told.contains("have to join again"), "{told}");
    let begin = Instant::now();
    cluster.start(survivor)?;
    let node = &cluster.nodes[survivor];
    node.kubectl("create configmap alone")?;
    eprintln!("written {:?} after the recovery", begin.elapsed());
    node.kubectl("get configmap in-the-dark")?;
    let port = 30_081 + survivor;
    let visit = format!("curl -sf --max-time 5 http://{}:{port}/", node.machine.address);
    ensure!(cluster.network.router().shell(&visit)? == format!("web-{} latest\n", survivor + 1));
    let after = pods(&cluster, survivor)?;
    for name in [format!("web-{}", survivor + 1), format!("sh-{}", survivor + 1)] {
        ensure!(before[&name] == after[&name], "{name} was {} and is {}", before[&name], after[&name]);
    }
    Ok(())
}
