//! A whole node: starting, idling, running pods.

use crate::{Report, cpu_ticks, on_machine, rss_kib, server_pid, spread};
use anyhow::{Result, ensure};
use bytes::Bytes;
use e2e::api::{Api, Connection};
use e2e::node::Node;
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Pods whose way to Running is measured.
const PODS: usize = 20;
/// Pods that idle while memory and CPU are measured, as the bar says.
const IDLE_PODS: usize = 10;
/// How long it idles.
const IDLE: Duration = Duration::from_secs(60);

/// From exec of a control plane to its first `ok`.
pub fn exec_to_readyz() -> Result<Duration> {
    let mut node = Node::prepared_control_plane("bench")?;
    let start = Instant::now();
    node.launch()?;
    poll(&node, "/readyz", |text| text == "ok")?;
    Ok(start.elapsed())
}

/// From exec of a node to its condition Ready.
pub fn exec_to_ready() -> Result<Duration> {
    let mut node = Node::prepared("bench")?;
    let start = Instant::now();
    node.launch()?;
    poll(&node, "/api/v1/nodes/node-1", |text| {
        let node: Value = serde_json::from_str(text).unwrap_or_default();
        condition(&node, "Ready")
    })?;
    Ok(start.elapsed())
}

fn condition(object: &Value, kind: &str) -> bool {
    let all = object.pointer("/status/conditions").and_then(Value::as_array);
    all.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// Asks until the answer is the wanted one. Certificates appear while the server starts.
fn poll(node: &Node, path: &str, wanted: impl Fn(&str) -> bool + Sync) -> Result<()> {
    let start = Instant::now();
    on_machine(node, async {
        while start.elapsed() < Duration::from_secs(60) {
            if let Ok(api) = Api::new(&node.data_dir(), "127.0.0.1:6443")
                && let Ok(mut connection) = api.connect().await
            {
                while let Ok((_, body)) = connection.send(Method::GET, path, Bytes::new()).await {
                    if wanted(&String::from_utf8_lossy(&body)) {
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        anyhow::bail!("{path} did not become what it should\n{}", node.log_tail())
    })
}

/// Pods to Running, then memory and CPU at rest.
pub fn whole(report: &mut Report) -> Result<()> {
    let node = Node::start("bench")?;
    let api = Api::new(&node.data_dir(), "127.0.0.1:6443")?;
    // The image is present after the first pod.
    let times = on_machine(&node, async {
        let mut connection = api.connect().await?;
        create_to_running(&mut connection, "warm").await?;
        let mut times = Vec::new();
        for index in 0..PODS {
            times.push(create_to_running(&mut connection, &format!("pod-{index}")).await?);
        }
        for index in IDLE_PODS..PODS {
            let path = format!("/api/v1/namespaces/default/pods/pod-{index}?gracePeriodSeconds=0");
            connection.must(Method::DELETE, &path, Bytes::new()).await?;
        }
        connection
            .must(Method::DELETE, "/api/v1/namespaces/default/pods/warm?gracePeriodSeconds=0", Bytes::new())
            .await?;
        Ok(times)
    })?;
    report.insert("pod_create_to_running_ms".to_owned(), spread(&times));
    node.eventually("the idle pods alone", || {
        let pods = node.get("pods")?;
        ensure!(
            pods["items"].as_array().map(Vec::len) == Some(IDLE_PODS),
            "{:?} pods",
            pods["items"].as_array().map(Vec::len)
        );
        Ok(())
    })?;
    let pid = server_pid(&node)?;
    let before = cpu_ticks(pid)?;
    std::thread::sleep(IDLE);
    let ticks = cpu_ticks(pid)? - before;
    report.insert("idle_rss_mib".to_owned(), json!(rss_kib(pid)? / 1024));
    // 100 ticks a second (USER_HZ).
    report.insert("idle_cpu_percent_of_a_core".to_owned(), json!(ticks as f64 / IDLE.as_secs_f64()));
    Ok(())
}

async fn create_to_running(connection: &mut Connection, name: &str) -> Result<Duration> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"]}]}});
    let start = Instant::now();
    connection.must(Method::POST, "/api/v1/namespaces/default/pods", Bytes::from(pod.to_string())).await?;
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    loop {
        let body = connection.must(Method::GET, &path, Bytes::new()).await?;
        let pod: Value = serde_json::from_slice(&body)?;
        if pod["status"]["phase"] == "Running" {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < Duration::from_secs(30), "{name} does not run: {}", pod["status"]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
