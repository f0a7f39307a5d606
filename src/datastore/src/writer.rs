//! The thread that commits.
//!
//! It takes all proposals that wait, makes them one log entry, and commits entry and rows in one transaction
//! with one fsync. While that runs, the next proposals gather: the slower the disk, the larger the groups.
//! The cache gets the changes in the order of the log, after they are durable and before the proposers have
//! their answers.
//!
//! That is how a sole voter commits. With others in the cluster, proposals go to [`crate::raft`] instead, which
//! has its jobs carried out here, one after the other: appending to the log, applying what is committed.

use crate::checkpointer::{Checkpointer, checkpoint};
use crate::command::{Command, Entry, size_of_made};
use crate::directory::Directory;
use crate::doubt::Doubt;
use crate::error::storage_error;
use crate::executor::Executor;
use crate::log::Position;
use crate::reader::Reader;
use crate::room::Room;
use crate::schema::BUSY_TIMEOUT;
use crate::state_machine::{Applied, Outcome, Rejection, StateMachine};
use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use storage::cache::{Change, WatchCache};
use storage::{Attrs, Encoded, Made, Object, StorageError};
use tokio::sync::{mpsc, oneshot};

/// Commands in one entry: at 10 us each, about what one fsync takes on a good disk.
pub(crate) const MAX_COMMANDS: usize = 1024;

/// Bytes in one entry; keeps the transaction, and what a peer receives at once, small.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// Free pages that are not given back to the file system: the next writes will want them.
const SPARE_PAGES: i64 = 4096;

/// Pages given back at a time: a few milliseconds.
const VACUUM_PAGES: u32 = 512;

/// What a proposer gets.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The objects as watchers see them, one for each operation.
    pub(crate) objects: Vec<Arc<Object>>,
    /// The revision, or for a compaction, what has been compacted.
    pub(crate) revision: u64,
}

/// A command on its way to the log.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) command: Command,
    pub(crate) made: Made,
    /// For each operation. Not part of the log.
    pub(crate) beside: Vec<Beside>,
    pub(crate) answer: oneshot::Sender<Result<Answer, StorageError>>,
}

impl Proposal {
    /// About how many bytes it takes in the log.
    pub(crate) fn size(&self) -> usize {
        self.command.size() + size_of_made(&self.made)
    }
}

/// What the cache needs of an object beside what is stored.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub(crate) attrs: Attrs,
    /// The object, when what is stored is encrypted.
    pub(crate) plain: Option<Encoded>,
}

/// What is left of a proposal while its command is in an entry.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) beside: Vec<Beside>,
    /// None for a command that was proposed elsewhere.
    pub(crate) answer: Option<oneshot::Sender<Result<Answer, StorageError>>>,
}

impl Waiting {
    pub(crate) fn answer(self, result: Result<Answer, StorageError>) {
        if let Some(answer) = self.answer {
            // A proposer that has gone away does not mind.
            let _ = answer.send(result);
        }
    }
}

/// Something to be done on the writer's thread, between two transactions.
pub(crate) type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// What the writer is asked to do.
pub(crate) enum Request {
    Propose(Proposal),
    Run(Job),
    /// Gives free pages back to the file system. Answers whether there are more.
    Vacuum(oneshot::Sender<bool>),
    /// Limits the size of the database file, in bytes.
    LimitSize(u64, oneshot::Sender<Result<(), StorageError>>),
    /// Finishes what is waiting, makes a checkpoint and ends.
    Stop,
}

/// What has been done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) entries: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Commits without the writer's thread.
    pub(crate) direct: AtomicU64,
}

/// The writer, and whoever borrows it. None when it has stopped.
pub(crate) type Shared = Arc<Mutex<Option<Writer>>>;

