//! Several machines: joining, losing nodes, leaving, and what is refused. Control planes alone, so no containerd.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, bail, ensure};
use e2e::cluster::Cluster;
use e2e::node::{Node, PATIENCE};
use e2e::wait;
use serde_json::Value;
use std::time::{Duration, Instant};

fn has(node: &Node, name: &str) -> bool {
    node.kubectl(&format!("get configmap {name}")).is_ok()
}

#[test]
fn three_nodes_lose_their_leader_and_one_leaves_and_comes_back() -> Result<()> {
    let cluster = Cluster::of_strangers("trio", 3)?;
    cluster.join(1)?;
    cluster.join(2)?;
    cluster.voters(2, 3, true)?;
    cluster.servers(0, 3)?;
    for node in &cluster.nodes {
        ensure!(
            has(node, "own-1") && !has(node, "own-2") && !has(node, "own-3"),
            "all have the first's state"
        );
    }
    // Written through whom it may be, and read everywhere at once.
    for n in 0..3 {
        cluster.nodes[n].kubectl(&format!("create configmap from-{n}"))?;
        ensure!(cluster.nodes.iter().all(|node| has(node, &format!("from-{n}"))), "from-{n}");
    }

    let leader = cluster.leader(0)?;
    let other = (leader + 1) % 3;
    let begin = Instant::now();
    cluster.kill(leader)?;
    cluster.nodes[other].kubectl("create configmap after-the-death")?;
    eprintln!("written {:?} after the leader's death", begin.elapsed());
    cluster.voters(other, 2, false)?;
    let pretty = cluster.nodes[other].run("status")?;
    ensure!(pretty.contains("high-availability: no"), "{pretty}");
    ensure!(pretty.contains(&format!("10.78.0.{}:19001 (node-{0}, voter)", leader + 1)), "{pretty}");
    cluster.nodes[leader].run("start")?;
    cluster.voters(other, 3, true)?;
    ensure!(has(&cluster.nodes[leader], "after-the-death"), "it has caught up");

    // Whoever runs the controllers is followed, too.
    let acting = cluster.acting(other)?;
    let other = (acting + 1) % 3;
    let begin = Instant::now();
    cluster.kill(acting)?;
    cluster.nodes[other].kubectl("create deployment later --image=x")?;
    wait::until("a controller to act", PATIENCE, || {
        let sets = cluster.nodes[other].kubectl("get replicasets -l app=later -o name")?;
        if sets.is_empty() { bail!("no ReplicaSet") } else { Ok(()) }
    })?;
    eprintln!("a controller has acted {:?} after the death of its predecessor", begin.elapsed());
    ensure!(cluster.acting(other)? != acting, "another one acts");
    // The dead server is no endpoint any more, and is one again when it is back.
    cluster.servers(other, 2)?;
    cluster.nodes[acting].run("start")?;
    cluster.servers(other, 3)?;
    cluster.voters(other, 3, true)?;

    let leaver = 2;
    cluster.nodes[leaver].run("leave")?;
    ensure!(!has(&cluster.nodes[leaver], "own-1"), "it is alone, and empty");
    let status = cluster.status(0)?;
    ensure!(status["high-availability"]["nodes"].as_array().map(Vec::len) == Some(2), "{status}");
    let told = cluster.nodes[leaver].run_fails("leave")?;
    ensure!(told.contains("alone"), "{told}");
    cluster.nodes[0].kubectl("create configmap without-the-leaver")?;
    cluster.join(leaver)?;
    cluster.voters(leaver, 3, true)?;
    ensure!(has(&cluster.nodes[leaver], "without-the-leaver"), "it is back");

    // Without a majority nothing is written, and status says so at once.
    cluster.kill(1)?;
    cluster.kill(2)?;
    let begin = Instant::now();
    let output = cluster.nodes[0].knarr().arg("status").output()?;
    let (took, told) = (begin.elapsed(), String::from_utf8_lossy(&output.stdout).into_owned());
    ensure!(!output.status.success() && told.contains("no quorum: 1 of 3 voters answer"), "{told}");
    ensure!(took < Duration::from_secs(2), "{took:?}");
    cluster.nodes[1].run("start")?;
    cluster.nodes[0].kubectl("create configmap again")?;
    let told = cluster.nodes[0].run_fails("remove-node node-2")?;
    ensure!(told.contains("knarr leave"), "{told}");
    cluster.nodes[0].run("remove-node node-3")?;
    let status = cluster.status(1)?;
    ensure!(status["high-availability"]["nodes"].as_array().map(Vec::len) == Some(2), "{status}");
    drop(cluster.network);
    Ok(())
}

