//! What openraft's two stores, the proposer and the readers of one node share.

use crate::bug::{Bug, is_back};
use crate::error::storage_error;
use crate::executor::Threads;
use crate::limits::Limits;
use crate::log::Position;
use crate::raft::options::Ticket;
use crate::raft::types::{Origin, RaftEntry, Seat, load_config, log_id, save_config};
use crate::raft::wire::Reply;
use crate::reader::Opener;
use crate::schema::{Location, pragma};
use crate::state_machine::StateMachine;
use crate::store::Beginning;
use crate::writer::{Job, Request, Waiting, Writer};
use openraft::{Membership, Vote};
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::StorageError;
use tokio::sync::{mpsc, oneshot, watch};

/// Bytes of recent entries in memory: what followers that keep up ask for, and what is about to be applied.
const RECENT_BYTES: usize = 2 << 20;

/// When a transaction counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It is on the disk.
    Synced,
    /// The next synced one takes it along; a power cut may undo it before. For what the log, which is synced,
    /// says again.
    Repeatable,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: u64,
    pub(crate) cluster: String,
}

impl Identity {
    /// Reads it; None in a database that has never been given one.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        connection.query_row("SELECT node, cluster FROM consensus", [], |row| {
            let node: Option<u64> = row.get(0)?;
            node.map(|node| Ok(Self { node, cluster: row.get(1)? })).transpose()
        })
    }

    /// Reads it, or gives the node one: the ticket's, or that of the founder of a new cluster. A database that has
    /// state but no identity was a single node's of an older version.
    pub(crate) fn settle(
        machine: &mut StateMachine,
        ticket: Option<&Ticket>,
        connection: &Connection,
    ) -> rusqlite::Result<Self> {
        if let Some(identity) = Self::load(connection)? {
            return Ok(identity);
        }
        match ticket {
            Some(ticket) if machine.applied.is_none() => {
                let identity = Self { node: ticket.node, cluster: ticket.cluster.clone() };
                identity.join(connection)?;
                Ok(identity)
            }
            _ => Self::found(machine, connection),
        }
    }

    /// Whether the node is the only one of its cluster and leads it, with nothing left to apply: then it needs
    /// nobody's consent to commit.
    pub(crate) fn is_sole(&self, machine: &StateMachine, connection: &Connection) -> rusqlite::Result<bool> {
        let config = load_config(connection)?;
        let members = config.membership();
        let alone = members.nodes().all(|(id, _)| *id == self.node)
            && members.voter_ids().eq([self.node])
            && members.get_joint_config().len() == 1;
        let vote = load_vote(connection)?;
        let leads = vote.is_some_and(|vote| vote.committed && vote.leader_id.node_id == self.node);
        let applied = crate::log::bounds(connection)?.last.is_none_or(|last| Some(last) <= machine.applied);
        // What it appends next has to be of the term that it leads.
        let term = vote.is_some_and(|vote| {
            machine
                .applied
                .is_some_and(|at| (at.term, at.node) == (vote.leader_id.term, vote.leader_id.node_id))
        });
        Ok(alone && leads && applied && term)
    }

    /// Makes the node the first and only voter of a new cluster, of what is in the database already.
    pub(crate) fn found(machine: &mut StateMachine, connection: &Connection) -> rusqlite::Result<Self> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let identity = Self::found_within(machine, connection)?;
        connection.execute_batch("COMMIT")?;
        Ok(identity)
    }

    /// The same within the transaction that the connection is in.
    pub(crate) fn found_within(
        machine: &mut StateMachine,
        connection: &Connection,
    ) -> rusqlite::Result<Self> {
        let founder = machine.applied.unwrap_or(Position { term: 1, node: 1, index: 1 });
        connection.execute(
            "UPDATE consensus SET node = ?1, cluster = lower(hex(randomblob(16)))",
            [founder.node],
        )?;
        save_vote(&Vote::new_committed(founder.term, founder.node), connection)?;
        let nodes = BTreeMap::from([(founder.node, Seat::default())]);
        let members = Membership::new(vec![BTreeSet::from([founder.node])], nodes);
        save_config(Some(founder), &members, connection)?;
        machine.applied = Some(founder);
        machine.save(connection)?;
        crate::log::purge(connection, founder)?;
        Ok(Self::load(connection)?.unwrap_or(Self { node: founder.node, cluster: String::new() }))
    }

    /// Makes the node, whose database is empty, one that an existing cluster has given a number to.
    pub(crate) fn join(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .execute("UPDATE consensus SET node = ?1, cluster = ?2", params![self.node, self.cluster])
            .map(drop)
    }
}

