//! What the API server needs of a store, and the watch cache that answers its reads.
//!
//! - Purpose: the [`Storage`] trait (revisioned keys with compare-and-swap, consistent lists, watches), the
//!   values that cross it, and [`cache::Cache`], which an implementation feeds in commit order.
//! - Not here: durability and consensus (crate `datastore`), kinds, selectors and HTTP (crate `apiserver`).
//! - Upstream counterpart: `k8s.io/apiserver/pkg/storage` with its `cacher`.
//!
//! ```text
//!   create/update/delete            list/get                watch
//!          |                           |                      ^
//!          v                           v                      | reads the ring at its own pace
//!   datastore: one durable commit -> Cache::publish -> shard: objects + ring of recent events
//! ```
//!
//! | module | what |
//! |---|---|
//! | `interface` | the trait, its options and results |
//! | `encoded` | objects on their way in, and how the revision gets into them |
//! | `object` | objects and events on their way out |
//! | `attrs` | labels and selectable fields, extracted once |
//! | `author` | who makes a change, and when |
//! | `signature` | bits that tell most objects apart before they are looked at |
//! | `sealer` | encryption on the way to the disk |
//! | `keys` | the form of keys and prefixes |
//! | `cache` | the watch cache |
//! | `watch` | one watch as a stream |
//! | `error` | what can go wrong |

mod attrs;
mod author;
pub mod cache;
mod encoded;
mod error;
mod interface;
mod keys;
mod object;
mod sealer;
mod signature;
mod watch;

pub use attrs::{Attrs, AttrsBuilder, Extractor, MetadataExtractor};
pub use author::{Author, Authored, Authors, Made};
pub use encoded::Encoded;
pub use error::StorageError;
pub use interface::{Filter, List, ListOptions, ListRevision, Storage, WatchFrom};
pub use keys::{Scope, resource_prefix};
pub use object::{Event, EventKind, FrameForm, Object};
pub use sealer::Sealer;
pub use signature::Signature;
pub use watch::{History, HistoryPage, Watch, WatchItem};