#[test]
fn a_node_joins_once_by_its_launch_configuration() -> Result<()> {
    let cluster = Cluster::prepared("unattended", 2, 0)?;
    let [founder, other] = cluster.nodes.as_slice() else { bail!("two nodes") };
    founder.run("start")?;
    let line = founder.run("add-node --format short")?;
    let url = line.lines().next().and_then(|line| line.strip_prefix("knarr join ")).context("a line")?;
    let launch =
        format!("version: 0.2.0\njoin: {{url: \"{url}\"}}\naddons: [{{name: dns, disable: true}}]\n");
    std::fs::write(other.data_dir().with_file_name("launch.yaml"), launch)?;
    let record = || -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(other.data_dir().join("launch.json"))?)?)
    };
    other.run("start")?;
    wait::until("a cluster of two", PATIENCE, || {
        let status = cluster.status(0)?;
        let nodes = status["high-availability"]["nodes"].as_array().map(Vec::len);
        if nodes == Some(2) { Ok(()) } else { bail!("{status}") }
    })?;
    wait::until("all that is left to do", PATIENCE, || {
        let record = record()?;
        if record["done"] == serde_json::json!([0, 1]) {
            Ok(())
        } else {
            bail!("{record}\n{}", other.log_tail())
        }
    })?;
    // It is the cluster's add-on.
    let told = founder.knarr().args(["status", "--addon", "dns"]).output()?;
    ensure!(String::from_utf8_lossy(&told.stdout).trim() == "disabled", "{told:?}");

    wait::until("its leave", PATIENCE, || other.run("leave").map(drop))?;
    other.run("stop")?;
    other.run("start")?;
    let status = cluster.status(1)?;
    ensure!(
        status["high-availability"]["nodes"].as_array().map_or(0, Vec::len) <= 1,
        "it stays alone: {status}"
    );
    ensure!(record()?["done"] == serde_json::json!([0, 1]));
    drop(cluster.network);
    Ok(())
}

#[test]
fn a_fourth_node_is_a_spare_and_votes_when_a_voter_dies() -> Result<()> {
    let cluster = Cluster::prepared("spare", 4, 0)?;
    for node in &cluster.nodes {
        node.configure("datastore-standbys: 0\n")?;
    }
    let cluster = Cluster::started(cluster)?;
    cluster.voters(0, 3, true)?;
    // Whoever came first when a voter was needed.
    let spare = |by: usize| {
        wait::until("a spare", PATIENCE, || {
            let status = cluster.status(by)?;
            let all = status["high-availability"]["nodes"].as_array().cloned().unwrap_or_default();
            let is = |node: &Value| node["role"] == "spare" && node["alive"] == true;
            all.iter().position(is).with_context(|| status.to_string())
        })
        .with_context(|| cluster.logs())
    };
    let serves = |n: usize, what: &str| -> Result<()> {
        cluster.nodes[n].kubectl(&format!("create configmap {what}-through-{n}"))?;
        for (by, node) in cluster.nodes.iter().enumerate() {
            ensure!(has(node, &format!("{what}-through-{n}")), "{what} through {n} is not read at {by}");
        }
        Ok(())
    };
    let first = spare(0)?;
    let other = (first + 1) % 4;
    let address = |n: usize| format!("10.78.0.{}:19001", n + 1);
    let pretty = cluster.nodes[first].run("status")?;
    ensure!(pretty.contains("high-availability: yes"), "{pretty}");
    ensure!(pretty.contains(&format!("datastore spare nodes: {}\n", address(first))), "{pretty}");
    for n in 0..4 {
        serves(n, "first")?;
    }
    // Its death is nobody's loss, and it comes back as what it was, with what it has missed.
    cluster.kill(first)?;
    cluster.nodes[other].kubectl("create configmap missed")?;
    let pretty = cluster.nodes[other].run("status")?;
    let told = format!("{} (node-{}, spare)", address(first), first + 1);
    ensure!(pretty.contains("high-availability: yes") && pretty.contains(&told), "{pretty}");
    cluster.start(first)?;
    ensure!(has(&cluster.nodes[first], "missed"), "it has caught up");
    ensure!(spare(first)? == first, "it is what it was");
    let leader = cluster.leader(first)?;
    let begin = Instant::now();
    cluster.kill(leader)?;
    cluster.voters(first, 3, true)?;
    eprintln!("three voters {:?} after the leader's death", begin.elapsed());
    cluster.nodes[first].kubectl("create configmap as-a-voter")?;
    cluster.start(leader)?;
    ensure!(spare(first)? == leader, "the other one has its place");
    for n in 0..4 {
        serves(n, "second")?;
    }
    // What a spare has is enough for a backup, and to leave.
    let backup = cluster.nodes[leader].data_dir().join("of-a-spare");
    cluster.nodes[leader].run(&format!("datastore backup {}", backup.display()))?;
    ensure!(backup.metadata()?.len() > 0, "it is empty");
    cluster.nodes[leader].run("leave")?;
    cluster.voters(first, 3, true)?;
    Ok(())
}

