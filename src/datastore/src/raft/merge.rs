//! What all nodes propose, on its way into the leader's log.
//!
//! Each node's writers share a group ([`crate::raft::proposer`]); the leader makes one entry of the groups that have come
//! from everywhere while the entry before it was being written. So a round of syncs, one at the leader and one at its
//! followers, is for all of them, however many nodes there are. To the state machine the groups are what they were: each
//! has its origin, its commands and its outcomes.

use crate::raft::core::Core;
use crate::raft::node::Cluster;
use crate::raft::types::{Merged, Origin, Proposed, Seat};
use crate::raft::wire::Reply;
use openraft::error::ClientWriteError;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::{mpsc, oneshot};

/// Commands in an entry of several groups. One group may have more ([`crate::writer::MAX_COMMANDS`]), and is alone then.
const MAX_COMMANDS: usize = 512;

/// Bytes in an entry of several groups, likewise.
const MAX_BYTES: usize = 1 << 20;

/// The groups of one entry: the first, and of those behind it as many as fit. Returns the one that does not. What nobody
/// waits for any more comes again, and is left out, as is what has come twice.
fn gather(
    first: Proposed,
    mut next: impl FnMut() -> Option<Proposed>,
    awaited: impl Fn(&Origin) -> bool,
) -> (Vec<Proposed>, Option<Proposed>) {
    let mut groups: Vec<Proposed> = Vec::new();
    let (mut commands, mut bytes) = (0, 0);
    let mut came = Some(first);
    while let Some(proposed) = came {
        if awaited(&proposed.origin) && groups.iter().all(|group| group.origin != proposed.origin) {
            commands += proposed.entry.commands.len();
            bytes += proposed.size();
            if !groups.is_empty() && (commands > MAX_COMMANDS || bytes > MAX_BYTES) {
                return (groups, Some(proposed));
            }
            groups.push(proposed);
        }
        came = next();
    }
    (groups, None)
}

/// Makes entries of what is offered, one after the other, until the node stops.
pub(crate) async fn run(cluster: Weak<Cluster>, mut offered: mpsc::UnboundedReceiver<Proposed>) {
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(first) => first,
            None => match offered.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let Some(this) = cluster.upgrade() else { return };
        let groups;
        (groups, left) = {
            let appended = this.network.core.appended.lock();
            gather(first, || offered.try_recv().ok(), |origin| appended.contains_key(origin))
        };
        if !groups.is_empty() {
            this.write(groups).await;
        }
    }
}

impl Cluster {
    /// Leader: brings a proposal into the log, together with others.
    pub(crate) async fn append(&self, proposed: Proposed) -> Reply {
        let (origin, core) = (proposed.origin, &self.network.core);
        let (tell, told) = oneshot::channel();
        {
            let mut appended = core.appended.lock();
            if self.paused.load(Ordering::Acquire) {
                return Reply::NotLeader(None);
            }
            appended.insert(origin, tell);
        }
        let why = if self.merging.send(proposed).is_ok() {
            match tokio::time::timeout(self.timing.call_timeout(), told).await {
                Ok(Ok(reply)) => return reply,
                Ok(Err(_)) => return Reply::Failed("it has come once more".into()),
                Err(_) => "the log is stuck",
            }
        } else {
            "the node is shutting down"
        };
        core.appended.lock().remove(&origin);
        Reply::Failed(why.into())
    }

    /// Writes an entry, and waits until it is on this node's disk: what comes meanwhile is the next one. Who waits for a
    /// group is told its index as soon as its place is settled ([`crate::raft::log_store`]), or why it gets none.
    async fn write(&self, groups: Vec<Proposed>) {
        let core = &self.network.core;
        let origins: Vec<Origin> = groups.iter().map(|group| group.origin).collect();
        let mut synced = core.synced.subscribe();
        let written = match self.raft().client_write_ff(Merged(groups)).await {
            Ok(written) => written,
            Err(error) => return tell(core, &origins, || Reply::Failed(error.to_string())),
        };
        // openraft complains when nobody listens, so it goes on by itself.
        let settled = tokio::spawn(settle(Arc::clone(core), origins, written));
        tokio::select! {
            biased;
            _ = synced.changed() => {}
            _ = settled => {}
            () = tokio::time::sleep(self.timing.call_timeout()) => {}
        }
    }
}

/// Tells who waits for groups why they are not in the log, if they are not.
async fn settle<T, E: fmt::Display>(
    core: Arc<Core>,
    origins: Vec<Origin>,
    written: impl Future<Output = Result<Result<T, ClientWriteError<u64, Seat>>, E>>,
) {
    match written.await {
        Ok(Ok(_)) => {}
        Ok(Err(ClientWriteError::ForwardToLeader(to))) => {
            tell(&core, &origins, || Reply::NotLeader(to.leader_id));
        }
        Ok(Err(error)) => tell(&core, &origins, || Reply::Failed(error.to_string())),
        Err(error) => tell(&core, &origins, || Reply::Failed(error.to_string())),
    }
}

fn tell(core: &Core, origins: &[Origin], reply: impl Fn() -> Reply) {
    let mut appended = core.appended.lock();
    for waiting in origins.iter().filter_map(|origin| appended.remove(origin)) {
        // Nobody waits any more: fine.
        let _ = waiting.send(reply());
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
