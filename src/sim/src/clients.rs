//! Clients of one node: they write, read, list, watch, compact, and note what they are told.

use crate::history::{Condition, Item, Shared, Told, What};
use crate::ledger::Version;
use crate::{disk, trace};
use datastore::Datastore;
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{
    Author, Encoded, ListOptions, ListRevision, Object, Storage, StorageError, WatchFrom, WatchItem,
};

/// Where most keys are.
pub(crate) const PREFIX: &str = "/registry/core/pods/";

const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// How clients behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// The longest pause between two requests, in milliseconds.
    pub(crate) pause: u64,
    /// Bytes that objects are padded with.
    pub(crate) padding: usize,
    /// Of a thousand requests, how many compact.
    pub(crate) compactions: u32,
}

/// The object that holds a value.
fn object(tag: u64, padding: usize) -> Encoded {
    let value = serde_json::json!({"metadata": {"name": "o"}, "tag": tag, "padding": "x".repeat(padding)});
    Encoded::new(&value).expect("it is an object")
}

/// The value in an object.
pub(crate) fn tag(value: &[u8]) -> u64 {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(value).ok();
    parsed.and_then(|value| value.get("tag")?.as_u64()).unwrap_or(u64::MAX)
}

fn version(object: &Object) -> Version {
    Version { revision: object.revision, create_revision: object.create_revision, tag: tag(&object.value) }
}

pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) store: Weak<Datastore>,
    pub(crate) directory: PathBuf,
    pub(crate) history: Shared,
    pub(crate) habits: Habits,
    pub(crate) random: StdRng,
}

