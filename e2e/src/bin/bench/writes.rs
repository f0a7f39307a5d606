//! Creates: how many a second, and how long the slowest take.

use crate::{Report, on_machine, percentile};
use anyhow::Result;
use bytes::Bytes;
use e2e::api::Api;
use e2e::node::Node;
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long each number of writers writes.
const WRITING: Duration = Duration::from_secs(5);

/// ConfigMaps of 1 KiB by 1, 16 and 64 writers, pods by 16.
pub fn measure(node: &Node, api: &Api, report: &mut Report) -> Result<()> {
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"},
        "data": {"k": "x".repeat(1024)}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "busybox"}]}});
    for (resource, body, writers) in [
        ("configmaps", &config_map, 1),
        ("configmaps", &config_map, 16),
        ("configmaps", &config_map, 64),
        ("pods", &pod, 16),
    ] {
        let path = format!("/api/v1/namespaces/default/{resource}");
        let times = on_machine(node, write(api, &path, Bytes::from(body.to_string()), writers))?;
        let rate = times.len() as f64 / WRITING.as_secs_f64();
        let name = format!("create_{resource}_{writers}_writers");
        report.insert(name, json!({"per_second": rate.round(), "p99_ms": percentile(&times, 99)}));
    }
    Ok(())
}

async fn write(api: &Api, path: &str, body: Bytes, writers: usize) -> Result<Vec<Duration>> {
    let mut connections = Vec::new();
    for _ in 0..writers {
        connections.push(api.connect().await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (body, path) = (body.clone(), path.to_owned());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < WRITING {
                    let sent = Instant::now();
                    connection.must(Method::POST, &path, body.clone()).await?;
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
