//! When entries of the log begin to tell who made them.
//!
//! Nodes of versions before that refuse such entries, and are upgraded one after the other. So a node proposes its
//! entries in the older form until it has seen that no node needs it: all have said that they read the newer one, or one
//! of them, who had seen it, has told an author. It stays so: a node of an older version that came later would
//! understand neither the log nor a snapshot.

use crate::command::FORMAT;
use crate::error::storage_error;
use crate::raft::core::Core;
use crate::raft::node::Cluster;
use crate::raft::status::NodeReport;
use crate::raft::wire::{Reply, Request};
use rusqlite::OptionalExtension;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::StorageError;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks until it is known that every node reads authors.
pub(crate) async fn run(cluster: Weak<Cluster>) {
    let Some(core) = cluster.upgrade().map(|this| this.network.core.clone()) else { return };
    if last_is_told(&core).await.unwrap_or(false) {
        core.tells_authors.store(true, Ordering::Relaxed);
    }
    while !core.tells_authors.load(Ordering::Relaxed) {
        let Some(this) = cluster.upgrade() else { return };
        if this.all_read_authors().await {
            core.tells_authors.store(true, Ordering::Relaxed);
            return;
        }
        drop(this);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the last change tells who made it.
async fn last_is_told(core: &Core) -> Result<bool, StorageError> {
    core.run(|writer| {
        writer
            .connection
            .query_row("SELECT author IS NOT NULL FROM revisions ORDER BY row DESC LIMIT 1", [], |row| {
                row.get(0)
            })
            .optional()
            .map(|told| told == Some(true))
            .map_err(|error| storage_error("reading who made the last change", &error))
    })
    .await
}

impl Cluster {
    async fn all_read_authors(&self) -> bool {
        let members = self.members();
        // Who joins has not heard of anybody yet, not even of itself.
        if !members.contains_key(&self.id()) {
            return false;
        }
        for peer in members.into_keys().filter(|id| *id != self.id()).map(|id| self.peer(id)) {
            let Some(peer) = peer else { return false };
            let asked = self.network.call(&peer, Request::Report, &[], self.timing.call_timeout()).await;
            if !matches!(asked, Ok(Reply::Report(NodeReport { reads, .. })) if reads >= FORMAT) {
                return false;
            }
        }
        true
    }
}