impl Client {
    pub(crate) fn new(
        number: u64,
        seed: u64,
        store: &Arc<Datastore>,
        directory: PathBuf,
        history: Shared,
        habits: Habits,
    ) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { number, store: Arc::downgrade(store), directory, history, habits, random }
    }

    async fn pause(&mut self) {
        let pause = self.random.random_range(0..=self.habits.pause);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// A node that has died in the middle of this moment has told nobody.
    fn heard(&self) -> bool {
        disk::of(&self.directory).is_some_and(|disk| !disk.dead.get())
    }

    fn note(&self, floor: u64, revision: u64, what: What) {
        trace::event(format_args!("client {} floor {floor}: {what:?}", self.number));
        let mut history = self.history.lock();
        history.floor = history.floor.max(revision);
        match what {
            What::Wrote { .. } => history.counts.written += 1,
            What::Read { .. } | What::Listed { .. } => history.counts.read += 1,
            _ => history.counts.refused += 1,
        }
        history.told.push_back(Told { client: self.number, floor, what });
    }

    /// What every request may be told; the value, if there is one, that was to be written.
    fn failed(&self, error: &StorageError, tag: Option<u64>) {
        trace::remark(format_args!("client {}: {error}", self.number));
        trace::event(format_args!("client {}: {:?}", self.number, std::mem::discriminant(error)));
        let mut history = self.history.lock();
        match error {
            StorageError::Unknown { .. } => {
                history.counts.unknown += 1;
                return;
            }
            StorageError::Unavailable { .. } | StorageError::Full { .. } => history.counts.unavailable += 1,
            StorageError::Compacted { .. } | StorageError::FutureRevision { .. } => {
                history.counts.expired += 1;
            }
            other => history.wrong = Some(format!("client {} was told: {other}", self.number)),
        }
        history.not_written(tag);
    }

    /// Sends requests for as long as the node lives.
    pub(crate) async fn run(mut self) {
        loop {
            self.pause().await;
            let Some(store) = self.store.upgrade() else { return };
            let key = format!("{PREFIX}default/{}", KEYS.choose(&mut self.random).expect("there are keys"));
            let compacts = self.random.random_ratio(self.habits.compactions, 1000);
            match self.random.random_range(0..100) {
                _ if compacts => self.compact(&store).await,
                0..20 => self.write(&store, key, Condition::Absent, true).await,
                20..40 => self.write(&store, key, Condition::Present, true).await,
                40..47 => self.write(&store, key, Condition::Present, false).await,
                47..75 => self.read_and_write(&store, key).await,
                75..85 => _ = self.read(&store, &key).await,
                85..92 => self.list(&store, ListRevision::MostRecent).await,
                92..95 => self.list(&store, ListRevision::Any).await,
                _ => {
                    let newest = store.revision();
                    let back = self.random.random_range(0..40);
                    self.list(&store, ListRevision::Exact(newest.saturating_sub(back).max(1))).await;
                }
            }
        }
    }

    async fn write(&mut self, store: &Datastore, key: String, condition: Condition, put: bool) {
        let (floor, tag) = {
            let mut history = self.history.lock();
            (history.floor, put.then(|| history.tag()))
        };
        let expected = if let Condition::At(revision) = condition { revision } else { 0 };
        let padding = self.random.random_range(0..=self.habits.padding);
        // Who writes is in the rows, which are compared.
        let author = Author::new(&format!("client{}", self.number), None);
        let result = match (tag, condition) {
            (Some(tag), Condition::Absent) => author.acting(store.create(&key, object(tag, padding))).await,
            (Some(tag), _) => author.acting(store.update(&key, expected, object(tag, padding))).await,
            (None, _) => author.acting(store.delete(&key, expected)).await,
        };
        if !self.heard() {
            return;
        }
        let refused = match &result {
            Ok(done) => {
                let revision = done.revision;
                return self.note(floor, revision, What::Wrote { key, tag, revision, condition });
            }
            Err(StorageError::KeyExists { .. }) => What::Taken { key },
            Err(StorageError::NotFound { .. }) => What::Missing { key },
            Err(StorageError::Conflict { expected, current }) => {
                What::Conflict { key, expected: *expected, current: version(current) }
            }
            Err(error) => return self.failed(error, tag),
        };
        self.history.lock().not_written(tag);
        self.note(floor, 0, refused);
    }

    async fn read(&mut self, store: &Datastore, key: &str) -> Option<Option<Version>> {
        let floor = self.history.lock().floor;
        let result = store.get(key).await;
        if !self.heard() {
            return None;
        }
        match result {
            Ok(found) => {
                let found = found.map(|object| version(&object));
                let revision = found.map_or(0, |found| found.revision);
                self.note(floor, revision, What::Read { key: key.to_owned(), found });
                Some(found)
            }
            Err(error) => {
                self.failed(&error, None);
                None
            }
        }
    }

    async fn read_and_write(&mut self, store: &Datastore, key: String) {
        let Some(found) = self.read(store, &key).await else { return };
        let put = self.random.random_bool(0.8);
        match found {
            Some(found) => self.write(store, key, Condition::At(found.revision), put).await,
            None => self.write(store, key, Condition::Absent, true).await,
        }
    }

    async fn list(&mut self, store: &Datastore, revision: ListRevision) {
        let floor = self.history.lock().floor;
        let result = store.list(PREFIX, ListOptions { revision, ..ListOptions::default() }).await;
        if !self.heard() {
            return;
        }
        match result {
            Ok(list) => {
                let items = list.items.iter().map(|o| (o.key.to_string(), version(o))).collect();
                let consistent = revision == ListRevision::MostRecent;
                let at = list.revision;
                if let ListRevision::Exact(asked) = revision
                    && asked != at
                {
                    self.history.lock().wrong = Some(format!("a list at {asked} came as one at {at}"));
                }
                let seen = if consistent { at } else { 0 };
                self.note(floor, seen, What::Listed { revision: at, items, consistent });
            }
            Err(error) => self.failed(&error, None),
        }
    }

    async fn compact(&mut self, store: &Datastore) {
        let back = self.random.random_range(10..60);
        let revision = store.revision().saturating_sub(back);
        let result = store.compact(revision).await;
        if !self.heard() {
            return;
        }
        match result {
            Ok(()) => trace::event(format_args!("client {}: compacted {revision}", self.number)),
            Err(error) => self.failed(&error, None),
        }
    }

    /// Watches for as long as the node lives; begins again, where it was, after an error.
    pub(crate) async fn watch(mut self, mut cursor: u64) {
        loop {
            self.pause().await;
            let Some(store) = self.store.upgrade() else { return };
            let watch = store.watch(PREFIX, WatchFrom::Revision(cursor)).await;
            if !self.heard() {
                return;
            }
            let mut watch = match watch {
                Ok(watch) => watch.with_progress(Duration::from_millis(100)),
                Err(error) => {
                    self.failed(&error, None);
                    if let StorageError::Compacted { requested, oldest } = error {
                        cursor = self.again(&store, (cursor, requested, oldest)).await.unwrap_or(cursor);
                    }
                    continue;
                }
            };
            drop(store);
            self.item(Item::Began(cursor));
            while let Some(item) = watch.next().await {
                if !self.heard() {
                    return;
                }
                match item {
                    Ok(WatchItem::Progress(revision)) => {
                        cursor = revision;
                        self.item(Item::Progress(revision));
                    }
                    Ok(WatchItem::Event(event)) => {
                        // Others of the same revision may follow.
                        cursor = cursor.max(event.revision - 1);
                        let object =
                            event.previous.as_ref().filter(|_| event.kind == storage::EventKind::Deleted);
                        let object = object.unwrap_or(&event.object);
                        self.item(Item::Event {
                            revision: event.revision,
                            key: object.key.to_string(),
                            kind: event.kind,
                            create_revision: event.object.create_revision,
                            tag: tag(&object.value),
                        });
                    }
                    Err(error @ StorageError::SlowWatcher { .. }) => {
                        trace::remark(format_args!("watch {}: {error}", self.number));
                    }
                    Err(error) => self.failed(&error, None),
                }
            }
        }
    }

    fn item(&self, item: Item) {
        trace::event(format_args!("watch {}: {item:?}", self.number));
        let mut history = self.history.lock();
        history.counts.events += 1;
        history.watched.entry(self.number).or_default().push_back(item);
    }

    /// What was watched from is gone: begins with a list.
    async fn again(
        &mut self,
        store: &Datastore,
        (cursor, requested, oldest): (u64, u64, u64),
    ) -> Option<u64> {
        if requested != cursor || cursor >= oldest {
            let why =
                format!("{requested} is said to be compacted, but {oldest} is kept; {cursor} was asked for");
            self.history.lock().wrong = Some(why);
        }
        let options = ListOptions { revision: ListRevision::Any, ..ListOptions::default() };
        let list = store.list(PREFIX, options).await.ok()?;
        if !self.heard() {
            return None;
        }
        let items = list.items.iter().map(|o| (o.key.to_string(), version(o))).collect();
        let floor = self.history.lock().floor;
        let what = What::Listed { revision: list.revision, items, consistent: false };
        self.note(floor, 0, what);
        Some(list.revision)
    }
}
