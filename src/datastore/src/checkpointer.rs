//! Keeps SQLite's write-ahead log short without holding up the writer.
//!
//! A checkpoint copies pages from the write-ahead log into the database file. It runs on a thread of its
//! own; the writer only asks for one. Under a load that never pauses the copy never quite catches up, so the
//! writer finishes it itself when the log has become long: little is left to copy then.

use crate::doubt::Doubt;
use crate::error::OpenError;
use crate::executor::{Running, Threads};
use crate::limits::Limits;
use crate::schema::{Location, open_checkpointer};
use rusqlite::Connection;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Asks for checkpoints. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    requests: Option<Sender<()>>,
    running: Option<Running>,
    limits: Limits,
    asked_at: u32,
}

impl Checkpointer {
    /// Has to be called within a tokio runtime when there are no threads.
    pub(crate) fn start(
        at: &Location,
        limits: Limits,
        threads: &Threads,
        doubt: &Doubt,
    ) -> Result<Self, OpenError> {
        if at.is_memory() {
            return Ok(Self { requests: None, running: None, limits, asked_at: 0 });
        }
        let connection = open_checkpointer(at).map_err(OpenError::sqlite("open", at.path()))?;
        // One request may wait while one is carried out; more would be the same.
        let (requests, mut receiver) = channel(1);
        let doubt = doubt.clone();
        let running = match threads.in_place().map(Arc::clone) {
            Some(executor) => Running::Task(tokio::spawn(async move {
                while receiver.recv().await.is_some() {
                    executor.turn().await;
                    passive(&connection, &doubt);
                }
            })),
            None => std::thread::Builder::new()
                .name("knarr-checkpoint".to_owned())
                .spawn(move || run(&connection, &mut receiver, &doubt))
                .map(Running::Thread)
                .map_err(|source| OpenError::Thread { source })?,
        };
        Ok(Self { requests: Some(requests), running: Some(running), limits, asked_at: 0 })
    }

    /// Told after each commit how many frames the write-ahead log has. Returns whether the writer has to
    /// make the checkpoint itself.
    pub(crate) fn committed(&mut self, frames: u32) -> bool {
        if frames < self.asked_at {
            self.asked_at = 0;
        }
        if frames >= self.limits.max_frames {
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

fn run(connection: &Connection, requests: &mut Receiver<()>, doubt: &Doubt) {
    while requests.blocking_recv().is_some() {
        passive(connection, doubt);
    }
}

fn passive(connection: &Connection, doubt: &Doubt) {
    if doubt.is_raised() {
        return;
    }
    if let Err(error) = checkpoint(connection, "PASSIVE") {
        doubt.failed(&error);
        tracing::warn!(%error, "checkpoint failed; it is tried again with more writes");
    }
}

/// Makes a checkpoint of a kind that SQLite knows. Returns how many frames are left to copy.
pub(crate) fn checkpoint(connection: &Connection, kind: &'static str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |row| {
        let (frames, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(frames - copied)
    })
}
