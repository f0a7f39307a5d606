//! Objects on their way to the disk, encrypted.

use crate::error::StorageError;
use bytes::Bytes;

/// Encrypts objects before they are stored and decrypts them when they are read back. What is in memory, and what
/// readers and watchers get, is never encrypted.
///
/// Both directions may be called on any thread; `open` only on threads that may block.
pub trait Sealer: Send + Sync {
    /// What is to be stored for an object's JSON; `None` when it is stored as it is. What is sealed never begins
    /// with `{`.
    ///
    /// # Errors
    /// `Unavailable` when there is no key at the moment.
    fn seal(&self, key: &str, object: &Bytes) -> Result<Option<Bytes>, StorageError>;

    /// The object's JSON out of what was stored for it. Only called for what does not begin with `{`.
    ///
    /// # Errors
    /// `Fatal` when no key fits, `Unavailable` when the key cannot be had at the moment.
    fn open(&self, key: &str, stored: &Bytes) -> Result<Bytes, StorageError>;

    /// Whether what is stored is not what [`Sealer::seal`] would make of it today, because of another key or
    /// another kind of encryption.
    fn is_stale(&self, key: &str, stored: &Bytes) -> bool;

    /// Whether any object under this key is treated at all; spares looking at what is stored.
    fn covers(&self, key: &str) -> bool;
}
