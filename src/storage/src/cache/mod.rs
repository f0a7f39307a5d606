//! The watch cache: all current objects, and the recent changes of each resource, in memory.
//!
//! One [`Shard`] for each resource (`/registry/{group}/{plural}/`). The store calls [`WatchCache::publish`]
//! with what it has made durable, in order, before it answers the writers. Readers see a batch as a whole.

mod clock;
mod objects;
mod ring;
mod shard;
mod subscription;
mod watch_cache;

pub use shard::Shard;
pub use subscription::Subscription;
pub use watch_cache::{Change, Published, WatchCache};