/// Notes whom this node votes for.
pub(crate) fn save_vote(vote: &Vote<u64>, connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE consensus SET vote_term = ?1, vote_node = ?2, vote_committed = ?3")?
        .execute(params![vote.leader_id.term, vote.leader_id.node_id, vote.committed])
        .map(drop)
}

/// Whom this node voted for last; None before its first vote.
pub(crate) fn load_vote(connection: &Connection) -> rusqlite::Result<Option<Vote<u64>>> {
    connection.query_row("SELECT vote_term, vote_node, vote_committed FROM consensus", [], |row| {
        let node: Option<u64> = row.get(1)?;
        let (term, committed) = (row.get(0)?, row.get(2)?);
        Ok(node.map(|node| Vote { committed, ..Vote::new(term, node) }))
    })
}

/// Runs `work` in one transaction on the writer's connection. The counters change with it.
///
/// # Errors
/// The disk's; what was done is undone, or taken over if it counted after all.
pub(crate) fn transaction<T>(
    writer: &mut Writer,
    step: &'static str,
    durability: Durability,
    work: impl FnOnce(&Connection, &mut StateMachine) -> rusqlite::Result<T>,
) -> Result<T, StorageError> {
    let mut machine = writer.machine;
    let connection = &writer.connection;
    let whole = || {
        // SQLite heeds it when it is prepared, so a cached statement would do nothing.
        let level = if durability == Durability::Synced && !is_back(Bug::EarlyAcknowledgement) {
            "synchronous = FULL"
        } else {
            "synchronous = NORMAL"
        };
        pragma(connection, level)?;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = work(connection, &mut machine)?;
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(result)
    };
    match whole() {
        Ok(result) => {
            writer.machine = machine;
            writer.after_commit();
            Ok(result)
        }
        Err(error) => {
            writer.doubt.failed(&error);
            let error = storage_error(step, &error);
            tracing::error!(%error, "a step of the replicated log failed");
            writer.counters.failures.fetch_add(1, Ordering::Relaxed);
            writer.doubtful = true;
            // If this fails too, whoever comes next tries it again.
            let _ = writer.settle();
            Err(error)
        }
    }
}

/// The newest entries of the log, without gaps.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<(RaftEntry, usize)>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn push(&mut self, entry: RaftEntry, size: usize) {
        if self.entries.back().is_some_and(|(last, _)| last.log_id.index + 1 != entry.log_id.index) {
            *self = Self::default();
        }
        self.bytes += size;
        self.entries.push_back((entry, size));
        while self.bytes > RECENT_BYTES
            && let Some((_, size)) = self.entries.pop_front()
        {
            self.bytes -= size;
        }
    }

    /// The entries with `from <= index < to`, as many as fit into `max_bytes` and one at least; None when not all
    /// that are asked for are here.
    pub(crate) fn range(&self, from: u64, to: u64, max_bytes: usize) -> Option<Vec<RaftEntry>> {
        let first = self.entries.front()?.0.log_id.index;
        let (start, end) = (from.checked_sub(first)?, to.checked_sub(first)?);
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        if end > self.entries.len() || start > end {
            return None;
        }
        let mut bytes = 0;
        let fits = |(n, (_, size)): &(usize, &(RaftEntry, usize))| {
            bytes += size;
            *n == 0 || bytes <= max_bytes
        };
        let taken = self.entries.range(start..end).enumerate().take_while(fits);
        Some(taken.map(|(_, (entry, _))| entry.clone()).collect())
    }

    pub(crate) fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index >= from)
            && let Some((_, size)) = self.entries.pop_back()
        {
            self.bytes -= size;
        }
    }

    pub(crate) fn purge(&mut self, up_to: u64) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id.index <= up_to)
            && let Some((_, size)) = self.entries.pop_front()
        {
            self.bytes -= size;
        }
    }
}

/// Entries and bytes in the log table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogSize {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// The shared part.
pub(crate) struct Core {
    /// This node.
    pub(crate) node: u64,
    pub(crate) at: Location,
    /// Where snapshots are made and received.
    pub(crate) directory: PathBuf,
    pub(crate) opener: Opener,
    pub(crate) recent: Mutex<Recent>,
    /// Who waits until a proposal is in this node's log, to be told its index or why it is not.
    pub(crate) appended: Mutex<HashMap<Origin, oneshot::Sender<Reply>>>,
    /// The last entry that openraft has given this node's log, set while those who wait for their places are told.
    pub(crate) placed: AtomicU64,
    /// The writers of this node's proposals that are not applied yet.
    pub(crate) pending: Mutex<BTreeMap<Origin, Vec<Waiting>>>,
    /// The index after the last entry that was applied and can be read.
    pub(crate) applied: watch::Sender<u64>,
    /// The index of the last entry in the log that is on the disk.
    pub(crate) synced: watch::Sender<u64>,
    /// Whether every node reads entries that tell who made them ([`crate::raft::authors`]).
    pub(crate) tells_authors: AtomicBool,
    /// How long the log is.
    pub(crate) size: watch::Sender<LogSize>,
    pub(crate) limits: Limits,
    pub(crate) threads: Threads,
    requests: mpsc::Sender<Request>,
}

