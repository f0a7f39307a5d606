//! The store as [`storage::Storage`].

use crate::command::{Command, Operation};
use crate::reader::PastEvents;
use crate::store::Datastore;
use async_trait::async_trait;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{
    Authors, Encoded, List, ListOptions, ListRevision, Object, Storage, StorageError, Watch, WatchFrom,
    resource_prefix,
};

/// Revisions that one command compacts: a few milliseconds of the writer's time.
const COMPACTION_STEP: u64 = 500;

#[async_trait]
impl Storage for Datastore {
    async fn create(&self, key: &str, object: Encoded) -> Result<Arc<Object>, StorageError> {
        self.write(Operation::Create { key: key.into(), object }).await
    }

    async fn update(
        &self,
        key: &str,
        expected_revision: u64,
        object: Encoded,
    ) -> Result<Arc<Object>, StorageError> {
        self.write(Operation::Update { key: key.into(), if_revision: expected_revision, object }).await
    }

    async fn delete(&self, key: &str, expected_revision: u64) -> Result<Arc<Object>, StorageError> {
        self.write(Operation::Delete { key: key.into(), if_revision: expected_revision }).await
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<Object>>, StorageError> {
        resource_prefix(key)?;
        self.barrier().await?;
        Ok(self.cache.get(key))
    }

    fn recent(&self, key: &str) -> Result<Option<Arc<Object>>, StorageError> {
        resource_prefix(key)?;
        Ok(self.cache.get(key))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<List, StorageError> {
        match options.revision {
            ListRevision::Any => self.cache.list(prefix, &options),
            ListRevision::MostRecent => {
                // Then the cache holds every write that was acknowledged.
                self.barrier().await?;
                self.cache.list(prefix, &options)
            }
            ListRevision::NotOlderThan(revision) => {
                self.cache.wait_for(revision).await?;
                self.cache.list(prefix, &options)
            }
            ListRevision::Exact(revision) => {
                self.cache.check_compacted(revision)?;
                self.cache.wait_for(revision).await?;
                if let Some(list) = self.cache.list_unchanged_since(prefix, revision, &options)? {
                    return Ok(list);
                }
                self.reader.list_at(prefix.to_owned(), revision, options).await
            }
        }
    }

    async fn watch(&self, prefix: &str, from: WatchFrom) -> Result<Watch, StorageError> {
        if let WatchFrom::Revision(revision) = from {
            self.cache.wait_for(revision).await?;
        }
        self.cache.watch(prefix, from, Arc::new(PastEvents(Arc::clone(&self.reader))))
    }

    async fn is_stale(&self, key: &str) -> bool {
        let Some(sealer) = self.sealer().cloned().filter(|sealer| sealer.covers(key)) else { return false };
        let stored = self.reader.stored(key.to_owned()).await;
        matches!(stored, Ok(Some(stored)) if sealer.is_stale(key, &stored))
    }

    async fn count(&self, prefix: &str) -> Result<u64, StorageError> {
        self.cache.count(prefix)
    }

    fn revision(&self) -> u64 {
        self.cache.revision()
    }

    fn compacted_revision(&self) -> u64 {
        self.cache.compacted_revision()
    }

    async fn authors(
        &self,
        prefix: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Authors, StorageError> {
        self.reader.authors(prefix.to_owned(), after, up_to.min(self.cache.revision()), limit).await
    }

    async fn compact(&self, revision: u64) -> Result<(), StorageError> {
        let current = self.cache.revision();
        if revision > current {
            return Err(StorageError::FutureRevision { requested: revision, current });
        }
        let mut compacted = self.cache.compacted_revision();
        while compacted < revision {
            let step = revision.min(compacted.max(1) + COMPACTION_STEP);
            compacted = self.propose(Command::Compact { revision: step }).await?.revision;
        }
        self.vacuum().await;
        Ok(())
    }
}

/// Compacts to the revision of one interval ago, for as long as the store is open.
pub(crate) async fn compact_regularly(store: Weak<Datastore>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        if store.requests.is_closed() {
            return;
        }
        let before = before.replace(store.revision());
        if store.joined().is_some_and(|cluster| !cluster.is_leader()) {
            store.vacuum().await;
        } else if let Some(revision) = before
            && let Err(error) = store.compact(revision).await
        {
            tracing::warn!(%error, revision, "compaction failed; it is tried again");
        }
    }
}