/// The writer's state; lives with its thread, and is lent to a write that is alone ([`crate::direct`]).
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) machine: StateMachine,
    /// Who takes the proposals when this node is not the sole voter.
    pub(crate) successor: Option<mpsc::UnboundedSender<Proposal>>,
    pub(crate) cache: Arc<WatchCache>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) room: Room,
    pub(crate) counters: Arc<Counters>,
    /// Frames in the write-ahead log, as SQLite told after the last commit.
    pub(crate) frames: Arc<AtomicU32>,
    /// Whether the last proposal was alone.
    pub(crate) lonely: bool,
    /// Whether a failure has left open what is on the disk.
    pub(crate) doubtful: bool,
    /// Whether it has left open what a power cut leaves of it.
    pub(crate) doubt: Doubt,
    /// The database file. Closing it lets go of SQLite's locks on it (fcntl_locking(2)): not before SQLite has closed it.
    pub(crate) _synced: Option<Arc<File>>,
    /// Keeps the directory locked until the last page is written. None in memory.
    pub(crate) _directory: Option<Arc<Directory>>,
}

impl Writer {
    /// Lets SQLite tell how long the write-ahead log is.
    pub(crate) fn watch_frames(connection: &mut Connection, frames: &Arc<AtomicU32>) -> rusqlite::Result<()> {
        let frames = Arc::clone(frames);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            frames.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// Serves until it is told to stop, or everybody who could propose is gone. Between two requests others may
    /// borrow the writer; at the end it is gone.
    pub(crate) fn run(shared: &Shared, mut requests: mpsc::Receiver<Request>) {
        let mut left = None;
        while let Some(request) = left.take().or_else(|| requests.blocking_recv()) {
            let mut writer = shared.lock();
            if !writer.as_mut().is_some_and(|writer| writer.serve(request, &mut left, &mut requests)) {
                break;
            }
        }
        let writer = shared.lock().take();
        if let Some(writer) = writer {
            writer.stop(&mut requests);
        }
    }

    /// As [`Self::run`], without a thread.
    pub(crate) async fn run_in_place(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        executor: Arc<dyn Executor>,
    ) {
        let mut left = None;
        loop {
            let request = match left.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => break,
                },
            };
            executor.turn().await;
            if !self.serve(request, &mut left, &mut requests) {
                break;
            }
        }
        self.stop(&mut requests);
    }

    /// Serves one request, and the proposals behind it that fit into the same entry; what came after them is `left`.
    /// Returns false when it is to stop.
    fn serve(
        &mut self,
        request: Request,
        left: &mut Option<Request>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> bool {
        match request {
            Request::Stop => return false,
            Request::Vacuum(answer) => {
                let more = self.vacuum();
                // Nobody waits any more: fine.
                let _ = answer.send(more);
            }
            Request::LimitSize(bytes, answer) => {
                let _ = answer.send(self.limit_size(bytes));
            }
            Request::Run(job) => job(self),
            Request::Propose(first) => {
                let mut group = vec![first];
                let mut bytes = group.iter().map(|proposal| proposal.size()).sum::<usize>();
                while group.len() < MAX_COMMANDS && bytes < MAX_BYTES {
                    match requests.try_recv() {
                        Ok(Request::Propose(proposal)) => {
                            bytes += proposal.size();
                            group.push(proposal);
                        }
                        Ok(other) => {
                            *left = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                self.lonely = group.len() == 1;
                self.commit(group);
            }
        }
        true
    }

    fn stop(mut self, requests: &mut mpsc::Receiver<Request>) {
        requests.close();
        let settled = self.settle();
        while let Ok(request) = requests.try_recv() {
            if let Request::Propose(proposal) = request {
                let _ = proposal.answer.send(Err(StorageError::unavailable("it is shutting down")));
            }
        }
        let Self { connection, checkpointer, cache, reader, .. } = self;
        cache.close();
        // Both hold connections; without them the checkpoint can be complete.
        drop(checkpointer);
        reader.close();
        let failed = |error: rusqlite::Error| storage_error("making the last checkpoint", &error);
        let closed = settled.and_then(|()| checkpoint(&connection, "TRUNCATE").map_err(failed));
        if let Err(error) = closed {
            tracing::warn!(%error, "the next start makes up for it");
            // SQLite would make one of its own, and trust the syncs before it.
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    /// Commits a group and answers everybody in it.
    pub(crate) fn commit(&mut self, group: Vec<Proposal>) {
        if let Some(successor) = &self.successor {
            for proposal in group {
                if let Err(mpsc::error::SendError(proposal)) = successor.send(proposal) {
                    let _ = proposal.answer.send(Err(StorageError::unavailable("it is shutting down")));
                }
            }
            return;
        }
        if let Err(error) = self.settle() {
            return refuse(group, &error);
        }
        let room = group.len();
        let mut entry = Entry { commands: Vec::with_capacity(room), made: Vec::with_capacity(room) };
        let mut waiting = Vec::with_capacity(room);
        for Proposal { command, made, beside, answer } in group {
            entry.commands.push(command);
            entry.made.push(made);
            waiting.push(Waiting { beside, answer: Some(answer) });
        }
        let before = self.machine.revision;
        match self.transact(&entry) {
            Ok(outcomes) => {
                self.counters.entries.fetch_add(1, Ordering::Relaxed);
                self.counters.commands.fetch_add(entry.commands.len() as u64, Ordering::Relaxed);
                // The entry's bytes are in the rows; free them before the cache grows.
                drop(entry);
                self.publish(outcomes, waiting);
                self.after_commit();
            }
            Err(error) => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                self.doubtful = true;
                self.doubt.failed(&error);
                let mut error = storage_error("writing", &error);
                tracing::error!(%error, commands = waiting.len(), "a group of writes failed");
                // Find out right away whether it reached the disk after all.
                let known = self.recover().is_ok();
                // What a disk that failed has of it counts at the next start, unless something is written over it first.
                if !known || self.doubt.is_raised() || self.machine.revision != before {
                    error = StorageError::Unknown { reason: error.to_string().into() };
                }
                waiting.into_iter().for_each(|waiting| waiting.answer(Err(error.clone())));
            }
        }
    }

    fn transact(&mut self, entry: &Entry) -> rusqlite::Result<Vec<Outcome>> {
        // Counters change only together with the rows.
        let mut machine = self.machine;
        let at = machine.applied.map_or(Position { term: 1, node: 1, index: 1 }, Position::next);
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let outcomes = machine.apply(at, entry, &self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.machine = machine;
        Ok(outcomes)
    }

    /// Before a transaction: makes sure that what is in memory is what is on the disk.
    pub(crate) fn settle(&mut self) -> Result<(), StorageError> {
        if self.doubtful {
            self.recover()?;
        }
        let failed = |error| StorageError::unavailable(format_args!("the disk failed: {error}"));
        self.doubt.settle().map_err(failed)
    }

    /// After a failure: undoes what is open, and takes over what the disk says.
    fn recover(&mut self) -> Result<(), StorageError> {
        let failed = |error: rusqlite::Error| storage_error("reading after a failed write", &error);
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(failed)?;
        }
        let machine = StateMachine::load(&self.connection).map_err(failed)?;
        let shown = self.cache.revision();
        if machine.revision > shown {
            // The commit counted although it was reported as failed. Readers have to see it too.
            let changes = self.reader.changes_since(&self.connection, shown)?;
            drop(self.cache.publish(changes, machine.revision));
        }
        self.cache.compact(machine.compacted);
        self.machine = machine;
        self.doubtful = false;
        Ok(())
    }

    /// Shows the changes to readers and answers the proposers.
    pub(crate) fn publish(&self, outcomes: Vec<Outcome>, waiting: Vec<Waiting>) {
        let mut compacted = None;
        let mut changes = Vec::with_capacity(outcomes.len());
        let mut results = Vec::with_capacity(outcomes.len());
        for (outcome, mut waiting) in outcomes.into_iter().zip(waiting) {
            let result = match outcome {
                Outcome::Applied(applied) => {
                    let count = applied.len();
                    let mut beside = std::mem::take(&mut waiting.beside).into_iter();
                    changes.extend(applied.into_iter().map(|a| change(a, beside.next().unwrap_or_default())));
                    Ok(count)
                }
                Outcome::Compacted(revision) => {
                    compacted = Some(revision);
                    Ok(0)
                }
                Outcome::Rejected(rejection) => Err(rejection),
            };
            results.push((result, waiting));
        }
        // Watches are woken when this is dropped, after the writers have their answers.
        let published = self.cache.publish(changes, self.machine.revision);
        if let Some(revision) = compacted {
            self.cache.compact(revision);
        }
        let mut objects = published.objects.iter();
        for (result, waiting) in results {
            let result = match result {
                Ok(0) => Ok(Answer { objects: Vec::new(), revision: self.machine.compacted }),
                Ok(count) => {
                    let objects: Vec<_> = objects.by_ref().take(count).flatten().cloned().collect();
                    let revision = objects.first().map_or(self.machine.revision, |object| object.revision);
                    Ok(Answer { objects, revision })
                }
                Err(rejection) => Err(self.explain(rejection)),
            };
            waiting.answer(result);
        }
    }

    /// A rejection with what the caller needs to go on.
    fn explain(&self, rejection: Rejection) -> StorageError {
        match rejection {
            Rejection::KeyExists { key } => StorageError::KeyExists { key: key.to_string() },
            Rejection::NotFound { key } => StorageError::NotFound { key: key.to_string() },
            // A later command of the same group may have changed it again, or deleted it. Either answer is
            // true at some moment before the caller gets it.
            Rejection::Conflict { key, expected, .. } => match self.cache.get(&key) {
                Some(current) => StorageError::Conflict { expected, current },
                None => StorageError::NotFound { key: key.to_string() },
            },
            Rejection::FutureRevision { requested, current } => {
                StorageError::FutureRevision { requested, current }
            }
            Rejection::InvalidTransaction { reason } => StorageError::InvalidObject { reason },
        }
    }

    pub(crate) fn after_commit(&mut self) {
        let frames = self.frames.load(Ordering::Relaxed);
        self.room.committed(frames);
        if !self.checkpointer.committed(frames) || self.doubt.is_raised() {
            return;
        }
        // Readers are not waited for: what they still use is copied the next time.
        let patience = |time| self.connection.busy_timeout(time);
        let made = patience(Duration::ZERO).and_then(|()| checkpoint(&self.connection, "RESTART"));
        if let Err(error) = made.and_then(|_| patience(BUSY_TIMEOUT)) {
            self.doubt.failed(&error);
            tracing::warn!(%error, "checkpoint failed; it is tried again with the next write");
        }
    }

    fn limit_size(&self, bytes: u64) -> Result<(), StorageError> {
        let failed = |error: rusqlite::Error| storage_error("limiting the size", &error);
        let number = |pragma: String| self.connection.query_row(&pragma, [], |row| row.get::<_, u64>(0));
        let page = number("PRAGMA page_size".to_owned()).map_err(failed)?;
        number(format!("PRAGMA max_page_count = {}", (bytes / page).max(1))).map_err(failed).map(|_| ())
    }

    fn vacuum(&self) -> bool {
        let free = |connection: &Connection| {
            connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0)).unwrap_or(0)
        };
        if self.doubtful || free(&self.connection) <= SPARE_PAGES {
            return false;
        }
        let step = || -> rusqlite::Result<()> {
            let mut statement =
                self.connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        match step() {
            Ok(()) => free(&self.connection) > SPARE_PAGES,
            Err(error) => {
                tracing::warn!(%error, "giving free pages back failed");
                false
            }
        }
    }
}

fn change(applied: Applied, beside: Beside) -> Change {
    let Applied { key, create_revision, revision, value } = applied;
    let Beside { attrs, plain } = beside;
    match value {
        Some((stored, splice_at)) => {
            let value = plain.map_or(stored, |plain| plain.spliced(revision));
            Change::Put(Object { key, create_revision, revision, value, splice_at, attrs })
        }
        None => Change::Delete { key, revision },
    }
}

fn refuse(group: Vec<Proposal>, error: &StorageError) {
    for proposal in group {
        let _ = proposal.answer.send(Err(error.clone()));
    }
}
