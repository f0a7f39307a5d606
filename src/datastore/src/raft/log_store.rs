//! openraft's view of the log.

use crate::bug::{Bug, is_back};
use crate::error::storage_error;
use crate::log::{self, LogRow};
use crate::raft::core::{Core, Durability, LogSize, load_vote, save_vote, transaction};
use crate::raft::types::{RaftEntry, Types, from_row, log_id, position, to_row};
use crate::writer::Writer;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, EntryPayload, LogId, LogState, RaftLogReader, StorageError as RaftStorageError, StorageIOError,
    Vote,
};
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use storage::StorageError;

/// Bytes of entries that go to a follower at once.
const PAGE_BYTES: usize = 4 << 20;

type Result<T> = std::result::Result<T, RaftStorageError<u64>>;

/// The log of this node. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore(pub(crate) Arc<Core>);

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

impl LogStore {
    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<RaftEntry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.0.recent.lock().range(from, to, max_bytes) {
            return Ok(entries);
        }
        let rows: Vec<LogRow> = self
            .0
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
        let core = Arc::clone(&self.0);
        let bounds = self.0.run(move |writer| {
            measure(writer, &core);
            log::bounds(&writer.connection).map_err(|error| storage_error("reading the log", &error))
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
        let saved = self.0.run(move |writer| {
            transaction(writer, "voting", Durability::Synced, |connection, _| save_vote(&vote, connection))
        });
        saved.await.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    /// Who led is elected anew. openraft would take its leadership up again where the disk says, and answer consistent
    /// reads without what was committed and is not applied, or no longer since applying is not synced.
    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        let node = self.0.node;
        let read = self.0.run(move |writer| {
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
            let mut waiting = self.0.appended.lock();
            for entry in &entries {
                if let EntryPayload::Normal(proposed) = &entry.payload
                    && let Some(told) = waiting.remove(&proposed.origin)
                {
                    let _ = told.send(entry.log_id.index);
                }
            }
        }
        let core = Arc::clone(&self.0);
        let appended = self.0.run(move |writer| {
            let rows = entries.iter().map(to_row).collect::<std::result::Result<Vec<_>, _>>();
            let rows = rows.map_err(StorageError::fatal)?;
            follows(writer, rows.first().map_or(0, |row| row.at.index))?;
            transaction(writer, "appending to the log", Durability::Synced, |connection, _| {
                rows.iter().try_for_each(|row| log::append(connection, row))
            })?;
            let mut recent = core.recent.lock();
            let mut size = *core.size.borrow();
            for (entry, row) in entries.into_iter().zip(rows) {
                size.entries += 1;
                size.bytes += row.body.len() as u64;
                recent.push(entry, row.body.len() + 64);
            }
            core.size.send_replace(size);
            Ok(())
        });
        match appended.await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.log_io_completed(Err(std::io::Error::other(error.clone())));
                Err(writing(error))
            }
        }
    }

    async fn truncate(&mut self, id: LogId<u64>) -> Result<()> {
        let core = Arc::clone(&self.0);
        let truncated = self.0.run(move |writer| {
            core.recent.lock().truncate(id.index);
            transaction(writer, "truncating the log", Durability::Synced, |connection, _| {
                log::truncate(connection, id.index)
            })?;
            measure(writer, &core);
            Ok(())
        });
        truncated.await.map_err(writing)
    }

    async fn purge(&mut self, id: LogId<u64>) -> Result<()> {
        let core = Arc::clone(&self.0);
        let purged = self.0.run(move |writer| {
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
