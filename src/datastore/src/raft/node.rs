//! One node of a cluster.

use crate::raft::barrier;
use crate::raft::core::Core;
use crate::raft::log_store::LogStore;
use crate::raft::machine::Machine;
use crate::raft::network::Network;
use crate::raft::proposer::Proposer;
use crate::raft::roles;
use crate::raft::snapshot::{SnapshotFile, Source};
use crate::raft::transport::{Endpoint, Peer, Transport};
use crate::raft::types::{Member, Meta, Proposed, Raft, Role, from_row, role};
use crate::raft::wire::{self, Head, Reply, Request, WireError};
use crate::writer::Proposal;
use async_trait::async_trait;
use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use openraft::raft::AppendEntriesRequest;
use openraft::{ChangeMembers, ServerState, Snapshot, SnapshotPolicy, Vote};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::StorageError;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Entries that are kept for nodes that lag; beyond it they get a snapshot.
const KEPT_ENTRIES: u64 = 2048;

/// Bytes of the log on the disk beyond which fewer entries are kept.
const KEPT_BYTES: u64 = 16 << 20;

/// Entries that a node may lag behind and still become a voter.
const CAUGHT_UP: u64 = 128;

/// Between two looks at something that openraft tells nobody about.
const LOOK: Duration = Duration::from_millis(5);

/// The times of a cluster. All nodes need the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two signs of life of the leader. A message takes no longer either, its receiver's fsync included.
    pub heartbeat: Duration,
    /// A follower that has heard nothing for between two and three of these stands for election, roughly.
    pub election: Duration,
    /// How long a write or a consistent read waits for a leader.
    pub patience: Duration,
    /// After this time without an answer a node counts as dead, and another votes in its place.
    pub dead_after: Duration,
    /// Between two looks at who should vote. None: roles change by hand only.
    pub roles_every: Option<Duration>,
}

impl Default for Timing {
    /// A leader that dies is followed by another after 0.5 to 0.8 seconds.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(80),
            election: Duration::from_millis(160),
            patience: Duration::from_secs(10),
            dead_after: Duration::from_secs(2),
            roles_every: Some(Duration::from_millis(500)),
        }
    }
}

impl Timing {
    /// How long a call may take that has nothing to do with elections.
    pub(crate) fn call_timeout(&self) -> Duration {
        (self.election * 4).min(self.patience)
    }

    fn config(&self, cluster: &str) -> openraft::Config {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        openraft::Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election),
            election_timeout_max: millis(self.election * 2),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(KEPT_ENTRIES / 2),
            max_in_snapshot_log_to_keep: KEPT_ENTRIES,
            purge_batch_size: KEPT_ENTRIES / 8,
            ..openraft::Config::default()
        }
    }
}

/// What a cluster gives to a node that is to join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The cluster.
    pub cluster: String,
    /// The number of the new node, which no other has or had.
    pub node: u64,
}

/// How a node takes part in a cluster.
#[derive(Clone)]
pub struct ClusterOptions {
    /// What the others should know of it.
    pub member: Member,
    /// How it reaches them.
    pub transport: Arc<dyn Transport>,
    /// The cluster's times.
    pub timing: Timing,
    /// For the first start of a node that joins: what the cluster said to [`Change::Add`]. Ignored later.
    pub ticket: Option<Ticket>,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("member", &self.member)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new node, which becomes a standby.
    Add(Member),
    /// A node leaves for good; its number is never used again.
    Remove(u64),
    /// Standby to voter.
    Promote(u64),
    /// Voter to standby.
    Demote(u64),
    /// The one becomes a standby, the other a voter, at once.
    Replace {
        /// The voter.
        old: u64,
        /// The standby.
        new: u64,
    },
    /// A node has another name, address or failure domain.
    Update(u64, Member),
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It makes no sense; nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// It was not done, or not to the end, before the time was up: look at the status, and try again.
    #[error("the change did not come to an end: {0}")]
    Unfinished(String),
}

/// How a node sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its number.
    pub node: u64,
    /// Whom it follows, perhaps itself.
    pub leader: Option<u64>,
    /// The current term.
    pub term: u64,
    /// The index of the last entry of its log.
    pub last: u64,
    /// The index of the last entry that it has applied.
    pub applied: u64,
}

