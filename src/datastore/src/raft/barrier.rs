//! Consistent reads: everything that was acknowledged before is applied here.
//!
//! The leader makes sure that it still leads by a round of messages to a majority, and says how far the log was
//! committed (Raft dissertation, section 6.4, the read index). No lease: a virtual machine that was paused would
//! believe in it. Reads that come while a round is under way share the next one.

use crate::raft::node::Cluster;
use crate::raft::wire::{Reply, Request};
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::StorageError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Before another attempt when there is no leader.
const PAUSE: Duration = Duration::from_millis(10);

/// Who waits for a barrier.
pub(crate) type Reader = oneshot::Sender<Result<(), StorageError>>;

/// Serves readers until the node stops.
pub(crate) async fn run(cluster: Weak<Cluster>, mut asked: mpsc::UnboundedReceiver<Reader>) {
    while let Some(first) = asked.recv().await {
        let mut readers = vec![first];
        while let Ok(more) = asked.try_recv() {
            readers.push(more);
        }
        let Some(cluster) = cluster.upgrade() else { return };
        let deadline = Instant::now() + cluster.timing.patience;
        let index = read_index(&cluster, deadline).await;
        tokio::spawn(async move {
            let result = match index {
                Ok(index) => wait(&cluster, index, deadline).await,
                Err(error) => Err(error),
            };
            for reader in readers {
                let _ = reader.send(result.clone());
            }
        });
    }
}

/// Up to where the log has to be applied (exclusive) for a read that begins now.
async fn read_index(cluster: &Cluster, deadline: Instant) -> Result<u64, StorageError> {
    while Instant::now() < deadline {
        let reply = match cluster.leader() {
            Some(leader) if leader == cluster.network.core.node => cluster.confirm().await,
            Some(leader) => match cluster.peer(leader) {
                Some(peer) => {
                    let patience = cluster.timing.call_timeout();
                    let reply = cluster.network.call(&peer, Request::ReadIndex, &[], patience).await;
                    reply.unwrap_or_else(|error| Reply::Failed(error.to_string()))
                }
                None => Reply::NotLeader(None),
            },
            None => Reply::NotLeader(None),
        };
        if let Reply::Index(index) = reply {
            cluster.heard_of(index.saturating_sub(1));
            return Ok(index);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(StorageError::unavailable("the cluster has no leader that a majority follows"))
}

async fn wait(cluster: &Arc<Cluster>, index: u64, deadline: Instant) -> Result<(), StorageError> {
    let mut applied = cluster.network.core.applied.subscribe();
    let reached = tokio::time::timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(StorageError::unavailable("it is shutting down")),
        Err(_) => Err(StorageError::unavailable("this node lags behind the cluster")),
    }
}