#[test]
fn what_cannot_join_is_told_why_and_stays_what_it_was() -> Result<()> {
    let cluster = Cluster::of_strangers("door", 2)?;
    let (first, second) = (&cluster.nodes[0], &cluster.nodes[1]);
    let line = first.run("add-node --format token-check")?;
    let (token, check) = line.trim().split_once('/').context("TOKEN/CHECK")?;
    let place = "10.78.0.1:6443";
    let zeros = "0".repeat(32);
    for (target, told) in [
        (format!("{place}/{token}"), "the CHECK behind the token is missing"),
        (format!("{place}/{token}/{zeros}"), "not the cluster that the CHECK speaks of"),
        (format!("{place}/{zeros}/{check}"), "the token is not known"),
        (format!("10.78.0.1:7/{token}/{check}"), "is the cluster running"),
        (format!("{place}/{token}/{check} -- --node-name node-1"), "has a node named node-1 already"),
        (format!("{place}/{token}/{check} -- --node-name node-2 --datastore-port 6443"), "cannot listen on"),
    ] {
        let error = second.run_fails(&format!("join {target}"))?;
        ensure!(error.contains(told), "{target}: {error}");
        ensure!(has(second, "own-2"), "{target}");
    }
    // The same machine, and what runs there already.
    let (own, other) = (second.data_dir(), second.data_dir().with_file_name("other"));
    for (flags, told) in [
        (format!("--data-dir {}", other.display()), "port 6443 is taken by another program"),
        (format!("--data-dir {} --https-listen-port 7443", own.display()), "another knarr server"),
    ] {
        let error = second.run_fails(&format!("server {flags}"))?;
        ensure!(error.contains(told) && error.contains("stop"), "{flags}: {error}");
    }
    first.run(&format!("token revoke {token}"))?;
    let error = second.run_fails(&format!("join {place}/{token}/{check}"))?;
    ensure!(error.contains("not known"), "{error}");
    let short = first.run("add-node --token-ttl 1 --format short")?;
    let short =
        short.lines().next().context("a line")?.strip_prefix("knarr ").context("a command")?.to_owned();
    wait::until("the token to expire", PATIENCE, || {
        let listed = first.run("token list")?;
        if listed.contains("expired") { Ok(()) } else { bail!("{listed}") }
    })?;
    let error = second.run_fails(&short)?;
    ensure!(error.contains("has expired"), "{error}");
    ensure!(has(second, "own-2"), "the second node is what it was");
    // Nothing of all that has made a cluster of the first node.
    let status = cluster.status(0)?;
    ensure!(status["high-availability"]["nodes"].as_array().map(Vec::len) == Some(1), "{status}");
    cluster.join(1)?;
    ensure!(has(second, "own-1") && !has(second, "own-2"), "and joins in the end");
    let error = second.run_fails(&format!("join {place}/{zeros}/{check}"))?;
    ensure!(error.contains("knarr leave"), "{error}");
    Ok(())
}
