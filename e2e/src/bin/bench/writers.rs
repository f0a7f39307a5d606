//! Writers that are spread over several servers, and cost what clients in Rust cost: for comparing a cluster with one
//! node, not with other API servers (that is `wrk`).

use crate::percentile;
use anyhow::Result;
use bytes::Bytes;
use e2e::api::Api;
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long they write.
const WRITING: Duration = Duration::from_secs(5);

/// Creates of ConfigMaps of 1 KiB by so many writers.
pub async fn rate(apis: &[Api], writers: usize) -> Result<Value> {
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"},
        "data": {"k": "x".repeat(1024)}});
    let body = Bytes::from(config_map.to_string());
    let mut connections = Vec::new();
    for api in apis.iter().cycle().take(writers) {
        connections.push(api.connect().await?);
    }
    let start = Instant::now();
    let writing = connections.into_iter().map(|mut connection| {
        let body = body.clone();
        async move {
            let mut times = Vec::new();
            while start.elapsed() < WRITING {
                let sent = Instant::now();
                connection.must(Method::POST, "/api/v1/namespaces/default/configmaps", body.clone()).await?;
                times.push(sent.elapsed());
            }
            anyhow::Ok(times)
        }
    });
    let times = futures::future::try_join_all(writing).await?.concat();
    let rate = times.len() as f64 / WRITING.as_secs_f64();
    Ok(json!({"per_second": rate.round(), "p99_ms": percentile(&times, 99)}))
}
