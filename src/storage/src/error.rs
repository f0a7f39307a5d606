//! What can go wrong between the API server and its store.

use crate::object::Object;
use std::sync::Arc;

/// Why the store did not do what it was asked. Nothing has changed when it is returned by a write, except
/// for [`StorageError::Unknown`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// A create found the key taken.
    #[error("key {key} exists already")]
    KeyExists {
        /// The key.
        key: String,
    },
    /// An update or delete found no such key.
    #[error("key {key} not found")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The key is at another revision than the writer expected: read again and retry.
    #[error("key {} is at revision {}, not at {expected}", current.key, current.revision)]
    Conflict {
        /// What the writer expected.
        expected: u64,
        /// What is there.
        current: Arc<Object>,
    },
    /// The revision is gone (HTTP 410, reason `Expired`).
    #[error("revision {requested} has been compacted, the oldest one left is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: u64,
        /// The oldest revision that can still be asked for.
        oldest: u64,
    },
    /// The revision has not been reached within the time that a reader is made to wait.
    #[error("revision {requested} is in the future, the current one is {current}")]
    FutureRevision {
        /// What was asked for.
        requested: u64,
        /// The store's revision.
        current: u64,
    },
    /// A watcher did not read its events before they left the cache's bounded memory. It may start again
    /// from the last revision it saw.
    #[error("the watch fell behind: events after revision {seen} have left the cache")]
    SlowWatcher {
        /// The last revision that the watcher saw.
        seen: u64,
    },
    /// The key or prefix has not the form `/registry/{group}/{plural}/...`.
    #[error("{key:?} is no storage key: {reason}")]
    InvalidKey {
        /// The key or prefix.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The value is not an object that could be stored.
    #[error("the object cannot be stored: {reason}")]
    InvalidObject {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no room on the disk; nothing has changed, reads go on, and so do writes as soon as there is room.
    #[error("the datastore has no room: {reason}")]
    Full {
        /// What happened, in words for an operator.
        reason: Arc<str>,
    },
    /// The store cannot do it now (I/O error, shutting down); nothing has changed and it may be
    /// tried again.
    #[error("the datastore is unavailable: {reason}")]
    Unavailable {
        /// What happened, in words for an operator.
        reason: Arc<str>,
    },
    /// The store stopped before it knew whether the write is durable: it may or may not have happened.
    #[error("the outcome of the write is not known: {reason}")]
    Unknown {
        /// What happened.
        reason: Arc<str>,
    },
    /// The data is damaged or cannot be understood; an operator has to act.
    #[error("the datastore is damaged: {reason}")]
    Fatal {
        /// What was found, and where.
        reason: Arc<str>,
    },
}

impl StorageError {
    /// An [`StorageError::Unavailable`] for a reason.
    pub fn unavailable(reason: impl std::fmt::Display) -> Self {
        Self::Unavailable { reason: reason.to_string().into() }
    }

    /// A [`StorageError::Fatal`] for a reason.
    pub fn fatal(reason: impl std::fmt::Display) -> Self {
        Self::Fatal { reason: reason.to_string().into() }
    }
}