impl Core {
    pub(crate) fn new(of: &Beginning, requests: mpsc::Sender<Request>) -> Self {
        Self {
            node: of.identity.node,
            at: of.at.clone(),
            directory: of.directory.clone(),
            opener: of.opener.clone(),
            limits: of.limits,
            threads: of.threads.clone(),
            recent: Mutex::default(),
            appended: Mutex::default(),
            placed: AtomicU64::default(),
            pending: Mutex::default(),
            applied: watch::Sender::default(),
            synced: watch::Sender::default(),
            tells_authors: AtomicBool::default(),
            size: watch::Sender::default(),
            requests,
        }
    }

    /// Runs a job on the writer's thread.
    ///
    /// # Errors
    /// The job's; `Unavailable` when the store is closing, or after an earlier failure that is not overcome.
    ///
    /// Cancel safety: the job runs all the same.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (answer, answered) = oneshot::channel();
        self.begin(move |writer| {
            let result = writer.settle().and_then(|()| job(writer));
            // Nobody waits any more: fine.
            let _ = answer.send(result);
        })
        .await?;
        answered.await.map_err(|_| StorageError::unavailable("it is shutting down"))?
    }

    /// Has a job run on the writer's thread, after those that were begun before it. It has to settle the writer itself.
    ///
    /// # Errors
    /// `Unavailable` when the store is closing; then it does not run.
    pub(crate) async fn begin(
        &self,
        job: impl FnOnce(&mut Writer) + Send + 'static,
    ) -> Result<(), StorageError> {
        let job: Job = Box::new(job);
        let closed = |_| StorageError::unavailable("it is shutting down");
        self.requests.send(Request::Run(job)).await.map_err(closed)
    }

    /// Tells readers that everything up to a position is applied.
    pub(crate) fn reached(&self, at: Option<Position>) {
        self.applied.send_replace(at.map_or(0, |at| at.index + 1));
    }

    /// Whether a proposal of this node still waits to be applied.
    pub(crate) fn is_pending(&self, origin: &Origin) -> bool {
        self.pending.lock().contains_key(origin)
    }

    /// The proposer's numbers after a start: an epoch that was never used.
    pub(crate) async fn next_epoch(&self) -> Result<u64, StorageError> {
        self.run(|writer| {
            transaction(writer, "starting an epoch", Durability::Synced, |connection, _| {
                connection
                    .query_row("UPDATE consensus SET epoch = epoch + 1 RETURNING epoch", [], |row| row.get(0))
            })
        })
        .await
    }
}

/// What the log is made of, for openraft's start.
pub(crate) fn last_applied(machine: &StateMachine) -> Option<openraft::LogId<u64>> {
    machine.applied.map(log_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::EntryPayload;

    fn entry(index: u64) -> RaftEntry {
        RaftEntry { log_id: log_id(Position { term: 1, node: 1, index }), payload: EntryPayload::Blank }
    }

    #[test]
    fn recent_entries_are_found_only_when_all_of_them_are_there() {
        let mut recent = Recent::default();
        assert_eq!(recent.range(0, 1, 9), None);
        for index in 5..15 {
            recent.push(entry(index), 10);
        }
        let found = |recent: &Recent, from, to, bytes| -> Option<Vec<u64>> {
            Some(recent.range(from, to, bytes)?.iter().map(|entry| entry.log_id.index).collect())
        };
        assert_eq!(found(&recent, 6, 9, 1000), Some(vec![6, 7, 8]));
        assert_eq!(found(&recent, 6, 9, 25), Some(vec![6, 7]));
        assert_eq!(found(&recent, 6, 9, 1), Some(vec![6]));
        assert_eq!(found(&recent, 4, 6, 1000), None);
        assert_eq!(found(&recent, 14, 16, 1000), None);
        recent.truncate(13);
        recent.purge(6);
        assert_eq!(found(&recent, 7, 13, 1000).map(|all| all.len()), Some(6));
        assert_eq!(found(&recent, 6, 8, 1000), None);
        recent.push(entry(30), RECENT_BYTES);
        assert_eq!((found(&recent, 30, 31, 1), recent.bytes), (Some(vec![30]), RECENT_BYTES));
        recent.push(entry(31), 1);
        assert_eq!((found(&recent, 31, 32, 1), recent.bytes), (Some(vec![31]), 1));
    }
}
