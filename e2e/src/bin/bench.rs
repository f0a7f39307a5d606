//! Measures a release build (`e2e/bench/run.sh`): JSON on standard output, progress on standard error.

#![allow(clippy::indexing_slicing, reason = "a missing field of an answer reads as null")]

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use e2e::api::{Api, Connection};
use e2e::node::{Node, knarr_bin};
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Starts that are measured; the median and the worst are told.
const STARTS: usize = 5;
/// Pods whose way to Running is measured.
const PODS: usize = 20;
/// Pods that idle while memory and CPU are measured, as the bar says.
const IDLE_PODS: usize = 10;
/// How long it idles.
const IDLE: Duration = Duration::from_secs(60);
/// How long each number of writers writes.
const WRITING: Duration = Duration::from_secs(5);
/// Pods in the long list.
const LISTED: usize = 10_000;
/// Lists that are measured.
const LISTS: usize = 20;

fn main() -> Result<()> {
    let mut report = serde_json::Map::new();
    let size = std::fs::metadata(knarr_bin())?.len();
    report.insert("binary_bytes".to_owned(), json!(size));
    report.insert("fsync_per_second".to_owned(), json!(fsyncs()?));
    eprintln!("starts of the control plane");
    report.insert("exec_to_readyz_ms".to_owned(), spread(&repeat(STARTS, exec_to_readyz)?));
    eprintln!("starts of a node");
    report.insert("exec_to_node_ready_ms".to_owned(), spread(&repeat(STARTS, exec_to_ready)?));
    eprintln!("an idle node");
    whole_node(&mut report)?;
    eprintln!("writes and lists");
    control_plane(&mut report)?;
    println!("{:#}", Value::Object(report));
    Ok(())
}

fn repeat(times: usize, measure: impl Fn() -> Result<Duration>) -> Result<Vec<Duration>> {
    (0..times).map(|_| measure()).collect()
}

/// Median and worst, in milliseconds.
fn spread(all: &[Duration]) -> Value {
    json!({"p50": percentile(all, 50), "worst": percentile(all, 100), "n": all.len()})
}

fn percentile(all: &[Duration], percent: usize) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |d| (d.as_secs_f64() * 1e5).round() / 100.0)
}

/// What the disk does: the limit of writes that are not committed together.
fn fsyncs() -> Result<u64> {
    use std::io::Write as _;
    let mut file = tempfile::tempfile()?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count)
}

fn exec_to_readyz() -> Result<Duration> {
    let mut node = Node::prepared_control_plane("bench")?;
    let start = Instant::now();
    node.launch()?;
    poll(&node, "/readyz", |text| text == "ok")?;
    Ok(start.elapsed())
}

fn exec_to_ready() -> Result<Duration> {
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

/// Runs something within the node's network namespace.
fn on_machine<T: Send>(node: &Node, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            node.machine.enter()?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
        });
        thread.join().unwrap_or_else(|_| anyhow::bail!("the measuring thread ended"))
    })
}

fn whole_node(report: &mut serde_json::Map<String, Value>) -> Result<()> {
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

/// The server's own process: the harness knows that of `nsenter`, which becomes it.
fn server_pid(node: &Node) -> Result<u32> {
    let text = std::fs::read_to_string(node.data_dir().join("knarr.pid"))?;
    Ok(text.trim().parse()?)
}

fn cpu_ticks(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name in brackets: fields 14 and 15 of proc_pid_stat(5) are user and system time.
    let fields: Vec<&str> = text.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
    let field = |at: usize| fields.get(at - 3).context("a field").and_then(|f| Ok(f.parse::<u64>()?));
    Ok(field(14)? + field(15)?)
}

fn rss_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

fn control_plane(report: &mut serde_json::Map<String, Value>) -> Result<()> {
    let node = Node::start_control_plane("bench")?;
    let api = Api::new(&node.data_dir(), "127.0.0.1:6443")?;
    for writers in [1, 16, 64] {
        let times = on_machine(&node, write(&api, writers))?;
        let rate = times.len() as f64 / WRITING.as_secs_f64();
        let name = format!("configmap_creates_{writers}_writers");
        report.insert(name, json!({"per_second": rate.round(), "p99_ms": percentile(&times, 99)}));
    }
    let (times, bytes) = on_machine(&node, list(&api))?;
    let mut listed = spread(&times);
    listed["bytes"] = json!(bytes);
    report.insert("list_10000_pods_ms".to_owned(), listed);
    let pid = server_pid(&node)?;
    report.insert("rss_after_writes_mib".to_owned(), json!(rss_kib(pid)? / 1024));
    Ok(())
}

async fn write(api: &Api, writers: usize) -> Result<Vec<Duration>> {
    let data = "x".repeat(1024);
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"}, "data": {"k": data}});
    let body = Bytes::from(body.to_string());
    let mut connections = Vec::new();
    for _ in 0..writers {
        connections.push(api.connect().await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let body = body.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < WRITING {
                    let sent = Instant::now();
                    connection
                        .must(Method::POST, "/api/v1/namespaces/default/configmaps", body.clone())
                        .await?;
                    times.push(sent.elapsed());
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

async fn list(api: &Api) -> Result<(Vec<Duration>, usize)> {
    // Some 4 KB of annotations bring a pod to the size that pods with managed fields have.
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "p-", "labels": {"app": "bench"}, "annotations": {"note": "x".repeat(4000)}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "busybox"}]}});
    let body = Bytes::from(pod.to_string());
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (mut connection, body) = (api.connect().await?, body.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..LISTED / 16 {
                connection.must(Method::POST, "/api/v1/namespaces/default/pods", body.clone()).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let mut connection = api.connect().await?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..LISTS {
        let start = Instant::now();
        bytes = connection.must(Method::GET, "/api/v1/namespaces/default/pods", Bytes::new()).await?.len();
        times.push(start.elapsed());
    }
    Ok((times, bytes))
}
