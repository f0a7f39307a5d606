//! The server of the `registry` add-on: OCI distribution 1.1 over a folder.
//!
//! Push (in one piece, in chunks, mounted from another repository), pull (with ranges), lists of tags and repositories in
//! pages, referrers, deletion, and collection of what nothing names. What comes in is believed only as far as its digest
//! says; sizes and times are bounded. Everybody who can connect may do everything, as with MicroK8s' registry.
//!
//! | module | what |
//! |---|---|
//! | `names` | names, digests, paths: pure |
//! | `manifest` | what a manifest says of itself: pure |
//! | `store` | files |
//! | `cache` | what is kept of other registries |
//! | [`mirrors`] | what nodes are told of it |
//! | `upstream` | those, as a client |
//! | `serve` | HTTP |
//! | `answer` | responses |
//!
//! Upstream counterpart: `distribution/distribution`.

mod answer;
mod cache;
mod manifest;
pub mod mirrors;
mod names;
mod serve;
mod store;
#[cfg(test)]
mod store_tests;
mod upstream;

pub use serve::Registry;

use cache::Cache;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::Store;
use tokio_util::sync::CancellationToken;

/// How often what nothing names is collected; it has to be a day old anyway.
const COLLECTION: Duration = Duration::from_secs(3600);

/// Opens the registry in a folder that may hold `limit` bytes; what nothing names is collected until `stop`. It is a cache
/// of the registries in `proxy`, as images call them; `http://` before one means without TLS.
///
/// # Errors
/// When the folder cannot be read or written, or `proxy` names something that is no registry.
pub fn open(
    folder: &Path,
    limit: u64,
    proxy: &[String],
    stop: CancellationToken,
) -> io::Result<Arc<Registry>> {
    let store = Store::open(folder, limit)?;
    let cache = match proxy {
        [] => None,
        proxy => Some(Cache::open(&folder.join("proxy"), proxy, &store)?),
    };
    let registry = Registry::new(store, cache);
    let collecting = registry.clone();
    tokio::spawn(async move {
        loop {
            collecting.collect(SystemTime::now(), store::GRACE).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(COLLECTION) => {}
            }
        }
    });
    Ok(registry)
}
