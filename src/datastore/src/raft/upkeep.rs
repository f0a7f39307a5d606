//! What goes on beside: starting again, introducing oneself.

use crate::raft::membership::Change;
use crate::raft::node::{Cluster, start_raft};
use crate::raft::types::Member;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Wait before the replicated log is started again, at least.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts the replicated log again after the disk has failed it. The others go on meanwhile.
pub(crate) async fn supervise(cluster: Weak<Cluster>) {
    loop {
        let Some(this) = cluster.upgrade() else { return };
        let mut metrics = this.raft().metrics();
        // A leader that came back at once would lead again, and fail again: long enough for the others to choose one.
        let pause = PAUSE.max(this.timing.election * 5);
        drop(this);
        // An error: openraft has ended without a word, which is no better.
        let _ = metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
        let why = metrics.borrow().running_state.clone();
        loop {
            tokio::time::sleep(pause).await;
            let Some(this) = cluster.upgrade() else { return };
            if this.stopping.load(Ordering::Acquire) {
                return;
            }
            tracing::error!(?why, "the replicated log has stopped; it is started again");
            match start_raft(&this.network, &this.timing).await {
                Ok(raft) => {
                    *this.raft.write() = raft;
                    break;
                }
                Err(error) => tracing::error!(%error, "the replicated log does not start"),
            }
        }
    }
}

/// Has the others know this node's name and address when they know something else.
pub(crate) async fn introduce(cluster: Weak<Cluster>, member: Member) {
    // One receiver for all rounds: a new one knows of no change yet, and would never wait.
    let Some(mut metrics) = cluster.upgrade().map(|this| this.raft().metrics()) else { return };
    loop {
        let Some(this) = cluster.upgrade() else { return };
        metrics.mark_unchanged();
        let id = this.id();
        match this.members().get(&id) {
            Some((known, _)) if *known == member => return,
            // It joins, and has heard of nobody yet.
            None => {
                drop(this);
                if metrics.changed().await.is_err() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Some(_) => {
                if let Err(error) = this.change(Change::Update(id, member.clone())).await {
                    tracing::info!(%error, "the cluster does not know this node's address yet");
                    drop(this);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}
