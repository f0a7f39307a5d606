//! Clusters of control planes on this one machine: what a loss costs, and what several nodes cost beside one.

use crate::disk::Pulse;
use crate::{ADDRESS, Report, on_machine, rss_kib, spread, writers};
use anyhow::{Context, Result, bail, ensure};
use e2e::api::Api;
use e2e::cluster::Cluster;
use e2e::load::Load;
use e2e::node::{Node, PATIENCE};
use e2e::wait;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Leaders that are killed, and leaders that are stopped, unless `KNARR_KILLS` says otherwise.
const KILLS: usize = 20;
/// Other events that are measured, each so often.
const TIMES: usize = 5;
/// Clients of each node while something happens.
const CLIENTS: usize = 2;
/// Writers of throughput.
const WRITERS: [usize; 2] = [16, 64];
/// A sync that takes longer says that the disk stood still.
const STALL: Duration = Duration::from_millis(50);
/// Rest before memory is looked at.
const REST: Duration = Duration::from_secs(20);

/// Three that are well, and machines for more.
fn three(machines: usize) -> Result<Cluster> {
    let cluster = Cluster::prepared("bench", machines, 0)?;
    cluster.nodes[0].run("start")?;
    cluster.ready(0, 0)?;
    for n in 1..3 {
        cluster.join(n)?;
    }
    cluster.voters(0, 3, true)?;
    Ok(cluster)
}

/// Writes and memory of three nodes, beside those of one.
pub fn shares(report: &mut Report) -> Result<()> {
    alone(report)?;
    together(&three(3)?, report)
}

/// What losses cost.
pub fn measure(report: &mut Report) -> Result<()> {
    let mut cluster = three(4)?;
    let load = load(&cluster)?;
    killed_leaders(&cluster, &load, report)?;
    stopped_leaders(&cluster, &load, report)?;
    acting_again(&cluster, report)?;
    cluster.join(3)?;
    voting_again(&cluster, report)?;
    let history = load.finish()?;
    let told = history.operations.len() + history.lists.len();
    let judged = history.check().map_or_else(|error| format!("{error:#}"), |()| "linearizable".to_owned());
    report.insert("history".to_owned(), json!({"answers": told, "judged": judged}));
    without_quorum(&mut cluster, report)
}

/// What one node does, to compare with.
fn alone(report: &mut Report) -> Result<()> {
    let server = Node::start_control_plane("bench")?;
    std::thread::sleep(REST);
    report.insert("rss_one_node_mib".to_owned(), json!(rss_kib(crate::server_pid(&server)?)? / 1024));
    let api = Api::new(&server.data_dir(), ADDRESS)?;
    for writers in WRITERS {
        let rate = on_machine(&server, writers::rate(std::slice::from_ref(&api), writers))?;
        report.insert(format!("writes_one_node_{writers}_writers"), rate);
    }
    Ok(())
}

/// The same of three, through all of them.
fn together(cluster: &Cluster, report: &mut Report) -> Result<()> {
    std::thread::sleep(REST);
    let leader = cluster.leader(0)?;
    for (name, n) in [("leader", leader), ("follower", (leader + 1) % 3)] {
        report
            .insert(format!("rss_{name}_mib"), json!(rss_kib(crate::server_pid(&cluster.nodes[n])?)? / 1024));
    }
    let api = Api::new(&cluster.nodes[0].data_dir(), ADDRESS)?;
    let apis: Vec<Api> = cluster.api_servers().iter().take(3).map(|server| api.at(server)).collect();
    for writers in WRITERS {
        let rate = cluster.network.router().run(writers::rate(&apis, writers))?;
        report.insert(format!("writes_three_nodes_{writers}_writers"), rate);
    }
    Ok(())
}

fn load(cluster: &Cluster) -> Result<Load> {
    let servers = cluster.api_servers();
    Load::start(
        cluster.network.router(),
        cluster.nodes[0].data_dir(),
        servers.get(..3).context("three")?,
        CLIENTS,
    )
}

/// Whether nodes answer, and vote.
fn whole(cluster: &Cluster, by: usize) -> Result<()> {
    cluster.voters(by, 3, true)
}

