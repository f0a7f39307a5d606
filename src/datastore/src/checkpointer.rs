//! Keeps SQLite's write-ahead log short without holding up the writer.
//!
//! A checkpoint copies pages from the write-ahead log into the database file. It runs on a thread of its
//! own; the writer only asks for one. Under a load that never pauses the copy never quite catches up, so the
//! writer finishes it itself when the log has become long: little is left to copy then.

use crate::error::OpenError;
use crate::schema::{Location, open_checkpointer};
use rusqlite::Connection;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Frames (pages of 4 KiB) after which a checkpoint is worth its fsync, which holds up the commits beside it.
const FRAMES: u32 = 4000;

/// Frames at which the writer finishes the checkpoint itself: 64 MiB of write-ahead log. The some 20 ms that it takes
/// are then, at the writer's full speed, what less than one write in a hundred waits for.
pub(crate) const MAX_FRAMES: u32 = 16_384;

/// Asks for checkpoints. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    requests: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    asked_at: u32,
}

impl Checkpointer {
    pub(crate) fn start(at: &Location) -> Result<Self, OpenError> {
        if at.is_memory() {
            return Ok(Self { requests: None, thread: None, asked_at: 0 });
        }
        let connection = open_checkpointer(at).map_err(OpenError::sqlite("open", at.path()))?;
        // One request may wait while one is carried out; more would be the same.
        let (requests, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("knarr-checkpoint".to_owned())
            .spawn(move || run(&connection, &receiver))
            .map_err(|source| OpenError::Thread { source })?;
        Ok(Self { requests: Some(requests), thread: Some(thread), asked_at: 0 })
    }

    /// Told after each commit how many frames the write-ahead log has. Returns whether the writer has to
    /// make the checkpoint itself.
    pub(crate) fn committed(&mut self, frames: u32) -> bool {
        if frames < self.asked_at {
            self.asked_at = 0;
        }
        if frames >= MAX_FRAMES {
            self.asked_at = 0;
            return true;
        }
        if frames - self.asked_at >= FRAMES {
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
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported; the write-ahead log merely stays longer.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, requests: &Receiver<()>) {
    while requests.recv().is_ok() {
        if let Err(error) = checkpoint(connection, "PASSIVE") {
            tracing::warn!(%error, "checkpoint failed; it is tried again with more writes");
        }
    }
}

/// Makes a checkpoint of a kind that SQLite knows. Returns how many frames are left to copy.
pub(crate) fn checkpoint(connection: &Connection, kind: &'static str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |row| {
        let (frames, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(frames - copied)
    })
}
