//! Keeps SQLite's write-ahead log short without holding up the writer.
//!
//! A checkpoint copies pages from the write-ahead log into the database file. It runs on a thread of its
//! own; the writer only asks for one. Under a load that never pauses the copy never quite catches up, so the
//! thread copies until little is left, and the writer finishes then, in a few milliseconds.

use crate::doubt::Doubt;
use crate::error::OpenError;
use crate::executor::{Running, Threads};
use crate::limits::Limits;
use crate::schema::{Location, open_checkpointer};
use rusqlite::Connection;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::sync::mpsc::{Sender, channel};

/// How often the log is copied, each time what came while it was copied before.
const ROUNDS: usize = 3;

/// Frames that the writer copies in a millisecond or two.
const LITTLE: i64 = 512;

/// Asks for checkpoints. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    requests: Option<Sender<()>>,
    running: Option<Running>,
    limits: Limits,
    asked_at: u32,
    /// Whether little is left to copy.
    caught_up: Arc<AtomicBool>,
}

impl Checkpointer {
    /// Has to be called within a tokio runtime when there are no threads.
    pub(crate) fn start(
        at: &Location,
        limits: Limits,
        threads: &Threads,
        doubt: &Doubt,
        frames: &Arc<AtomicU32>,
        synced: Option<Arc<File>>,
    ) -> Result<Self, OpenError> {
        let caught_up = Arc::new(AtomicBool::new(false));
        if at.is_memory() {
            return Ok(Self { requests: None, running: None, limits, asked_at: 0, caught_up });
        }
        let connection = open_checkpointer(at).map_err(OpenError::sqlite("open", at.path()))?;
        // One request may wait while one is carried out; more would be the same.
        let (requests, mut receiver) = channel(1);
        let copying = Copying {
            connection,
            doubt: doubt.clone(),
            frames: Arc::clone(frames),
            synced,
            caught_up: Arc::clone(&caught_up),
        };
        let running = match threads.in_place().map(Arc::clone) {
            Some(executor) => Running::Task(tokio::spawn(async move {
                while receiver.recv().await.is_some() {
                    for _ in 0..ROUNDS {
                        executor.turn().await;
                        if !copying.round() {
                            break;
                        }
                    }
                }
            })),
            None => std::thread::Builder::new()
                .name("knarr-checkpoint".to_owned())
                .spawn(move || {
                    while receiver.blocking_recv().is_some() {
                        // The last round is the one that need not be repeated.
                        let _ = (0..ROUNDS).all(|_| copying.round());
                    }
                })
                .map(Running::Thread)
                .map_err(|source| OpenError::Thread { source })?,
        };
        Ok(Self { requests: Some(requests), running: Some(running), limits, asked_at: 0, caught_up })
    }

    /// Told after each commit how many frames the write-ahead log has. Returns whether the writer has to
    /// make the checkpoint itself.
    pub(crate) fn committed(&mut self, frames: u32) -> bool {
        if frames < self.asked_at {
            self.asked_at = 0;
        }
        let caught_up = self.caught_up.swap(false, Ordering::Relaxed);
        if frames >= self.limits.max_frames || (caught_up && frames >= self.limits.checkpoint_frames) {
            self.asked_at = 0;
            return true;
        }
        if frames - self.asked_at >= self.limits.checkpoint_frames {
            self.asked_at = frames;
            if let Some(requests) = &self.requests {
                // Full means that one is waiting already.
                let _ = requests.try_send(());
            }
        }
        false
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.requests = None;
        match self.running.take() {
            // A panic there has been reported; the write-ahead log merely stays longer.
            Some(Running::Thread(thread)) => _ = thread.join(),
            Some(Running::Task(task)) => task.abort(),
            None => {}
        }
    }
}

/// What copies beside the writer.
struct Copying {
    connection: Connection,
    doubt: Doubt,
    /// In the log, after the last commit.
    frames: Arc<AtomicU32>,
    /// What SQLite leaves to whoever copies the last frame: the sync of all that was copied.
    synced: Option<Arc<File>>,
    caught_up: Arc<AtomicBool>,
}

impl Copying {
    /// Copies what is in the log now. Returns whether much has come meanwhile.
    fn round(&self) -> bool {
        if self.doubt.is_raised() {
            return false;
        }
        match checkpoint(&self.connection, "PASSIVE") {
            Ok(copied) => {
                if let Some(Err(error)) = self.synced.as_ref().map(|file| file.sync_data()) {
                    // SQLite's own sync will fail too: the log is kept.
                    tracing::warn!(%error, "what a checkpoint copied could not be synced");
                    return false;
                }
                let left = i64::from(self.frames.load(Ordering::Relaxed)) - copied;
                self.caught_up.store(left <= LITTLE, Ordering::Relaxed);
                left > LITTLE
            }
            Err(error) => {
                self.doubt.failed(&error);
                tracing::warn!(%error, "checkpoint failed; it is tried again with more writes");
                false
            }
        }
    }
}

/// Makes a checkpoint of a kind that SQLite knows. Returns how many of the log's frames have been copied.
pub(crate) fn checkpoint(connection: &Connection, kind: &'static str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |row| row.get(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_set_against_what_the_log_has_now() {
        let dir = tempfile::tempdir().unwrap();
        let at = Location::File(dir.path().join("state.db"));
        let writer = Connection::open(at.path()).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        let (frames, caught_up) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let copying = Copying {
            connection: open_checkpointer(&at).unwrap(),
            doubt: Doubt::new(&at, &Threads::default()),
            frames: Arc::clone(&frames),
            synced: None,
            caught_up: Arc::clone(&caught_up),
        };
        // While it copied the few that there are, many more came.
        frames.store(1000, Ordering::Relaxed);
        assert!(copying.round());
        assert!(!caught_up.load(Ordering::Relaxed));
        frames.store(10, Ordering::Relaxed);
        assert!(!copying.round());
        assert!(caught_up.load(Ordering::Relaxed));
    }

    #[test]
    fn the_writer_finishes_when_little_is_left_or_the_log_is_long() {
        let limits = Limits { checkpoint_frames: 100, max_frames: 300, ..Limits::default() };
        let (requests, mut asked) = channel(1);
        let caught_up = Arc::<AtomicBool>::default();
        let mut checkpointer = Checkpointer {
            requests: Some(requests),
            running: None,
            limits,
            asked_at: 0,
            caught_up: Arc::clone(&caught_up),
        };
        assert!(!checkpointer.committed(99) && asked.try_recv().is_err());
        assert!(!checkpointer.committed(100) && asked.try_recv().is_ok());
        assert!(!checkpointer.committed(120) && asked.try_recv().is_err(), "it has been asked");
        caught_up.store(true, Ordering::Relaxed);
        assert!(checkpointer.committed(130));
        assert!(!checkpointer.committed(131), "once is enough");
        // It began anew meanwhile.
        caught_up.store(true, Ordering::Relaxed);
        assert!(!checkpointer.committed(7));
        assert!(checkpointer.committed(300), "however much is left");
    }
}
