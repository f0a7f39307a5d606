//! The store as the API server sees it.

use crate::author::Authors;
use crate::encoded::Encoded;
use crate::error::StorageError;
use crate::object::Object;
use crate::signature::Signature;
use crate::watch::Watch;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;

/// Picks objects out of a list while it is made, so that those left out cost nothing more.
#[derive(Clone)]
pub struct Filter {
    wanted: Signature,
    picks: Arc<dyn Fn(&Object) -> bool + Send + Sync>,
}

impl Filter {
    /// Asks `picks` of the objects that may have all that is `wanted`: it must not pick others. It runs under the
    /// cache's lock: it has to be quick, and must not call the store.
    pub fn new(wanted: Signature, picks: impl Fn(&Object) -> bool + Send + Sync + 'static) -> Self {
        Self { wanted, picks: Arc::new(picks) }
    }

    /// What every picked object has.
    pub fn wanted(&self) -> Signature {
        self.wanted
    }

    /// Whether the object is picked.
    pub fn picks(&self, object: &Object) -> bool {
        (self.picks)(object)
    }
}

/// How recent, or how old, a list has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ListRevision {
    /// Whatever is at hand.
    Any,
    /// Linearizable: holds every write that was acknowledged before the list began.
    #[default]
    MostRecent,
    /// The state at this revision, no other.
    Exact(u64),
    /// At this revision or a later one; waits a moment when the store is not there yet.
    NotOlderThan(u64),
}

/// What part of a prefix a list returns.
#[derive(Clone, Default)]
pub struct ListOptions {
    /// How recent it has to be.
    pub revision: ListRevision,
    /// The most items to return; 0 is no limit.
    pub limit: usize,
    /// Only keys after this one.
    pub start_after: Option<String>,
    /// Only objects that this picks. The limit counts what was picked.
    pub filter: Option<Filter>,
}

impl fmt::Debug for ListOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListOptions")
            .field("revision", &self.revision)
            .field("limit", &self.limit)
            .field("start_after", &self.start_after)
            .field("filter", &self.filter.is_some())
            .finish()
    }
}

/// A list in the order of keys.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The objects.
    pub items: Vec<Arc<Object>>,
    /// The revision whose state this is. A watch from here misses nothing.
    pub revision: u64,
    /// Whether there is more after the last item.
    pub more: bool,
    /// How many objects there are after the last item; None when a filter was given or nobody counted.
    pub remaining: Option<u64>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchFrom {
    /// After this revision: the first event is the first change later than it.
    Revision(u64),
    /// With the next change.
    Now,
}

/// A revisioned key-value store with compare-and-swap and watches.
///
/// Guarantees: writes are atomic, durable before they return, and linearizable; every change has a revision
/// of its own, one greater than the last; a watch delivers every change of its scope once, in the order of
/// revisions. An empty store is at revision 1. A change is made by [`crate::Author::current`].
///
/// A `prefix` that ends with a slash covers everything below it; one that does not covers that single key.
///
/// Cancel safety: dropping the future of a write leaves open whether it happens.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Stores an object under a key that is not taken.
    ///
    /// # Errors
    /// `KeyExists`; `InvalidKey`; `Unavailable`.
    async fn create(&self, key: &str, object: Encoded) -> Result<Arc<Object>, StorageError>;

    /// Replaces an object that is at `expected_revision` (0: at any revision).
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with what is there; `Unavailable`.
    async fn update(
        &self,
        key: &str,
        expected_revision: u64,
        object: Encoded,
    ) -> Result<Arc<Object>, StorageError>;

    /// Deletes an object that is at `expected_revision` (0: at any revision). Returns, and shows watchers,
    /// its last state stamped with the revision of the deletion.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with what is there; `Unavailable`.
    async fn delete(&self, key: &str, expected_revision: u64) -> Result<Arc<Object>, StorageError>;

    /// The object under a key, linearizable.
    ///
    /// # Errors
    /// `InvalidKey`; `Unavailable`.
    async fn get(&self, key: &str) -> Result<Option<Arc<Object>>, StorageError>;

    /// The object under a key as it is here: of several nodes this one may not have heard yet what others have just
    /// written. What was written through this store is there.
    ///
    /// # Errors
    /// `InvalidKey`.
    fn recent(&self, key: &str) -> Result<Option<Arc<Object>>, StorageError>;

    /// The objects below a prefix.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision` for the revision asked for; `InvalidKey`; `Unavailable`.
    async fn list(&self, prefix: &str, options: ListOptions) -> Result<List, StorageError>;

    /// The changes below a prefix, which reaches at least `/registry/{group}/{plural}/`.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision` for the revision asked for; `InvalidKey`. The stream itself may end
    /// with `Compacted` or `SlowWatcher`.
    async fn watch(&self, prefix: &str, from: WatchFrom) -> Result<Watch, StorageError>;

    /// How many objects there are below a prefix.
    ///
    /// # Errors
    /// `InvalidKey`.
    async fn count(&self, prefix: &str) -> Result<u64, StorageError>;

    /// The revision of the last change that readers can see.
    fn revision(&self) -> u64;

    /// The oldest revision that can still be listed or watched from.
    fn compacted_revision(&self) -> u64;

    /// Whether an object is stored under another encryption than it would be now, and so is to be written again even
    /// when it does not change.
    async fn is_stale(&self, _key: &str) -> bool {
        false
    }

    /// Who made the changes below a prefix with `after < revision <= up_to` that are not forgotten; no more than about
    /// `limit` of them, but never only some of those that share a revision.
    ///
    /// # Errors
    /// `InvalidKey`; `Unavailable`.
    async fn authors(
        &self,
        prefix: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Authors, StorageError>;

    /// Forgets what was superseded before a revision. Asking for an older one than was compacted before is
    /// no error.
    ///
    /// # Errors
    /// `FutureRevision`; `Unavailable`.
    async fn compact(&self, revision: u64) -> Result<(), StorageError>;
}
