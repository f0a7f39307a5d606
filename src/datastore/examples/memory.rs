//! Memory of a full store, of 1,000 watches, and the time until the last of them has an event.
//!
//! `cargo run -p datastore --example memory [DIRECTORY]`

use datastore::{Datastore, Options};
use futures::StreamExt;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use storage::{Encoded, Storage, WatchFrom};

const CONFIG_MAPS: usize = 27_600;
const PODS: usize = 9_200;
const WATCHES: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = directory.join(format!("knarr-memory-{}", std::process::id()));
    let store = Datastore::open(&path, Options::default()).await?;
    println!("empty: {:.1} MiB", resident()?);
    for (resource, count, size) in [("configmaps", CONFIG_MAPS, 900), ("pods", PODS, 6600)] {
        fill(&store, resource, count, size).await?;
        println!("with {count} {resource}: {:.1} MiB", resident()?);
    }
    store.shutdown().await;
    drop(store);
    let begin = Instant::now();
    let store = Datastore::open(&path, Options::default()).await?;
    println!("opened again in {:.0} ms: {:.1} MiB", begin.elapsed().as_secs_f64() * 1e3, resident()?);

    let before = resident()?;
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        let mut watch = store.watch("/registry/core/configmaps/", WatchFrom::Now).await?;
        watches.push(tokio::spawn(async move { watch.next().await.map(|_| Instant::now()) }));
    }
    println!("{WATCHES} watches add {:.1} MiB", resident()? - before);
    fill(&store, "configmaps", 1, 901).await?;
    let written = Instant::now();
    let mut last = written;
    for watch in watches {
        last = last.max(watch.await?.unwrap_or(written));
    }
    println!("the last has its event {:.2} ms after the write", (last - written).as_secs_f64() * 1e3);
    store.shutdown().await;
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

async fn fill(
    store: &Arc<Datastore>,
    resource: &str,
    count: usize,
    size: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let data = "x".repeat(size);
    let writes = (0..count).map(|n| {
        let store = Arc::clone(store);
        let name = format!("object-{size}-{n:06}");
        let object = json!({"data": {"a": data},
            "metadata": {"labels": {"app": "bench", "n": n.to_string()}, "name": name, "namespace": "default"}});
        let key = format!("/registry/core/{resource}/default/{name}");
        async move { store.create(&key, Encoded::new(&object)?).await }
    });
    let mut writes = futures::stream::iter(writes).buffer_unordered(64);
    while let Some(made) = writes.next().await {
        made?;
    }
    Ok(())
}

/// Resident memory of this process in MiB.
fn resident() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
