//! openraft's view of the log.

use crate::bug::{Bug, is_back};
use crate::error::storage_error;
use crate::log::{self, LogRow};
use crate::raft::core::{Core, Durability, LogSize, load_vote, save_vote, transaction};
use crate::raft::types::{RaftEntry, Types, from_row, groups, log_id, position, to_row};
use crate::raft::wire::Reply;
use crate::writer::Writer;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, LogId, LogState, RaftLogReader, StorageError as RaftStorageError, StorageIOError, Vote,
};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::StorageError;

/// Bytes of entries that go to a follower at once.
const PAGE_BYTES: usize = 4 << 20;

type Result<T> = std::result::Result<T, RaftStorageError<u64>>;

/// The log of this node. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    pub(crate) core: Arc<Core>,
    pub(crate) lost: Lost,
    /// The term and the node that the last vote was for.
    vote: Arc<Mutex<Option<(u64, u64)>>>,
}

/// Whether entries could not be written of which openraft believes that they are. Then the log is of no use until openraft
/// is started again; each start has one of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost(Arc<AtomicBool>);

impl Lost {
    fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// To be asked on the writer's thread, where it is noticed.
    pub(crate) fn refuse(&self) -> std::result::Result<(), StorageError> {
        if self.is() {
            Err(StorageError::unavailable("entries before it could not be written"))
        } else {
            Ok(())
        }
    }
}

pub(crate) fn reading(error: StorageError) -> RaftStorageError<u64> {
    StorageIOError::read_logs(AnyError::new(&error)).into()
}

