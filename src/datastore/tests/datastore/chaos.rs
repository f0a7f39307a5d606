//! Random faults while clients work. `KNARR_SEED` chooses the faults, `KNARR_ROUNDS` how many (what the threads do
//! in between is not repeated exactly).

use crate::cluster::{Nodes, timing, until};
use crate::fixture::{object, parse, pod};
use datastore::Datastore;
use datastore::raft::Timing;
use futures::StreamExt;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use storage::{EventKind, Storage, StorageError, WatchFrom, WatchItem};

/// Writes that have to be acknowledged while a fault lasts, and after it.
const PROGRESS: u64 = 12;

#[derive(Default)]
struct History {
    /// Values that somebody was told to have written. No two are the same: each was one more than what was read.
    written: Mutex<BTreeSet<u64>>,
    /// The newest revision that somebody was told of.
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    done: AtomicBool,
    /// Whether the last write has its answer.
    counted: AtomicBool,
}

/// The nodes' stores by place; None while one is dead.
type Stores = Arc<Mutex<Vec<Option<Arc<Datastore>>>>>;

fn store(stores: &Stores, at: usize) -> Option<Arc<Datastore>> {
    stores.lock()[at].clone()
}

/// Counts up through one node, each step on condition of what was read.
async fn count(stores: Stores, at: usize, history: Arc<History>) {
    while !history.done.load(Ordering::Acquire) {
        let Some(store) = store(&stores, at) else {
            tokio::task::yield_now().await;
            continue;
        };
        let before = history.acknowledged.load(Ordering::Acquire);
        let Ok(read) = store.get(&pod("counter")).await else { continue };
        let read = read.expect("the counter is gone");
        assert!(read.revision >= before, "stale: {} was acknowledged, {} is read", before, read.revision);
        let next = parse(&read.value)["n"].as_u64().unwrap() + 1;
        match store.update(&pod("counter"), read.revision, object("counter", next)).await {
            Ok(made) => {
                assert!(history.written.lock().insert(next), "{next} was written twice");
                history.acknowledged.fetch_max(made.revision, Ordering::AcqRel);
            }
            Err(StorageError::Unknown { .. }) => _ = history.unknown.fetch_add(1, Ordering::Relaxed),
            Err(StorageError::Conflict { .. } | StorageError::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Sees every step, in order, whatever happens to the node.
async fn watch(stores: Stores, at: usize, history: Arc<History>, from: u64, n: u64) -> u64 {
    let (mut seen, mut value) = (from, n);
    let complete = |value| {
        history.counted.load(Ordering::Acquire)
            && history.written.lock().last().is_some_and(|last| value >= *last)
    };
    while !complete(value) {
        let Some(store) = store(&stores, at) else {
            tokio::task::yield_now().await;
            continue;
        };
        let Ok(watch) = store.watch(&pod("counter"), WatchFrom::Revision(seen)).await else { continue };
        drop(store);
        let mut watch = watch.with_progress(Duration::from_millis(100));
        while let Some(Ok(item)) = watch.next().await {
            if let WatchItem::Event(event) = item {
                let now = parse(&event.object.value)["n"].as_u64().unwrap();
                assert_eq!((event.kind, now), (EventKind::Modified, value + 1), "after revision {seen}");
                assert!(event.revision > seen);
                (seen, value) = (event.revision, now);
            }
            if complete(value) {
                return value;
            }
        }
    }
    value
}

struct Chaos {
    nodes: Nodes,
    stores: Stores,
    history: Arc<History>,
    random: StdRng,
}

impl Chaos {
    async fn progress(&self, what: &str) {
        let begin = self.history.written.lock().len() as u64;
        let wait = until(|| self.history.written.lock().len() as u64 >= begin + PROGRESS);
        tokio::time::timeout(Duration::from_secs(50), wait)
            .await
            .unwrap_or_else(|_| panic!("no progress: {what}"));
    }

    async fn fault(&mut self) {
        let count = self.nodes.nodes.len();
        let at = self.random.random_range(0..count);
        let names: Vec<String> = self.nodes.nodes.iter().map(|node| node.address.clone()).collect();
        let one = names[at].clone();
        let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != one).collect();
        let other = (*others.choose(&mut self.random).unwrap()).to_owned();
        let board = self.nodes.board.clone();
        match self.random.random_range(0..6) {
            0 => {
                board.part(&one, &others, true);
                self.progress("one is cut off").await;
                board.part(&one, &others, false);
            }
            1 => {
                board.cut(&one, &other, true);
                self.progress("one way is cut").await;
                board.cut(&one, &other, false);
            }
            2 => {
                board.silence(&one, &other, true);
                self.progress("one does not answer another").await;
                board.silence(&one, &other, false);
            }
            3 => {
                board.delay(Duration::from_millis(self.random.random_range(1..40)));
                self.progress("the network is slow").await;
                board.delay(Duration::ZERO);
            }
            4 => _ = self.nodes.nodes[at].cluster().hand_over().await,
            _ => {
                let place = one[1..].parse::<usize>().unwrap() - 1;
                self.stores.lock()[place] = None;
                let (dir, address) = self.nodes.kill(at);
                self.progress("one is dead").await;
                self.nodes.start(dir, address).await;
                let store = Arc::clone(&self.nodes.nodes.last().unwrap().store);
                self.stores.lock()[place] = Some(store);
            }
        }
        self.progress("all is well").await;
    }
}

async fn run(seed: u64, rounds: usize) {
    let timing = Timing {
        patience: Duration::from_secs(3),
        roles_every: Some(Duration::from_millis(200)),
        ..timing()
    };
    let nodes = Nodes::new(3, timing).await;
    nodes.voters(3).await;
    let made = nodes.nodes[0].store.create(&pod("counter"), object("counter", 0)).await.unwrap();
    let stores: Stores = Arc::default();
    *stores.lock() = nodes.nodes.iter().map(|node| Some(Arc::clone(&node.store))).collect();
    let history = Arc::new(History::default());
    history.acknowledged.store(made.revision, Ordering::Release);
    let counters: Vec<_> =
        (0..3).map(|at| tokio::spawn(count(Arc::clone(&stores), at, Arc::clone(&history)))).collect();
    let watches: Vec<_> = (0..3)
        .map(|at| tokio::spawn(watch(Arc::clone(&stores), at, Arc::clone(&history), made.revision, 0)))
        .collect();
    let mut chaos = Chaos { nodes, stores, history, random: StdRng::seed_from_u64(seed) };
    for _ in 0..rounds {
        chaos.fault().await;
        assert!(!counters.iter().any(|task| task.is_finished()), "seed {seed}: a client has failed");
        assert!(!watches.iter().any(|task| task.is_finished()), "seed {seed}: a watch has failed");
    }
    chaos.history.done.store(true, Ordering::Release);
    for counter in counters {
        counter.await.unwrap();
    }
    chaos.history.counted.store(true, Ordering::Release);
    let history = &chaos.history;
    let (last, acknowledged) = {
        let written = history.written.lock();
        (*written.last().unwrap(), written.len() as u64)
    };
    for watch in watches {
        assert!(watch.await.unwrap() >= last, "seed {seed}: a watch has not seen everything");
    }
    // Nothing acknowledged is lost, and nothing happened that nobody asked for.
    let mut rows = Vec::new();
    for node in &chaos.nodes.nodes {
        let read = node.store.get(&pod("counter")).await.unwrap().unwrap();
        let n = parse(&read.value)["n"].as_u64().unwrap();
        assert!(n >= last && n <= acknowledged + history.unknown.load(Ordering::Relaxed), "seed {seed}: {n}");
        let connection = rusqlite::Connection::open(node.dir.path().join("state.db")).unwrap();
        let sql = "SELECT group_concat(row || key || create_revision || previous || hex(value)) FROM
            (SELECT * FROM revisions ORDER BY row)";
        rows.push(connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap());
    }
    assert!(rows.iter().all(|other| *other == rows[0]), "seed {seed}: the nodes differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_lose_nothing_and_show_nothing_stale() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("KNARR_SEED").unwrap_or(7);
    run(seed, usize::try_from(number("KNARR_ROUNDS").unwrap_or(10)).unwrap()).await;
}