fn kills() -> usize {
    std::env::var("KNARR_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS)
}

fn killed_leaders(cluster: &Cluster, load: &Load, report: &mut Report) -> Result<()> {
    let mut gaps = Vec::new();
    for _ in 0..kills() {
        let leader = cluster.leader(0)?;
        let begin = Instant::now();
        cluster.kill(leader)?;
        cluster.leader((leader + 1) % 3)?;
        // The dead one's clients come later: the gap is that of all others.
        gaps.push(gap(load, begin)?);
        cluster.start(leader)?;
        whole(cluster, leader)?;
    }
    report.insert("leader_killed_to_next_write_ms".to_owned(), quantiles(&gaps));
    Ok(())
}

/// The longest time without an acknowledged write, once they go on.
fn gap(load: &Load, begin: Instant) -> Result<Duration> {
    let before = load.writes();
    wait::until("writes", PATIENCE, || {
        if load.writes() > before + 20 { Ok(()) } else { bail!("{} so far", load.writes() - before) }
    })?;
    Ok(load.longest_gap(begin))
}

fn stopped_leaders(cluster: &Cluster, load: &Load, report: &mut Report) -> Result<()> {
    let (mut gaps, mut syncs) = (Vec::new(), Vec::new());
    let disk = Pulse::feel()?;
    for _ in 0..kills() {
        let leader = cluster.leader(0)?;
        disk.longest();
        let begin = Instant::now();
        cluster.stop(leader)?;
        gaps.push(gap(load, begin)?);
        syncs.push(disk.longest());
        cluster.start(leader)?;
        whole(cluster, leader)?;
    }
    let millis = |time| crate::percentile(&[time], 100);
    let mut told = quantiles(&gaps);
    let worst = gaps.iter().zip(&syncs).max_by_key(|(gap, _)| **gap).map(|(_, sync)| millis(*sync));
    told["longest_sync_at_the_worst"] = json!(worst);
    // What a disk that stood still meanwhile is not to blame for.
    let answered = gaps.iter().zip(&syncs).filter(|(_, sync)| **sync < STALL).map(|(gap, _)| *gap);
    told["worst_while_the_disk_answered"] = json!(answered.max().map(millis));
    report.insert("leader_stopped_without_writes_ms".to_owned(), told);
    Ok(())
}

/// From the death of whose controllers act to a pod that others have made and scheduled.
fn acting_again(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "paper"},
        "status": {"allocatable": {"pods": "100", "cpu": "8", "memory": "8Gi"}, "capacity": {"pods": "100"},
                   "conditions": [{"type": "Ready", "status": "True"}]}});
    cluster.nodes[0].kubectl_stdin("create -f -", &node.to_string())?;
    let mut times = Vec::new();
    for n in 0..TIMES {
        let acting = cluster.acting(0)?;
        let other = (acting + 1) % 3;
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": format!("d-{n}")},
            "spec": {"selector": {"matchLabels": {"app": format!("d-{n}")}}, "template": {
                "metadata": {"labels": {"app": format!("d-{n}")}},
                "spec": {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "x"}]}}}});
        let path = "/apis/apps/v1/namespaces/default/deployments";
        let pods = format!("/api/v1/namespaces/default/pods?labelSelector=app%3Dd-{n}");
        let api = Api::new(&cluster.nodes[other].data_dir(), ADDRESS)?;
        let begin = Instant::now();
        cluster.kill(acting)?;
        times.push(on_machine(&cluster.nodes[other], async {
            let mut connection = api.connect().await?;
            connection.must(http::Method::POST, path, deployment.to_string().into()).await?;
            loop {
                let pods = connection.must(http::Method::GET, &pods, bytes::Bytes::new()).await?;
                let pods: Value = serde_json::from_slice(&pods)?;
                if pods["items"][0]["spec"]["nodeName"].is_string() {
                    return Ok(begin.elapsed());
                }
                ensure!(begin.elapsed() < PATIENCE, "nobody acts: {pods}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })?);
        cluster.start(acting)?;
        whole(cluster, acting)?;
    }
    report.insert("controllers_and_scheduler_act_again_ms".to_owned(), spread(&times));
    Ok(())
}

/// From a voter's death to three that answer, of four nodes.
fn voting_again(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let leader = cluster.leader(0)?;
        let status = cluster.status(leader)?;
        let voters = status["high-availability"]["nodes"].as_array().context("nodes")?;
        let victim = voters
            .iter()
            .find(|node| node["role"] == "voter" && node["leader"] != true)
            .context("a follower")?;
        let name = victim["name"].as_str().and_then(|name| name.strip_prefix("node-")).context("a name")?;
        let victim = name.parse::<usize>()? - 1;
        let begin = Instant::now();
        cluster.kill(victim)?;
        // It is counted for as long as it is listed as one that is alive.
        whole(cluster, leader)?;
        times.push(begin.elapsed());
        cluster.start(victim)?;
        wait::until("four nodes", PATIENCE, || {
            let status = cluster.status(leader)?;
            let nodes = status["high-availability"]["nodes"].as_array().cloned().unwrap_or_default();
            if nodes.iter().all(|node| node["alive"] == true) { Ok(()) } else { bail!("{status}") }
        })?;
    }
    report.insert("three_voters_again_ms".to_owned(), spread(&times));
    Ok(())
}

fn without_quorum(cluster: &mut Cluster, report: &mut Report) -> Result<()> {
    let survivor = cluster.leader(0)?;
    for n in (0..cluster.nodes.len()).filter(|n| *n != survivor) {
        cluster.kill(n)?;
    }
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let (quorum, took) = cluster.quorum(survivor)?;
        ensure!(!quorum, "status says that there is a quorum");
        times.push(took);
    }
    report.insert("status_without_quorum_ms".to_owned(), spread(&times));
    Ok(())
}

/// A whole node that ran before, so that its images are there.
pub fn joins(report: &mut Report) -> Result<()> {
    let cluster = Cluster::prepared("bench", 2, 2)?;
    for node in &cluster.nodes {
        node.run("start")?;
    }
    cluster.ready(0, 0)?;
    cluster.ready(1, 1)?;
    let mut times = Vec::new();
    for n in 0..TIMES {
        if n > 0 {
            cluster.nodes[1].run("leave")?;
            cluster.ready(1, 1)?;
        }
        times.push(cluster.join(1)?);
    }
    report.insert("control_plane_joins_ms".to_owned(), spread(&times));
    Ok(())
}

/// p50, p99 and worst, in milliseconds.
fn quantiles(all: &[Duration]) -> Value {
    let mut told = spread(all);
    told["p99"] = json!(crate::percentile(all, 99));
    told
}