fn writing(error: StorageError) -> RaftStorageError<u64> {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

/// Refuses entries that would leave a gap: those before them come with a snapshot that is not installed yet.
fn follows(writer: &Writer, first: u64) -> std::result::Result<(), StorageError> {
    let bounds = log::bounds(&writer.connection).map_err(|error| storage_error("reading the log", &error))?;
    let last = bounds.last.max(writer.machine.applied).map_or(0, |last| last.index);
    if first > last + 1 && last > 0 {
        return Err(StorageError::unavailable(format_args!(
            "appending to the log: entry {first} came, and {last} is the last one"
        )));
    }
    Ok(())
}

pub(crate) fn measure(writer: &Writer, core: &Core) {
    match log::size(&writer.connection) {
        Ok((entries, bytes)) => _ = core.size.send_replace(LogSize { entries, bytes }),
        Err(error) => tracing::warn!(%error, "the log cannot be measured; it is compacted later"),
    }
}

/// Writes entries to the disk. What follows may be appended from then on.
fn write(writer: &mut Writer, core: &Core, rows: &[LogRow]) -> std::result::Result<(), StorageError> {
    follows(writer, rows.first().map_or(0, |row| row.at.index))?;
    transaction(writer, "appending to the log", Durability::Synced, |connection, _| {
        rows.iter().try_for_each(|row| log::append(connection, row))
    })?;
    let mut size = *core.size.borrow();
    size.entries += rows.len() as u64;
    size.bytes += rows.iter().map(|row| row.body.len() as u64).sum::<u64>();
    core.size.send_replace(size);
    if let Some(last) = rows.last() {
        core.synced.send_replace(last.at.index);
    }
    Ok(())
}

fn remember(core: &Core, entries: Vec<RaftEntry>, rows: &[LogRow]) {
    let mut recent = core.recent.lock();
    for (entry, row) in entries.into_iter().zip(rows) {
        recent.push(entry, row.body.len() + 64);
    }
}

impl LogStore {
    pub(crate) fn new(core: Arc<Core>, lost: Lost) -> Self {
        Self { core, lost, vote: Arc::default() }
    }

    /// Whether the entries are groups of commands that this node appends as the leader. Who gets entries of another
    /// leader has voted for that one before.
    fn leads(&self, entries: &[RaftEntry]) -> bool {
        let vote = *self.vote.lock();
        let own = |entry: &RaftEntry| {
            let by = entry.log_id.leader_id;
            by.node_id == self.core.node && vote == Some((by.term, by.node_id)) && !groups(entry).is_empty()
        };
        entries.iter().all(own)
    }

    /// Has entries of the leader written while they are on their way to the others, which openraft would not begin before.
    ///
    /// openraft takes them for written, and counts this node among those that have them. So what it then takes for
    /// committed goes nowhere before they are: what is applied comes after them on the writer's thread, and followers
    /// are told when they are synced ([`crate::raft::network`]). A crash before that leaves a leader that has lost the
    /// end of its log, and that nobody has counted on.
    async fn write_beside(
        &self,
        core: Arc<Core>,
        entries: Vec<RaftEntry>,
        rows: Vec<LogRow>,
    ) -> std::result::Result<(), StorageError> {
        if self.lost.is() {
            return self.lost.refuse();
        }
        remember(&core, entries, &rows);
        let lost = self.lost.clone();
        let write = move |writer: &mut Writer| {
            let whole = lost.refuse().and_then(|()| writer.settle());
            if let Err(error) = whole.and_then(|()| write(writer, &core, &rows)) {
                tracing::error!(%error, "the leader's log ends; it is read anew");
                lost.0.store(true, Ordering::Relaxed);
                core.recent.lock().truncate(rows.first().map_or(0, |row| row.at.index));
            }
        };
        self.core.begin(write).await
    }

    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<RaftEntry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.core.recent.lock().range(from, to, max_bytes) {
            return Ok(entries);
        }
        let rows: Vec<LogRow> = self
            .core
            .run(move |writer| {
                log::read(&writer.connection, from, to, max_bytes)
                    .map_err(|error| storage_error("reading the log", &error))
            })
            .await
            .map_err(reading)?;
        let entries = rows.into_iter().map(from_row).collect::<std::result::Result<_, _>>();
        entries.map_err(|error| reading(StorageError::fatal(error)))
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>> {
        self.read(start, end, PAGE_BYTES).await
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>> {
        let core = Arc::clone(&self.core);
        let bounds = self.core.run(move |writer| {
            measure(writer, &core);
            let bounds = log::bounds(&writer.connection);
            let bounds = bounds.map_err(|error| storage_error("reading the log", &error))?;
            let last = bounds.last.map_or(0, |last| last.index);
            core.synced.send_replace(last);
            core.recent.lock().truncate(last + 1);
            Ok(bounds)
        });
        let bounds = bounds.await.map_err(reading)?;
        Ok(LogState { last_purged_log_id: bounds.purged.map(log_id), last_log_id: bounds.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<()> {
        if is_back(Bug::ForgottenVote) {
            return Ok(());
        }
        let vote = *vote;
        *self.vote.lock() = Some((vote.leader_id.term, vote.leader_id.node_id));
        let saved = self.core.run(move |writer| {
            transaction(writer, "voting", Durability::Synced, |connection, _| save_vote(&vote, connection))
        });
        saved.await.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    /// Who led is elected anew. openraft would take its leadership up again where the disk says, and answer consistent
    /// reads without what was committed and is not applied, or no longer since applying is not synced.
    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        let node = self.core.node;
        let read = self.core.run(move |writer| {
            let vote = load_vote(&writer.connection);
            let mut vote = vote.map_err(|error| storage_error("reading the vote", &error))?;
            if let Some(vote) = vote.as_mut().filter(|vote| vote.leader_id.node_id == node) {
                vote.committed &= is_back(Bug::ResumedLead);
            }
            Ok(vote)
        });
        read.await.map_err(|error| StorageIOError::read_vote(AnyError::new(&error)).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        {
            // Their order is settled: the proposers may send what comes next.
            let mut waiting = self.core.appended.lock();
            for entry in &entries {
                self.core.placed.store(entry.log_id.index, Ordering::Release);
                for proposed in groups(entry) {
                    if let Some(told) = waiting.remove(&proposed.origin) {
                        // Nobody waits any more: fine.
                        let _ = told.send(Reply::Appended(entry.log_id.index));
                    }
                }
            }
        }
        let rows = entries.iter().map(to_row).collect::<std::result::Result<Vec<_>, _>>();
        let rows = rows.map_err(|error| writing(StorageError::fatal(error)))?;
        let core = Arc::clone(&self.core);
        let done = if self.leads(&entries) {
            self.write_beside(core, entries, rows).await
        } else {
            let write = move |writer: &mut Writer| {
                write(writer, &core, &rows)?;
                remember(&core, entries, &rows);
                Ok(())
            };
            self.core.run(write).await
        };
        callback.log_io_completed(done.clone().map_err(std::io::Error::other));
        done.map_err(writing)
    }

    async fn truncate(&mut self, id: LogId<u64>) -> Result<()> {
        let core = Arc::clone(&self.core);
        let truncated = self.core.run(move |writer| {
            core.recent.lock().truncate(id.index);
            transaction(writer, "truncating the log", Durability::Synced, |connection, _| {
                log::truncate(connection, id.index)
            })?;
            core.synced.send_replace(id.index.saturating_sub(1));
            measure(writer, &core);
            Ok(())
        });
        truncated.await.map_err(writing)
    }

    async fn purge(&mut self, id: LogId<u64>) -> Result<()> {
        let core = Arc::clone(&self.core);
        let purged = self.core.run(move |writer| {
            // openraft does not wait for a snapshot before it drops the log that the snapshot replaces: a crash in
            // between would leave neither. Installing it drops the log.
            if writer.machine.applied.is_none_or(|applied| applied.index < id.index) {
                return Ok(());
            }
            core.recent.lock().purge(id.index);
            // What it drops is in the rows, and those are on the disk when this is: it comes after them.
            transaction(writer, "compacting the log", Durability::Repeatable, |connection, _| {
                log::purge(connection, position(&id))
            })?;
            measure(writer, &core);
            Ok(())
        });
        purged.await.map_err(writing)
    }
}

#[cfg(test)]
#[path = "log_store_tests.rs"]
mod tests;