/// One member, as [`Cluster::status`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its number.
    pub id: u64,
    /// Its name, address, failure domain.
    pub member: Member,
    /// Its role.
    pub role: Role,
    /// What it says of itself; None when it does not answer.
    pub report: Option<NodeReport>,
}

/// The cluster as this node finds it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: u64,
    /// The cluster.
    pub cluster: String,
    /// Who leads, if a majority of voters answers and says the same.
    pub leader: Option<u64>,
    /// All members, in the order of numbers.
    pub members: Vec<MemberStatus>,
    /// Whether a majority of voters is alive: writes are possible.
    pub quorum: bool,
    /// Whether it would be still after the loss of any one node.
    pub survives_a_loss: bool,
}

/// A snapshot on its way in.
struct Incoming {
    checksum: String,
    file: SnapshotFile,
    open: tokio::fs::File,
    received: u64,
}

/// A node of a cluster that is running.
pub struct Cluster {
    pub(crate) network: Network,
    pub(crate) timing: Timing,
    raft: RwLock<Raft>,
    barriers: mpsc::UnboundedSender<barrier::Reader>,
    /// One change at a time.
    changes: tokio::sync::Mutex<()>,
    incoming: tokio::sync::Mutex<Option<Incoming>>,
    /// No proposals are taken: the leadership is being handed over.
    paused: AtomicBool,
    stopping: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

async fn start_raft(network: &Network, timing: &Timing) -> Result<Raft, StorageError> {
    let config = timing.config(&network.cluster).validate().map_err(StorageError::fatal)?;
    let core = &network.core;
    let (log, machine) = (LogStore(Arc::clone(core)), Machine(Arc::clone(core)));
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
        };
        let epoch = core.next_epoch().await?;
        let raft = start_raft(&network, &options.timing).await?;
        let (barriers, asked) = mpsc::unbounded_channel();
        let this = Arc::new(Self {
            network,
            timing: options.timing,
            raft: RwLock::new(raft),
            barriers,
            changes: tokio::sync::Mutex::default(),
            incoming: tokio::sync::Mutex::default(),
            paused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let weak = || Arc::downgrade(&this);
        let mut tasks = vec![
            tokio::spawn(Proposer::new(&this, proposals, epoch).run()).abort_handle(),
            tokio::spawn(barrier::run(weak(), asked)).abort_handle(),
            tokio::spawn(supervise(weak())).abort_handle(),
            tokio::spawn(compact(weak())).abort_handle(),
            tokio::spawn(introduce(weak(), options.member.clone())).abort_handle(),
        ];
        if let Some(interval) = options.timing.roles_every {
            tasks.push(tokio::spawn(roles::run(weak(), interval)).abort_handle());
        }
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
        let known = |(id, member): (&u64, &Member)| Some((*id, (member.clone(), role(members, *id)?)));
        members.nodes().filter_map(known).collect()
    }

    pub(crate) fn peer(&self, id: u64) -> Option<Peer> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        let member = metrics.membership_config.membership().get_node(&id)?.clone();
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

    /// Leader: brings a proposal into the log.
    pub(crate) async fn append(&self, proposed: Proposed) -> Reply {
        if self.paused.load(Ordering::Acquire) {
            return Reply::NotLeader(None);
        }
        let (origin, core) = (proposed.origin, &self.network.core);
        let (tell, told) = oneshot::channel();
        core.appended.lock().insert(origin, tell);
        let mut result = match self.raft().client_write_ff(proposed).await {
            Ok(result) => result,
            Err(error) => {
                core.appended.lock().remove(&origin);
                return Reply::Failed(error.to_string());
            }
        };
        let reply = tokio::select! {
            biased;
            Ok(index) = told => {
                // openraft complains when nobody listens.
                tokio::spawn(result);
                return Reply::Appended(index);
            }
            written = &mut result => match written {
                Ok(Ok(written)) => Reply::Appended(written.log_id.index),
                Ok(Err(ClientWriteError::ForwardToLeader(to))) => Reply::NotLeader(to.leader_id),
                Ok(Err(error)) => Reply::Failed(error.to_string()),
                Err(error) => Reply::Failed(error.to_string()),
            },
            () = tokio::time::sleep(self.timing.call_timeout()) => Reply::Failed("the log is stuck".into()),
        };
        core.appended.lock().remove(&origin);
        reply
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
            Request::Append { vote, previous, commit } => {
                let entries = match entries(payload) {
                    Ok(entries) => entries,
                    Err(why) => return Reply::Refused(why),
                };
                let request =
                    AppendEntriesRequest { vote, prev_log_id: previous, entries, leader_commit: commit };
                raft.append_entries(request)
                    .await
                    .map_or_else(|e| Reply::Failed(e.to_string()), Reply::Append)
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

    fn report(&self) -> NodeReport {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        NodeReport {
            node: self.id(),
            leader: metrics.current_leader,
            term: metrics.current_term,
            last: metrics.last_log_index.unwrap_or(0),
            applied: self.network.core.applied.borrow().saturating_sub(1),
        }
    }

    async fn receive(&self, piece: Piece) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let raft = self.raft();
        let own = raft.metrics().borrow().vote;
        if own > piece.vote {
            return Ok(Reply::Snapshot { vote: own, received: 0 });
        }
        let mut slot = self.incoming.lock().await;
        if piece.offset == 0 || slot.as_ref().is_none_or(|incoming| incoming.checksum != piece.checksum) {
            let file = SnapshotFile::new(&self.network.core.directory);
            let open = tokio::fs::File::create(&file.path).await?;
            *slot = Some(Incoming { checksum: piece.checksum.clone(), file, open, received: 0 });
        }
        let Some(incoming) = slot.as_mut() else { return Err("no snapshot is being received".into()) };
        if piece.offset == incoming.received {
            incoming.open.write_all(&piece.bytes).await?;
            incoming.received += piece.bytes.len() as u64;
        }
        let received = incoming.received;
        if received < piece.length {
            return Ok(Reply::Snapshot { vote: piece.vote, received });
        }
        let Some(Incoming { file, mut open, .. }) = slot.take() else { return Err("it is gone".into()) };
        open.flush().await?;
        drop(open);
        let examine = move || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let (checksum, length) = file.checksum()?;
            if (&checksum, length) != (&piece.checksum, piece.length) {
                return Err("the snapshot was damaged on its way".into());
            }
            let meta = file.meta()?;
            if meta.last_log_id != piece.meta.last_log_id {
                return Err("the snapshot is not the one that was announced".into());
            }
            Ok((meta, file))
        };
        let (meta, file) = tokio::task::spawn_blocking(examine).await??;
        let snapshot = Snapshot { meta, snapshot: Box::new(Source::File(Arc::new(file))) };
        let response = raft.install_full_snapshot(piece.vote, snapshot).await?;
        Ok(Reply::Snapshot { vote: response.vote, received })
    }

    /// Changes the members, from any node.
    ///
    /// Returns the number of a node that was added (and 0 otherwise).
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change(&self, change: Change) -> Result<u64, ChangeError> {
        let deadline = Instant::now() + self.timing.patience;
        let mut why = "the cluster has no leader that a majority follows".to_owned();
        while Instant::now() < deadline {
            match self.leader().map(|leader| (leader, self.peer(leader))) {
                Some((leader, _)) if leader == self.id() => match self.change_here(&change).await {
                    Ok(Some(id)) => return Ok(id),
                    Ok(None) => {}
                    Err(error) => return Err(error),
                },
                Some((_, Some(peer))) => {
                    let patience = deadline - Instant::now();
                    match self.network.call(&peer, Request::Change(change.clone()), &[], patience).await {
                        Ok(Reply::Changed(id)) => return Ok(id),
                        Ok(Reply::Refused(why)) => return Err(ChangeError::Refused(why)),
                        Ok(Reply::Failed(why)) => return Err(ChangeError::Unfinished(why)),
                        Ok(_) => {}
                        // Whoever is added twice has two numbers.
                        Err(crate::raft::TransportError::NoAnswer(why))
                            if matches!(change, Change::Add(_)) =>
                        {
                            return Err(ChangeError::Unfinished(why));
                        }
                        Err(error) => why = error.to_string(),
                    }
                }
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(ChangeError::Unfinished(why))
    }

    /// The ticket for a node that was added under a number.
    pub fn ticket(&self, node: u64) -> Ticket {
        Ticket { cluster: self.network.cluster.to_string(), node }
    }

    /// Leader: changes the members; None when somebody else leads.
    pub(crate) async fn change_here(&self, change: &Change) -> Result<Option<u64>, ChangeError> {
        let _one = self.changes.lock().await;
        let members = self.members();
        let known = |id: &u64| match members.get(id) {
            Some((_, role)) => Ok(*role),
            None => Err(ChangeError::Refused(format!("node {id} is no member of the cluster"))),
        };
        let mut added = 0;
        let mut then = None;
        let (changes, retain) = match change {
            Change::Add(member) => {
                if let Some((id, _)) = members.iter().find(|(_, (other, _))| other.name == member.name) {
                    return Err(ChangeError::Refused(format!(
                        "a node named {} is a member already (number {id}); remove it first, or choose another name",
                        member.name
                    )));
                }
                if let Some((_, (other, _))) =
                    members.iter().find(|(_, (other, _))| other.address == member.address)
                {
                    return Err(ChangeError::Refused(format!(
                        "node {} has the address {} already",
                        other.name, member.address
                    )));
                }
                // The log only grows, and this very change makes it grow: nobody had this number before.
                let last = self.raft().metrics().borrow().last_log_index.unwrap_or(0);
                let highest = members.keys().next_back().copied().unwrap_or(0);
                added = last.max(highest) + 1;
                (ChangeMembers::AddNodes(BTreeMap::from([(added, member.clone())])), true)
            }
            Change::Remove(id) => match known(id) {
                // It was done before.
                Err(_) => return Ok(Some(0)),
                Ok(Role::Voter) => {
                    if members.values().filter(|(_, role)| *role == Role::Voter).count() == 1 {
                        let why = "it is the only voter; make another node a voter first";
                        return Err(ChangeError::Refused(why.into()));
                    }
                    if *id == self.id() {
                        self.hand_over().await;
                        return Ok(None);
                    }
                    then = Some(ChangeMembers::RemoveNodes(BTreeSet::from([*id])));
                    (ChangeMembers::RemoveVoters(BTreeSet::from([*id])), true)
                }
                Ok(_) => (ChangeMembers::RemoveNodes(BTreeSet::from([*id])), true),
            },
            Change::Promote(id) => {
                if known(id)? == Role::Voter {
                    return Ok(Some(0));
                }
                self.check_caught_up(*id)?;
                (ChangeMembers::AddVoterIds(BTreeSet::from([*id])), true)
            }
            Change::Demote(id) => {
                if known(id)? != Role::Voter {
                    return Ok(Some(0));
                }
                if *id == self.id() {
                    self.hand_over().await;
                    return Ok(None);
                }
                (ChangeMembers::RemoveVoters(BTreeSet::from([*id])), true)
            }
            Change::Replace { old, new } => {
                known(old)?;
                known(new)?;
                self.check_caught_up(*new)?;
                let voters = members.iter().filter(|(_, (_, role))| *role == Role::Voter).map(|(id, _)| *id);
                let voters: BTreeSet<u64> = voters.filter(|id| id != old).chain([*new]).collect();
                (ChangeMembers::ReplaceAllVoters(voters), true)
            }
            Change::Update(id, member) => {
                known(id)?;
                if members.get(id).is_some_and(|(known, _)| known == member) {
                    return Ok(Some(0));
                }
                (ChangeMembers::SetNodes(BTreeMap::from([(*id, member.clone())])), true)
            }
        };
        for changes in std::iter::once(changes).chain(then) {
            let raft = self.raft();
            let changed = raft.change_membership(changes, retain);
            match tokio::time::timeout(self.timing.patience, changed).await {
                Ok(Ok(_)) => {}
                Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => return Ok(None),
                Ok(Err(error)) => return Err(ChangeError::Unfinished(error.to_string())),
                Err(_) => return Err(ChangeError::Unfinished("a majority of voters does not answer".into())),
            }
        }
        Ok(Some(added))
    }

    fn check_caught_up(&self, id: u64) -> Result<(), ChangeError> {
        if self.lag(id).is_some_and(|lag| lag <= CAUGHT_UP) {
            return Ok(());
        }
        Err(ChangeError::Refused(format!("node {id} has not caught up yet; it cannot vote before")))
    }

    /// Leader: how many entries a node lacks; None when it has none, or this node does not lead.
    pub(crate) fn lag(&self, id: u64) -> Option<u64> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        if id == self.id() {
            return Some(0);
        }
        let matching = (*metrics.replication.as_ref()?.get(&id)?)?;
        Some(metrics.last_log_index.unwrap_or(0).saturating_sub(matching.index))
    }

    /// Leader: whether a node is nearly up to date.
    pub(crate) fn is_caught_up(&self, id: u64) -> bool {
        self.lag(id).is_some_and(|lag| lag <= CAUGHT_UP)
    }

    /// When a node last answered this one.
    pub(crate) fn last_contact(&self, id: u64) -> Option<Instant> {
        self.network.contacts.lock().get(&id).copied()
    }

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

    /// The cluster as it is now: every member is asked.
    ///
    /// Cost: a second when one of them does not answer.
    pub async fn status(&self) -> Status {
        let patience = Duration::from_secs(1);
        let asked = self.members().into_iter().map(|(id, (member, role))| async move {
            let report = if id == self.id() {
                Some(self.report())
            } else {
                let peer = Peer { id, member: member.clone() };
                match self.network.call(&peer, Request::Report, &[], patience).await {
                    Ok(Reply::Report(report)) => Some(report),
                    _ => None,
                }
            };
            MemberStatus { id, member, role, report }
        });
        let members = futures::future::join_all(asked).await;
        let voters = || members.iter().filter(|member| member.role == Role::Voter);
        let majority = voters().count() / 2 + 1;
        let alive = voters().filter(|voter| voter.report.is_some()).count();
        let mut followers: HashMap<u64, usize> = HashMap::new();
        for leader in voters().filter_map(|voter| voter.report.as_ref()?.leader) {
            *followers.entry(leader).or_default() += 1;
        }
        let leader = followers.into_iter().find(|(_, count)| *count >= majority).map(|(leader, _)| leader);
        Status {
            node: self.id(),
            cluster: self.network.cluster.to_string(),
            leader,
            quorum: alive >= majority,
            survives_a_loss: alive > majority,
            members,
        }
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

    /// Ends the tasks of this node.
    pub(crate) fn abort(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }
}

#[async_trait]
impl Endpoint for Cluster {
    async fn serve(&self, request: Bytes) -> Bytes {
        let reply = self.answer(request).await;
        let encoded = wire::encode(&reply, &[]);
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

struct Piece {
    vote: Vote<u64>,
    meta: Meta,
    checksum: String,
    length: u64,
    offset: u64,
    bytes: Bytes,
}

fn entries(payload: Bytes) -> Result<Vec<crate::raft::types::RaftEntry>, String> {
    let rows = wire::take_rows(payload).map_err(|error| error.to_string())?;
    rows.into_iter().map(|row| from_row(row).map_err(|error| error.to_string())).collect()
}

/// Starts the replicated log again after the disk has failed it. The others go on meanwhile.
async fn supervise(cluster: Weak<Cluster>) {
    loop {
        let Some(this) = cluster.upgrade() else { return };
        let mut metrics = this.raft().metrics();
        drop(this);
        // An error: openraft has ended without a word, which is no better.
        let _ = metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
        let why = metrics.borrow().running_state.clone();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
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

/// Keeps the log's bytes within bounds; openraft counts entries only.
async fn compact(cluster: Weak<Cluster>) {
    let Some(mut size) = cluster.upgrade().map(|this| this.network.core.size.subscribe()) else { return };
    while size.wait_for(|size| size.bytes > KEPT_BYTES && size.entries > 1).await.is_ok() {
        let Some(this) = cluster.upgrade() else { return };
        let (raft, entries) = (this.raft(), size.borrow().entries);
        let metrics = raft.metrics();
        let last = metrics.borrow().last_log_index.unwrap_or(0);
        drop(this);
        if raft.trigger().snapshot().await.is_ok() {
            let _ = raft.trigger().purge_log(last.saturating_sub(entries / 2)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Has the others know this node's name and address when they know something else.
async fn introduce(cluster: Weak<Cluster>, member: Member) {
    loop {
        let Some(this) = cluster.upgrade() else { return };
        let mut metrics = this.raft().metrics();
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
