//! Three nodes in one process, on one disk: creates of 1 KiB objects per second, and how long writes pause when the
//! leader dies or hands over. With a number of writers, only what those create.
//!
//! `cargo run --release -p datastore --example cluster [DIRECTORY [WRITERS]]`

use datastore::raft::{Change, Cluster, ClusterOptions, Goal, Member, Role, Switchboard, Ticket, Timing};
use datastore::{Datastore, Options};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{Encoded, Storage, StorageError};

type Failure = Box<dyn std::error::Error>;

const SECONDS: Duration = Duration::from_secs(3);
const FAILURES: usize = 15;

struct Nodes {
    board: Switchboard,
    root: PathBuf,
    stores: Vec<(String, Arc<Datastore>)>,
}

impl Nodes {
    async fn open(&self, name: &str, ticket: Option<Ticket>) -> Result<Arc<Datastore>, Failure> {
        let cluster = ClusterOptions {
            member: member(name),
            transport: self.board.transport(name),
            timing: Timing::default(),
            goal: Goal::default(),
            ticket,
        };
        let options = Options { cluster: Some(cluster), ..Options::default() };
        loop {
            match Datastore::open(self.root.join(name), options.clone()).await {
                Ok(store) => return Ok(store),
                Err(datastore::OpenError::Locked { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn start(root: &Path) -> Result<Self, Failure> {
        let mut nodes = Self { board: Switchboard::default(), root: root.to_owned(), stores: Vec::new() };
        let first = nodes.open("n1", None).await?;
        let cluster = first.cluster().await?;
        nodes.board.attach("n1", &cluster);
        nodes.stores.push(("n1".into(), first));
        for name in ["n2", "n3"] {
            let id = cluster.change(Change::Add(member(name))).await?;
            let store = nodes.open(name, Some(cluster.ticket(id))).await?;
            nodes.board.attach(name, &store.cluster().await?);
            nodes.stores.push((name.into(), store));
        }
        while cluster.members().values().filter(|(_, role)| *role == Role::Voter).count() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(nodes)
    }

    /// Commands and entries that the first node has applied.
    fn counts(&self) -> (u64, u64) {
        let statistics = self.stores.first().map(|(_, store)| store.statistics());
        statistics.map_or((0, 0), |found| (found.commands, found.entries))
    }

    async fn stop(self) -> Result<(), Failure> {
        for (_, store) in &self.stores {
            store.shutdown().await;
        }
        std::fs::remove_dir_all(&self.root)?;
        Ok(())
    }

    async fn leader(&self) -> Result<(usize, Arc<Cluster>), Failure> {
        loop {
            for (at, (_, store)) in self.stores.iter().enumerate() {
                let cluster = store.cluster().await?;
                if cluster.is_leader() && cluster.barrier().await.is_ok() {
                    return Ok((at, cluster));
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn member(name: &str) -> Member {
    Member { name: name.into(), address: name.into(), failure_domain: String::new() }
}

fn object(name: &str) -> Result<Encoded, StorageError> {
    Encoded::new(&json!({"apiVersion": "v1", "data": {"a": "x".repeat(900)}, "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"}}))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let root = directory.join(format!("knarr-cluster-{}", std::process::id()));
    let mut nodes = Nodes::start(&root).await?;
    let only: Option<usize> = std::env::args().nth(2).and_then(|writers| writers.parse().ok());
    for writers in only.map_or_else(|| vec![1, 16, 64], |writers| vec![writers]) {
        let before = nodes.counts();
        let begin = Instant::now();
        let tasks = (0..writers).filter_map(|w| {
            let (_, store) = nodes.stores.get(w % nodes.stores.len())?;
            Some(tokio::spawn(write(Arc::clone(store), format!("r{writers}-w{w}"), begin)))
        });
        let mut latencies: Vec<Duration> = Vec::new();
        for task in futures::future::join_all(tasks).await {
            latencies.extend(task?);
        }
        let elapsed = begin.elapsed().as_secs_f64();
        latencies.sort();
        let at =
            |part: usize| latencies.get(latencies.len() * part / 100).map_or(0.0, |l| l.as_secs_f64() * 1e3);
        let (commands, entries) = nodes.counts();
        println!(
            "3 nodes {writers:3} writers: {:8.0} creates/s  p50 {:6.2} ms  p99 {:6.2} ms  {:5.1} commands/entry",
            latencies.len() as f64 / elapsed,
            at(50),
            at(99),
            (commands - before.0) as f64 / (entries - before.1).max(1) as f64,
        );
    }
    if only.is_some() {
        return nodes.stop().await;
    }
    for clean in [true, false] {
        let mut pauses = Vec::new();
        for round in 0..FAILURES {
            pauses.push(pause(&mut nodes, clean, round).await?);
        }
        pauses.sort();
        let at =
            |part: usize| pauses.get((pauses.len() - 1) * part / 100).map_or(0.0, |p| p.as_secs_f64() * 1e3);
        let what = if clean { "handed over" } else { "killed" };
        println!("leader {what}: next write after p50 {:.0} ms, max {:.0} ms", at(50), at(100));
    }
    nodes.stop().await
}

async fn write(store: Arc<Datastore>, prefix: String, begin: Instant) -> Vec<Duration> {
    let mut latencies = Vec::new();
    while begin.elapsed() < SECONDS {
        let name = format!("{prefix}-{}", latencies.len());
        let Ok(encoded) = object(&name) else { break };
        let started = Instant::now();
        match store.create(&format!("/registry/core/configmaps/default/{name}"), encoded).await {
            Ok(_) => latencies.push(started.elapsed()),
            Err(error) => {
                eprintln!("{error}");
                break;
            }
        }
    }
    latencies
}

/// Takes the leader away and measures until another node has written.
async fn pause(nodes: &mut Nodes, clean: bool, round: usize) -> Result<Duration, Failure> {
    let (at, cluster) = nodes.leader().await?;
    let name = format!("f{clean}-{round}");
    let (key, object) = (format!("/registry/core/configmaps/default/{name}"), object(&name)?);
    let begin = Instant::now();
    if clean {
        cluster.hand_over().await;
        let (_, store) = nodes.stores.first().ok_or("no node is left")?;
        store.create(&key, object).await?;
        return Ok(begin.elapsed());
    }
    drop(cluster);
    let (name, store) = nodes.stores.remove(at);
    nodes.board.detach(&name);
    drop(store);
    let (_, other) = nodes.stores.first().ok_or("no node is left")?;
    other.create(&key, object).await?;
    let pause = begin.elapsed();
    let store = nodes.open(&name, None).await?;
    let cluster = store.cluster().await?;
    nodes.board.attach(&name, &cluster);
    cluster.barrier().await?;
    nodes.stores.push((name, store));
    Ok(pause)
}
