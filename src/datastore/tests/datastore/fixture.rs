//! What the tests share.

use datastore::{Datastore, Options};
use futures::StreamExt;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::{Encoded, Event, StorageError, Watch, WatchItem};
use tempfile::TempDir;

pub(crate) const PODS: &str = "/registry/core/pods/";

pub(crate) struct Fixture {
    pub(crate) store: Arc<Datastore>,
    pub(crate) dir: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Datastore::open(dir.path().join("datastore"), manual()).await.unwrap();
        Self { store, dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("datastore")
    }

    /// Closes the store and opens it again.
    pub(crate) async fn reopen(self) -> Self {
        self.store.shutdown().await;
        let Self { store, dir } = self;
        drop(store);
        let store = Datastore::open(dir.path().join("datastore"), manual()).await.unwrap();
        Self { store, dir }
    }
}

/// Options with no compaction but the tests' own.
pub(crate) fn manual() -> Options {
    Options { compaction_interval: None, ..Options::default() }
}

pub(crate) fn pod(name: &str) -> String {
    format!("{PODS}default/{name}")
}

pub(crate) fn object(name: &str, n: u64) -> Encoded {
    let labels = json!({"parity": if n.is_multiple_of(2) { "even" } else { "odd" }});
    let value = json!({"kind": "Pod", "metadata": {"labels": labels, "name": name}, "n": n});
    Encoded::new(&value).unwrap()
}

pub(crate) fn parse(value: &[u8]) -> Value {
    serde_json::from_slice(value).unwrap()
}

/// The next event, which has to come within a generous time.
pub(crate) async fn next(watch: &mut Watch) -> Result<Arc<Event>, StorageError> {
    loop {
        let item = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
        match item.expect("no event came").expect("the watch ended")? {
            WatchItem::Event(event) => return Ok(event),
            WatchItem::Progress(_) => {}
        }
    }
}
