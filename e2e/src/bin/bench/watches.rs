//! A thousand watchers, each on a connection of its own: their memory, and how long one event takes to the last.

use crate::{Report, on_machine, rss_kib, server_pid, spread};
use anyhow::{Context, Result};
use bytes::Bytes;
use e2e::api::{Api, Stream};
use e2e::node::Node;
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Watchers.
const WATCHERS: usize = 1_000;
/// Events whose way is measured.
const EVENTS: usize = 10;

/// Opens them, then sends events.
pub fn measure(node: &Node, api: &Api, report: &mut Report) -> Result<()> {
    let pid = server_pid(node)?;
    let before = rss_kib(pid)?;
    let (times, after) = on_machine(node, async {
        let mut writer = api.connect().await?;
        let namespace = json!({"metadata": {"name": "watched"}}).to_string();
        writer.must(Method::POST, "/api/v1/namespaces", Bytes::from(namespace)).await?;
        let path = "/api/v1/namespaces/watched/configmaps";
        // What the controllers write into every namespace must be there before.
        while !writer
            .send(Method::GET, &format!("{path}/kube-root-ca.crt"), Bytes::new())
            .await?
            .0
            .is_success()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let list: Value = serde_json::from_slice(&writer.must(Method::GET, path, Bytes::new()).await?)?;
        let from = list["metadata"]["resourceVersion"].as_str().context("a version")?;
        let mut streams: Vec<Stream> = Vec::new();
        for _ in 0..WATCHERS {
            streams
                .push(api.connect().await?.stream(&format!("{path}?watch=1&resourceVersion={from}")).await?);
        }
        let after = rss_kib(pid)?;
        let mut times = Vec::new();
        for index in 0..EVENTS {
            let map = json!({"metadata": {"name": format!("e-{index}")}, "data": {"k": "x".repeat(1024)}});
            let start = Instant::now();
            writer.must(Method::POST, path, Bytes::from(map.to_string())).await?;
            for stream in &mut streams {
                stream.line().await.context("an event")?;
            }
            times.push(start.elapsed());
        }
        Ok((times, after))
    })?;
    report.insert("rss_of_1000_watches_mib".to_owned(), json!(after.saturating_sub(before) / 1024));
    report.insert("event_to_1000_watchers_ms".to_owned(), spread(&times));
    Ok(())
}
