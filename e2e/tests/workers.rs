//! Whole nodes join by command: a worker, which then runs a pod, leaves and is forgotten.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, bail, ensure};
use e2e::network::Network;
use e2e::node::Node;
use serde_json::json;
use std::time::Instant;

#[test]
fn a_worker_joins_runs_a_pod_and_leaves() -> Result<()> {
    let network = Network::new("workers", &["10.77.0.0"])?;
    let mut server = Node::on(network.machine("first", "10.77.0.2")?, "first")?;
    let mut worker = Node::worker_on(network.machine("worker", "10.77.0.3")?, "worker")?;
    server.launch()?;
    server.wait_ready()?;
    let line = server.run("add-node --format short")?;
    let line =
        line.lines().next().context("no line")?.strip_prefix("knarr ").context("a command")?.to_owned();
    let registries = worker.data_dir().with_file_name("registries.yaml");
    let begin = Instant::now();
    let told = worker
        .run(&format!("{line} --worker -- --node-name worker --private-registry {}", registries.display()))?;
    eprintln!("joined within {:?}", begin.elapsed());
    ensure!(told.contains("Successfully joined the cluster."), "{told}");
    server.kubectl("wait --for=condition=Ready node/worker --timeout=1s")?;
    let error = worker.run_fails(&format!("{line} --worker"))?;
    ensure!(error.contains("knarr leave"), "{error}");
    server.apply(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"nodeName": "worker", "containers": [{"name": "web", "image": "nginx"}]}})
        .to_string(),
    )?;
    server.eventually("a pod on the worker", || {
        server.kubectl("wait --for=condition=Ready pod/web --timeout=1s").map(drop)
    })?;
    let told = worker.run("leave")?;
    ensure!(told.contains("knarr remove-node worker"), "{told}");
    server.run("remove-node worker")?;
    server.eventually("the node to be gone", || {
        let nodes = server.kubectl("get nodes -o name")?;
        if nodes.contains("worker") { bail!("{nodes}") } else { Ok(()) }
    })?;
    let told = server.run_fails("remove-node worker")?;
    ensure!(told.contains("there is no node worker"), "{told}");

    // It has started anew, alone.
    worker.run("stop")?;

    // As k3s' agents do it: the token is a flag, and joining a part of the start.
    let token = server.run("add-node --format token-check")?.trim().to_owned();
    let check = token.split_once('/').context("TOKEN/CHECK")?.1;
    let place = "--server https://10.77.0.2:6443";
    for (flags, told) in [
        (format!("--token {token}"), "--token needs --server"),
        (format!("{place} --token {}/{check}", "0".repeat(32)), "the token is not known"),
        (place.to_owned(), "knarr add-node"),
    ] {
        let error = worker.run_fails(&format!("agent {flags}"))?;
        ensure!(error.contains(told), "{flags}: {error}");
    }
    for flag in ["--server", "https://10.77.0.2:6443", "--token", &token] {
        worker.flag(flag);
    }
    worker.launch()?;
    server.eventually("the worker to be Ready again", || {
        server
            .kubectl("wait --for=condition=Ready node/worker --timeout=5s")
            .with_context(|| worker.log_tail())
    })?;
    let listed = server.run("token list")?;
    ensure!(!listed.contains("worker"), "the cluster does not know that it has joined: {listed}");
    drop((worker, server, network));
    Ok(())
}
