//! SIGKILL at any moment loses no acknowledged write.
//!
//! The test runs itself as a child process that writes and reports every acknowledged key on its standard
//! output, kills it, and looks for the keys.

use crate::fixture::{PODS, manual, object, parse, pod};
use datastore::Datastore;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use storage::{ListOptions, Storage, WatchFrom};

const CHILD: &str = "KNARR_CRASH_TEST_DIRECTORY";
const ROUNDS: u64 = 12;
const WRITERS: u64 = 8;

/// Not a test by itself: what the child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let store = Datastore::open(PathBuf::from(directory), manual()).await.unwrap();
    let round = store.revision();
    let writers = (0..WRITERS).map(|w| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0.. {
                let name = format!("r{round}-w{w}-n{n}");
                let made = store.create(&pod(&name), object(&name, n)).await.unwrap();
                acknowledge(&name, made.revision, n);
                if n % 3 == 1 {
                    let changed =
                        store.update(&pod(&name), made.revision, object(&name, n + 1)).await.unwrap();
                    acknowledge(&name, changed.revision, n + 1);
                }
                if n % 50 == 49 {
                    store.compact(made.revision.saturating_sub(20)).await.unwrap();
                }
            }
        })
    });
    futures::future::join_all(writers).await;
}

/// One line in one write: the parent reads whole lines or none.
fn acknowledge(name: &str, revision: u64, n: u64) {
    let line = format!("\nacknowledged {name} {revision} {n}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_repeated_kills() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datastore");
    let mut acknowledged: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut count = 0;
        // A different number each time, so that the kill meets different moments.
        let enough = 40 + round * 37;
        while let Some(Ok(line)) = lines.next() {
            let words: Vec<_> = line.split(' ').collect();
            if let ["acknowledged", name, revision, n] = words[..] {
                acknowledged.insert(name.to_owned(), (revision.parse().unwrap(), n.parse().unwrap()));
                count += 1;
                if count == enough {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(count >= enough, "round {round}: the child stopped by itself after {count}");

        let store = Datastore::open(&path, manual()).await.unwrap();
        let list = store.list(PODS, ListOptions::default()).await.unwrap();
        let found: BTreeMap<_, _> = list
            .items
            .iter()
            .map(|o| {
                (o.key.rsplit('/').next().unwrap(), (o.revision, parse(&o.value)["n"].as_u64().unwrap()))
            })
            .collect();
        for (name, (revision, n)) in &acknowledged {
            let (found_revision, found_n) = *found.get(&**name).unwrap_or_else(|| panic!("{name} is lost"));
            // An update that was not acknowledged may have happened all the same.
            assert!((found_revision, found_n) >= (*revision, *n), "{name}: {found_revision} < {revision}");
        }
        // The past is as whole as the present.
        let oldest = store.compacted_revision();
        let mut watch = store.watch(PODS, WatchFrom::Revision(oldest)).await.unwrap();
        for revision in oldest.max(1) + 1..=list.revision {
            assert_eq!(crate::fixture::next(&mut watch).await.unwrap().revision, revision);
        }
        store.shutdown().await;
        let check: String = rusqlite::Connection::open(path.join("state.db"))
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
    }
}
