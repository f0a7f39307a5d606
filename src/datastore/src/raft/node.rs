//! One node of a cluster.

use crate::bug::{Bug, is_back};
use crate::raft::authors;
use crate::raft::barrier;
use crate::raft::core::Core;
use crate::raft::feed::{self, Fed};
use crate::raft::log_store::{LogStore, Lost};
use crate::raft::machine::Machine;
use crate::raft::membership::ChangeError;
use crate::raft::network::Network;
use crate::raft::options::{ClusterOptions, Timing};
use crate::raft::plan::Goal;
use crate::raft::proposer::Proposer;
use crate::raft::receive::{Incoming, Piece};
use crate::raft::snapshot::SnapshotFile;
use crate::raft::transport::{Endpoint, Peer};
use crate::raft::types::{Member, Proposed, Raft, RaftEntry, Role, Seat, from_row, role};
use crate::raft::wire::{self, Head, Reply, Request, WireError};
use crate::raft::{merge, retention, roles, upkeep};
use crate::writer::Proposal;
use async_trait::async_trait;
use bytes::Bytes;
use openraft::error::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{LogId, ServerState};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use storage::StorageError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Between two looks at something that openraft tells nobody about.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// A node of a cluster that is running.
pub struct Cluster {
    pub(crate) network: Network,
    pub(crate) timing: Timing,
    pub(crate) goal: Goal,
    pub(crate) raft: RwLock<Raft>,
    barriers: mpsc::UnboundedSender<barrier::Reader>,
    /// Proposals that are to be merged into one entry.
    pub(crate) merging: mpsc::UnboundedSender<Proposed>,
    /// One change at a time.
    pub(crate) changes: tokio::sync::Mutex<()>,
    pub(crate) incoming: tokio::sync::Mutex<Option<Incoming>>,
    /// No proposals are taken: the leadership is being handed over.
    pub(crate) paused: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// Whether this node fetches the log, as the leader told it last.
    pub(crate) fetches: watch::Sender<bool>,
    /// The index of an entry that is in the leader's log.
    pub(crate) heard_of: AtomicU64,
    /// The spares that this node feeds.
    pub(crate) fed: Arc<Mutex<BTreeMap<u64, Fed>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// openraft, from what is on the disk.
pub(crate) async fn start_raft(network: &Network, timing: &Timing) -> Result<Raft, StorageError> {
    let core = &network.core;
    let config = timing.config(&network.cluster).validate().map_err(StorageError::fatal)?;
    let lost = Lost::default();
    let log = LogStore::new(Arc::clone(core), lost.clone());
    let machine = Machine { core: Arc::clone(core), lost };
    Raft::new(core.node, Arc::new(config), network.clone(), log, machine)
        .await
        .map_err(|error| StorageError::unavailable(format_args!("starting the replicated log: {error}")))
}

impl Cluster {
    /// Starts a node whose database has been given an identity. `proposals` is where its writers' commands come.
    pub(crate) async fn start(
        core: Arc<Core>,
        cluster: &str,
        options: &ClusterOptions,
        proposals: mpsc::UnboundedReceiver<Proposal>,
    ) -> Result<Arc<Self>, StorageError> {
        if let Err(error) = SnapshotFile::clean(&core.directory) {
            tracing::warn!(%error, "snapshots of an earlier run are left");
        }
        let network = Network {
            core: Arc::clone(&core),
            cluster: cluster.into(),
            transport: Arc::clone(&options.transport),
            contacts: Arc::default(),
            snapshots: Arc::default(),
        };
        let epoch = core.next_epoch().await?;
        let raft = start_raft(&network, &options.timing).await?;
        let (barriers, asked) = mpsc::unbounded_channel();
        let (merging, offered) = mpsc::unbounded_channel();
        let this = Arc::new(Self {
            network,
            timing: options.timing,
            goal: options.goal,
            raft: RwLock::new(raft),
            barriers,
            merging,
            changes: tokio::sync::Mutex::default(),
            incoming: tokio::sync::Mutex::default(),
            paused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            fetches: watch::Sender::default(),
            heard_of: AtomicU64::default(),
            fed: Arc::default(),
            tasks: Mutex::default(),
        });
        let role = this.members().get(&this.id()).map(|(_, role)| *role);
        this.fetches.send_replace(role == Some(Role::Spare));
        let weak = || Arc::downgrade(&this);
        let mut tasks = vec![
            tokio::spawn(Proposer::new(&this, proposals, epoch).run()).abort_handle(),
            tokio::spawn(barrier::run(weak(), asked)).abort_handle(),
            tokio::spawn(merge::run(weak(), offered)).abort_handle(),
            tokio::spawn(authors::run(weak())).abort_handle(),
            tokio::spawn(upkeep::supervise(weak())).abort_handle(),
            tokio::spawn(retention::run(weak())).abort_handle(),
            tokio::spawn(upkeep::introduce(weak(), options.member.clone())).abort_handle(),
        ];
        if let Some(interval) = options.timing.roles_every {
            tasks.push(tokio::spawn(roles::run(weak(), interval)).abort_handle());
        }
        tasks.push(tokio::spawn(feed::run(weak())).abort_handle());
        *this.tasks.lock() = tasks;
        Ok(this)
    }

