//! Groups of commands on their way to the leader.
//!
//! Commands that wait while a group is on its way into the leader's log become the next group. Several groups may
//! be in the log and not applied yet; they are there in order. What may have been lost is proposed again, under the
//! same number and before everything later, until it is applied or its writers are told that nobody knows.

use crate::command::Entry;
use crate::raft::node::Cluster;
use crate::raft::types::{Origin, Proposed};
use crate::raft::wire::{Reply, Request};
use crate::writer::{MAX_BYTES, MAX_COMMANDS, Proposal, Waiting};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::StorageError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Groups that may be in the log and not applied: enough to keep disk and network busy.
const WINDOW: usize = 8;

/// Before another attempt when there is no leader.
const PAUSE: Duration = Duration::from_millis(10);

struct Flight {
    proposed: Proposed,
    /// Its index in a leader's log.
    at: Option<u64>,
    /// Whether it may be in some log.
    sent: bool,
    deadline: Instant,
}

/// Proposes for the writers of one node.
pub(crate) struct Proposer {
    cluster: Weak<Cluster>,
    queue: mpsc::UnboundedReceiver<Proposal>,
    applied: watch::Receiver<u64>,
    epoch: u64,
    sequence: u64,
    flights: VecDeque<Flight>,
}

impl Proposer {
    pub(crate) fn new(cluster: &Arc<Cluster>, queue: mpsc::UnboundedReceiver<Proposal>, epoch: u64) -> Self {
        let applied = cluster.network.core.applied.subscribe();
        Self {
            cluster: Arc::downgrade(cluster),
            queue,
            applied,
            epoch,
            sequence: 0,
            flights: VecDeque::new(),
        }
    }

    /// Proposes until the node stops.
    pub(crate) async fn run(mut self) {
        loop {
            let Some(cluster) = self.cluster.upgrade() else { return };
            self.look(&cluster);
            if self.flights.front().is_some_and(|flight| flight.deadline <= Instant::now()) {
                self.give_up(&cluster).await;
                continue;
            }
            if let Some(next) = self.flights.iter_mut().find(|flight| flight.at.is_none()) {
                next.at = submit(&cluster, next).await;
                if next.at.is_none() {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
            let until = self.flights.front().map(|flight| flight.deadline);
            drop(cluster);
            tokio::select! {
                biased;
                changed = self.applied.changed(), if !self.flights.is_empty() => {
                    if changed.is_err() {
                        return;
                    }
                }
                proposal = self.queue.recv(), if self.flights.len() < WINDOW => {
                    let Some(proposal) = proposal else { return };
                    let Some(cluster) = self.cluster.upgrade() else { return };
                    self.gather(&cluster, proposal);
                }
                () = sleep_until(until) => {}
            }
        }
    }

    /// Lets go of what is applied, and notices what is lost.
    fn look(&mut self, cluster: &Cluster) {
        let core = &cluster.network.core;
        let applied = *self.applied.borrow_and_update();
        while self.flights.front().is_some_and(|flight| !core.is_pending(&flight.proposed.origin)) {
            self.flights.pop_front();
        }
        // What is at its index now was somebody else's, or came too early: it and all that follow go again.
        let lost = self.flights.iter().position(|flight| flight.at.is_some_and(|at| at < applied));
        for flight in self.flights.iter_mut().skip(lost.unwrap_or(usize::MAX)) {
            flight.at = None;
        }
    }

    fn gather(&mut self, cluster: &Cluster, first: Proposal) {
        let mut entry = Entry::default();
        let mut waiting = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        let told = cluster.network.core.tells_authors.load(Ordering::Relaxed);
        while let Some(proposal) = next {
            bytes += proposal.size();
            let Proposal { command, made, beside, answer } = proposal;
            entry.commands.push(command);
            entry.made.extend(told.then_some(made));
            waiting.push(Waiting { beside, answer: Some(answer) });
            let full = entry.commands.len() >= MAX_COMMANDS || bytes >= MAX_BYTES;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
        self.sequence += 1;
        let core = &cluster.network.core;
        let origin = Origin { node: core.node, epoch: self.epoch, sequence: self.sequence };
        core.pending.lock().insert(origin, waiting);
        let proposed = Proposed { origin, entry: Arc::new(entry) };
        let deadline = Instant::now() + cluster.timing.patience;
        self.flights.push_back(Flight { proposed, at: None, sent: false, deadline });
    }

    /// Answers everybody who waits. What is still under way counts no longer once a later epoch has begun.
    async fn give_up(&mut self, cluster: &Cluster) {
        let core = &cluster.network.core;
        for flight in self.flights.drain(..) {
            let waiting = core.pending.lock().remove(&flight.proposed.origin);
            let why = if flight.at.is_some() {
                "this node lags behind the cluster, or too few of its voters answer"
            } else {
                "the cluster has no leader that a majority follows"
            };
            for waiting in waiting.into_iter().flatten() {
                waiting.answer(Err(if flight.sent {
                    StorageError::Unknown { reason: why.into() }
                } else {
                    StorageError::unavailable(why)
                }));
            }
        }
        loop {
            match core.next_epoch().await {
                Ok(epoch) => {
                    (self.epoch, self.sequence) = (epoch, 0);
                    return;
                }
                Err(error) => tracing::warn!(%error, "proposing stops until the disk works again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Brings a group into the leader's log. Returns its index there.
async fn submit(cluster: &Cluster, flight: &mut Flight) -> Option<u64> {
    let proposed = flight.proposed.clone();
    let leader = cluster.leader()?;
    let reply = if leader == cluster.network.core.node {
        cluster.append(proposed).await
    } else {
        let peer = cluster.peer(leader)?;
        let (request, payload) = (Request::Propose(proposed.origin), proposed.encode());
        match cluster.network.call(&peer, request, &payload, cluster.timing.call_timeout()).await {
            Ok(reply) => reply,
            Err(crate::raft::TransportError::Unreachable(_)) => return None,
            Err(error) => Reply::Failed(error.to_string()),
        }
    };
    match reply {
        Reply::Appended(index) => {
            cluster.heard_of(index);
            flight.sent = true;
            Some(index)
        }
        Reply::Failed(why) => {
            tracing::debug!(why, "a proposal may be lost; it is repeated");
            flight.sent = true;
            None
        }
        _ => None,
    }
}
