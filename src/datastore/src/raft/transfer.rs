//! Handing the leadership over.

use crate::raft::node::{Cluster, LOOK};
use crate::raft::types::Role;
use crate::raft::wire::Request;
use openraft::ServerState;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

impl Cluster {
    /// Makes another voter the leader, if this node leads and there is one. Writes wait meanwhile.
    ///
    /// The successor has every entry before it stands for election; its own vote and this node's make a majority
    /// of three. (Others still believe in this leader for a moment and refuse theirs.)
    ///
    /// Returns whether somebody else leads now.
    pub async fn hand_over(&self) -> bool {
        let deadline = Instant::now() + self.timing.election * 6;
        self.paused.store(true, Ordering::Release);
        while self.is_leader() && Instant::now() < deadline {
            let heard =
                |id: &u64| self.last_contact(*id).is_some_and(|at| at.elapsed() < self.timing.election * 2);
            let voters = self.members().into_iter().filter(|(_, (_, role))| *role == Role::Voter);
            let others: Vec<u64> = voters.map(|(id, _)| id).filter(|id| *id != self.id()).collect();
            if others.is_empty() {
                break;
            }
            let best = others.into_iter().filter(heard).min_by_key(|id| self.lag(*id).unwrap_or(u64::MAX));
            let ready = best.filter(|id| self.lag(*id) == Some(0)).and_then(|id| self.peer(id));
            if let Some(peer) = ready {
                let _ = self.network.call(&peer, Request::Elect, &[], self.timing.election).await;
                let metrics = &mut self.raft().metrics();
                let gone = metrics.wait_for(|metrics| {
                    metrics.state != ServerState::Leader && metrics.current_leader.is_some()
                });
                let _ = tokio::time::timeout(self.timing.election / 2, gone).await;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
        self.paused.store(false, Ordering::Release);
        !self.is_leader()
    }
}