    pub(crate) fn raft(&self) -> Raft {
        self.raft.read().clone()
    }

    /// This node's number.
    pub fn id(&self) -> u64 {
        self.network.core.node
    }

    /// Whom this node follows, perhaps itself. It may be wrong: the leader may have died a moment ago.
    pub fn leader(&self) -> Option<u64> {
        self.raft().metrics().borrow().current_leader
    }

    /// Whether this node believes that it leads.
    pub fn is_leader(&self) -> bool {
        self.raft().metrics().borrow().state == ServerState::Leader
    }

    /// The members, as this node knows them, and their roles.
    pub fn members(&self) -> BTreeMap<u64, (Member, Role)> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        let known = |(id, seat): (&u64, &Seat)| Some((*id, (seat.member.clone(), role(members, *id)?)));
        members.nodes().filter_map(known).collect()
    }

    pub(crate) fn peer(&self, id: u64) -> Option<Peer> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        let member = metrics.membership_config.membership().get_node(&id)?.member.clone();
        Some(Peer { id, member })
    }

    /// Waits until everything that was acknowledged anywhere in the cluster can be read here.
    ///
    /// # Errors
    /// `Unavailable` when no majority of voters is there to say so, or this node lags.
    pub async fn barrier(&self) -> Result<(), StorageError> {
        let closed = || StorageError::unavailable("it is shutting down");
        let (reader, done) = oneshot::channel();
        self.barriers.send(reader).map_err(|_| closed())?;
        done.await.map_err(|_| closed())?
    }

    /// Leader: makes sure that it is, and tells up to where (exclusive) the log has to be applied for a read.
    pub(crate) async fn confirm(&self) -> Reply {
        if is_back(Bug::StaleRead) {
            return Reply::Index(*self.network.core.applied.borrow());
        }
        let raft = self.raft();
        match tokio::time::timeout(self.timing.call_timeout(), raft.get_read_log_id()).await {
            Ok(Ok((index, _))) => Reply::Index(index.map_or(0, |id| id.index + 1)),
            Ok(Err(RaftError::APIError(openraft::error::CheckIsLeaderError::ForwardToLeader(to)))) => {
                Reply::NotLeader(to.leader_id)
            }
            Ok(Err(error)) => Reply::Failed(error.to_string()),
            Err(_) => Reply::Failed("a majority of voters does not answer".into()),
        }
    }

    async fn answer(&self, message: Bytes) -> Reply {
        let (head, payload) = match wire::decode::<Head>(message) {
            Ok(decoded) => decoded,
            Err(error) => return Reply::Refused(error.to_string()),
        };
        if *head.cluster != *self.network.cluster {
            return Reply::Refused("this node belongs to another cluster".into());
        }
        if head.to != self.id() {
            return Reply::Refused(format!("this is node {}, not node {}", self.id(), head.to));
        }
        if self.stopping.load(Ordering::Acquire) {
            return Reply::Failed("the node is shutting down".into());
        }
        let raft = self.raft();
        match head.request {
            Request::Append { vote, previous, commit, elsewhere } => {
                let entries = match entries(payload) {
                    Ok(entries) => entries,
                    Err(why) => return Reply::Refused(why),
                };
                if !follow(previous.as_ref(), &entries) {
                    return Reply::Failed("entries are missing before those that came".into());
                }
                let request =
                    AppendEntriesRequest { vote, prev_log_id: previous, entries, leader_commit: commit };
                match raft.append_entries(request).await {
                    Ok(reply) => {
                        // Who does not lead any more has nothing to tell.
                        if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
                            self.told(elsewhere);
                        }
                        Reply::Append(reply)
                    }
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Request::Vote(request) => {
                raft.vote(request).await.map_or_else(|e| Reply::Failed(e.to_string()), Reply::Vote)
            }
            Request::Snapshot { vote, meta, checksum, length, offset } => {
                let piece = Piece { vote, meta, checksum, length, offset, bytes: payload };
                self.receive(piece).await.unwrap_or_else(|error| Reply::Failed(error.to_string()))
            }
            Request::Propose(origin) => match Proposed::decode(&payload) {
                Ok(proposed) if proposed.origin == origin => self.append(proposed).await,
                Ok(_) => Reply::Refused("the proposal is not the one that was announced".into()),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Request::ReadIndex => self.confirm().await,
            Request::Fetch { after } => self.feed(head.from, after).await,
            Request::Elect => match raft.trigger().elect().await {
                Ok(()) => Reply::Done,
                Err(error) => Reply::Failed(error.to_string()),
            },
            Request::Report => Reply::Report(self.report()),
            Request::Change(change) => match self.change_here(&change).await {
                Ok(Some(id)) => Reply::Changed(id),
                Ok(None) => Reply::NotLeader(self.leader()),
                Err(ChangeError::Refused(why)) => Reply::Refused(why),
                Err(ChangeError::Unfinished(why)) => Reply::Failed(why),
            },
        }
    }

    /// When a node last answered this one.
    pub fn last_contact(&self, id: u64) -> Option<Instant> {
        self.network.contacts.lock().get(&id).copied()
    }

    /// Hands the leadership over if this node has it, and stops.
    pub(crate) async fn stop(&self) {
        if self.is_leader() {
            self.hand_over().await;
        }
        self.stopping.store(true, Ordering::Release);
        self.abort();
        if let Err(error) = self.raft().shutdown().await {
            tracing::error!(%error, "the replicated log ended abnormally");
        }
        let pending = std::mem::take(&mut *self.network.core.pending.lock());
        for waiting in pending.into_values().flatten() {
            waiting.answer(Err(StorageError::Unknown { reason: "this node is shutting down".into() }));
        }
    }

    /// A task that ends with this node.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task).abort_handle());
    }

    /// Ends the tasks of this node.
    pub(crate) fn abort(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }
}

