//! Creates of 1 KiB objects per second for 1, 16 and 64 writers, and their latency.
//!
//! `cargo run -p datastore --example bench [DIRECTORY]`: the directory decides which disk is measured.

use datastore::{Datastore, Options};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{Encoded, Storage};

const SECONDS: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for writers in [1, 16, 64] {
        let path = directory.join(format!("knarr-bench-{}-{writers}", std::process::id()));
        let begin = Instant::now();
        let store = Datastore::open(&path, Options::default()).await?;
        println!("             opened empty in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        let tasks = (0..writers).map(|w| tokio::spawn(write(Arc::clone(&store), w, begin)));
        let mut latencies = Vec::new();
        for task in futures::future::join_all(tasks).await {
            latencies.extend(task?);
        }
        let elapsed = begin.elapsed().as_secs_f64();
        latencies.sort();
        let at = |part: f64| {
            latencies.get((latencies.len() as f64 * part) as usize).map_or(0.0, |l| l.as_secs_f64() * 1e3)
        };
        let statistics = store.statistics();
        println!(
            "{writers:3} writers: {:8.0} creates/s  p50 {:6.2} ms  p99 {:6.2} ms  {:5.1} commands/entry",
            latencies.len() as f64 / elapsed,
            at(0.5),
            at(0.99),
            statistics.commands as f64 / statistics.entries.max(1) as f64,
        );
        store.shutdown().await;
        let begin = Instant::now();
        let store = Datastore::open(&path, Options::default()).await?;
        let count = store.count("/registry/").await?;
        println!("             {count} objects opened in {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
        store.shutdown().await;
        std::fs::remove_dir_all(&path)?;
    }
    Ok(())
}

async fn write(store: Arc<Datastore>, writer: usize, begin: Instant) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let data = "x".repeat(900);
    while begin.elapsed() < SECONDS {
        let name = format!("w{writer}-{}", latencies.len());
        let object = json!({"apiVersion": "v1", "data": {"a": data}, "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default"}});
        let Ok(encoded) = Encoded::new(&object) else { break };
        let started = Instant::now();
        if let Err(error) = store.create(&format!("/registry/core/configmaps/default/{name}"), encoded).await
        {
            eprintln!("{error}");
            break;
        }
        latencies.push(started.elapsed());
    }
    latencies
}
