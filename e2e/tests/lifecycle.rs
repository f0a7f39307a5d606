//! Item 1 of a person's evening: knarr's own commands, restarts, address changes.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::machine::text_of;
use e2e::node::Node;
use e2e::traces;
use nix::sys::signal::Signal;

fn knarr(node: &Node, arguments: &str) -> Result<String> {
    let output = node.knarr().args(arguments.split_whitespace()).output()?;
    text_of(&format!("knarr {arguments}"), output)
}

#[test]
fn knarr_is_started_stopped_and_reset() -> Result<()> {
    let mut node = Node::prepared("life")?;
    let before = traces::of(&node)?;
    node.launch()?;
    node.wait_ready()?;
    let status = knarr(&node, "status --wait-ready --timeout 60")?;
    ensure!(status.starts_with("knarr is running"), "{status}");
    node.eventually("the dns add-on", || {
        ensure!(knarr(&node, "status --addon dns")?.trim() == "enabled");
        node.kubectl("rollout status deployment/knarr-dns -n kube-system --timeout=1s")?;
        Ok(())
    })?;
    ensure!(knarr(&node, "version")?.starts_with("Knarr v"));
    ensure!(knarr(&node, "config")?.contains(&format!("server: https://{}:6443", node.machine.address)));
    ensure!(knarr(&node, "config -l")?.contains("server: https://127.0.0.1:6443"));
    ensure!(knarr(&node, "kubectl get nodes -o wide")?.contains("node-1"));

    restart_leaves_pods_running(&mut node)?;
    addons(&node)?;
    address_change(&node)?;
    stop_start_reset(&mut node)?;
    reset_leaves_nothing(&node, &before)
}

fn started_at(node: &Node) -> Result<String> {
    let pod = node.get("pod stays")?;
    let status = &pod["status"]["containerStatuses"][0];
    ensure!(status["restartCount"] == 0, "{status}");
    Ok(status["state"]["running"]["startedAt"].as_str().context("it runs")?.to_owned())
}

fn restart_leaves_pods_running(node: &mut Node) -> Result<()> {
    node.kubectl("run stays --image=nginx")?;
    node.kubectl("wait --for=condition=Ready pod/stays --timeout=60s")?;
    let before = started_at(node)?;
    let ip = node.get("pod stays")?["status"]["podIP"].as_str().context("an address")?.to_owned();
    node.terminate()?;
    ensure!(node.machine.shell(&format!("curl -sf --max-time 2 http://{ip}/"))?.contains("stays"));
    node.launch()?;
    node.wait_ready()?;
    ensure!(started_at(node)? == before);
    // The same after a power cut of the process.
    node.kill()?;
    ensure!(node.machine.shell(&format!("curl -sf --max-time 2 http://{ip}/"))?.contains("stays"));
    node.launch()?;
    node.wait_ready()?;
    ensure!(started_at(node)? == before);
    ensure!(node.kubectl("exec stays -- true").is_ok());
    Ok(())
}

fn addons(node: &Node) -> Result<()> {
    knarr(node, "disable dns")?;
    ensure!(knarr(node, "status --addon dns")?.trim() == "disabled");
    node.eventually("the add-on's objects to go", || {
        ensure!(node.kubectl("get deployment knarr-dns -n kube-system").is_err());
        Ok(())
    })?;
    knarr(node, "disable dns")?;
    let enabled = knarr(node, "enable dns")?;
    ensure!(enabled.contains("dns"), "{enabled}");
    ensure!(knarr(node, "status --addon dns")?.trim() == "enabled");
    node.kubectl("rollout status deployment/knarr-dns -n kube-system --timeout=60s")?;
    let unknown = knarr(node, "enable nonsense").unwrap_err().to_string();
    ensure!(unknown.contains("Addon nonsense was not found in any repository"), "{unknown}");
    Ok(())
}

/// The serving certificate follows the node's addresses with no restart of anything.
fn address_change(node: &Node) -> Result<()> {
    let before = started_at(node)?;
    let authority = node.data_dir().join("ca.crt");
    let config: serde_json::Value = serde_json::from_str(&node.kubectl("config view --raw -o json")?)?;
    let data = config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().context("a CA")?;
    let decoded = node.machine.shell(&format!("echo {data} | base64 -d"))?;
    std::fs::write(&authority, decoded)?;
    let new = "10.77.0.99";
    node.machine.ip(&format!("address add {new}/24 dev eth0"))?;
    let start = std::time::Instant::now();
    node.eventually("a certificate for the new address", || {
        node.machine.shell(&format!("curl -sf --cacert {} https://{new}:6443/readyz", authority.display()))
    })?;
    ensure!(start.elapsed().as_secs() < 30, "it took {:?}", start.elapsed());
    ensure!(started_at(node)? == before, "no pod was touched");
    Ok(())
}

fn stop_start_reset(node: &mut Node) -> Result<()> {
    // How far it is, in plain lines in a pipe.
    let told = knarr(node, "stop")?;
    let steps = ["Stopping the server", "Stopping all pods", "Stopping the container runtime"];
    ensure!(steps.iter().all(|step| told.lines().any(|line| line == *step)), "{told}");
    ensure!(told.ends_with("Stopped.\n") && !told.contains('\x1b'), "{told:?}");
    let status = knarr(node, "status").unwrap_err().to_string();
    ensure!(status.contains("knarr is not running"), "{status}");
    let left = node.machine.shell("ip -o link | grep -c knarr || true")?;
    ensure!(left.trim() == "0", "{left} links of pods are left");
    node.launch()?;
    node.wait_ready()?;
    // What was there before the stop is there again.
    node.eventually("the pod to run again", || {
        node.kubectl("wait --for=condition=Ready pod/stays --timeout=1s")
    })?;
    knarr(node, "reset")?;
    node.wait_ready_again()?;
    ensure!(node.kubectl("get pods").is_ok_and(|text| !text.contains("stays")));
    Ok(())
}

/// A node that was stopped and reset is a machine as before, but for its keys.
fn reset_leaves_nothing(node: &Node, before: &str) -> Result<()> {
    let cgroup = node.eventually("a pod", || traces::cgroup_of_pods(node))?;
    // The address that it got meanwhile is the test's.
    node.machine.ip("address del 10.77.0.99/24 dev eth0")?;
    // Pods that nobody looks after any more are stopped, too.
    node.end(Signal::SIGKILL)?;
    let containerd = format!("^/usr/bin/containerd --config {}/", node.data_dir().display());
    node.machine.shell(&format!("pkill -KILL -f '{containerd}'"))?;
    knarr(node, "stop")?;
    knarr(node, "reset --destroy-storage")?;
    let after = traces::of(node)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    traces::cgroup_is_gone(node, &cgroup)?;
    let mut left: Vec<_> = std::fs::read_dir(node.data_dir())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    left.sort();
    let keys = ["admin.kubeconfig", "pki", "server.json"];
    let nothing = ["ca.crt", "cni", "knarr.log", "knarr.pid", "knarr.sock", "server"];
    ensure!(
        left.iter().all(|name| keys.contains(&name.as_str()) || nothing.contains(&name.as_str())),
        "{left:?}"
    );
    ensure!(keys.iter().all(|key| left.iter().any(|name| name == key)), "{left:?}");
    Ok(())
}