#[async_trait]
impl Endpoint for Cluster {
    async fn serve(&self, request: Bytes) -> Bytes {
        let reply = self.answer(request).await;
        let encoded = wire::encode(&reply, reply.payload());
        // An empty reply is one that nobody understands: no answer.
        encoded.unwrap_or_else(|error: WireError| {
            tracing::error!(%error, "a reply cannot be encoded");
            Bytes::new()
        })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.id()).finish_non_exhaustive()
    }
}

/// Whether entries come right behind what is said to be before them, which openraft takes for granted. Who led until a
/// moment ago may have dropped the beginning of what it is about to send.
fn follow(previous: Option<&LogId<u64>>, entries: &[RaftEntry]) -> bool {
    let next = previous.map_or(0, |previous| previous.index + 1);
    entries.iter().zip(next..).all(|(entry, index)| entry.log_id.index == index)
}

pub(crate) fn entries(payload: Bytes) -> Result<Vec<RaftEntry>, String> {
    let rows = wire::take_rows(payload).map_err(|error| error.to_string())?;
    rows.into_iter().map(|row| from_row(row).map_err(|error| error.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Position;
    use crate::raft::types::log_id;
    use openraft::EntryPayload;

    #[test]
    fn entries_follow_what_is_before_them_without_a_gap() {
        let at = |index| log_id(Position { term: 1, node: 1, index });
        let entries = |indexes: &[u64]| -> Vec<RaftEntry> {
            indexes
                .iter()
                .map(|index| RaftEntry { log_id: at(*index), payload: EntryPayload::Blank })
                .collect()
        };
        assert!(follow(Some(&at(4)), &entries(&[5, 6])) && follow(Some(&at(4)), &[]));
        assert!(follow(None, &entries(&[0, 1])));
        for gap in [&[6, 7][..], &[5, 7], &[4, 5]] {
            assert!(!follow(Some(&at(4)), &entries(gap)), "{gap:?}");
        }
        assert!(!follow(None, &entries(&[1])));
    }
}
