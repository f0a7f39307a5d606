//! Handing the leadership over.

use crate::raft::node::{Cluster, LOOK};
use crate::raft::types::Role;
use crate::raft::wire::Request;
use openraft::ServerState;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Between looks at what is still on its way into the log, which takes a few syncs at most. Writes wait meanwhile.
const DRAINING: Duration = Duration::from_millis(1);

impl Cluster {
    /// Makes another voter the leader, if this node leads and there is one. Writes wait meanwhile.
    ///
    /// The successor has every entry before it stands for election; its own vote and this node's make a majority
    /// of three. (Others still believe in this leader for a moment and refuse theirs.)
    ///
    /// Returns whether somebody else leads now.
    pub async fn hand_over(&self) -> bool {
        self.outlive_own_vote().await;
        let begun = Instant::now();
        let deadline = begun + self.timing.election * 6;
        self.pause(true);
        let mut attempts = 0;
        while self.is_leader() && Instant::now() < deadline {
            let Some(last) = self.settled() else {
                tokio::time::sleep(DRAINING).await;
                continue;
            };
            let heard =
                |id: &u64| self.last_contact(*id).is_some_and(|at| at.elapsed() < self.timing.election * 2);
            let voters = self.members().into_iter().filter(|(_, (_, role))| *role == Role::Voter);
            let others: Vec<u64> = voters.map(|(id, _)| id).filter(|id| *id != self.id()).collect();
            if others.is_empty() {
                break;
            }
            let best = others.into_iter().filter(heard).max_by_key(|id| self.matching(*id));
            let ready = best.filter(|id| self.matching(*id) >= Some(last)).and_then(|id| self.peer(id));
            if let Some(peer) = ready {
                attempts += 1;
                let _ = self.network.call(&peer, Request::Elect, &[], self.timing.election).await;
                let metrics = &mut self.raft().metrics();
                let gone = metrics.wait_for(|metrics| {
                    metrics.state != ServerState::Leader && metrics.current_leader.is_some()
                });
                let _ = tokio::time::timeout(self.timing.election / 2, gone).await;
            } else {
                tokio::time::sleep(if best.is_some() { DRAINING } else { LOOK }).await;
            }
        }
        self.pause(false);
        let handed = !self.is_leader();
        tracing::info!(handed, attempts, took = ?begun.elapsed(), "handed the leadership over");
        handed
    }

    /// Waits until this node may vote for another: openraft protects each vote for a while, a leader's own one, too.
    async fn outlive_own_vote(&self) {
        if let Ok(Some(voted)) = self.raft().with_raft_state(|state| state.vote_last_modified()).await {
            tokio::time::sleep_until(voted + self.timing.protection() + DRAINING).await;
        }
    }

    /// Whether proposals are sent away for now.
    fn pause(&self, on: bool) {
        // What was let in before is among those whose place in the log is not settled.
        let _appended = self.network.core.appended.lock();
        self.paused.store(on, Ordering::Release);
    }

    /// The last entry of the log, if nothing is on its way there. A successor without it would not be voted for, and
    /// its attempt would leave the cluster without a leader until the next election.
    fn settled(&self) -> Option<u64> {
        let core = &self.network.core;
        let appended = core.appended.lock();
        appended.is_empty().then(|| core.placed.load(Ordering::Acquire))
    }
}
