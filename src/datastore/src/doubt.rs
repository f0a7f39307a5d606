//! After a sync has failed.
//!
//! Linux takes what a failed fsync(2) should have written for written: it is read as before, no later sync writes it,
//! and a power cut takes it away. Were it in the middle of SQLite's write-ahead log, recovery would stop there, and take
//! later commits with it whose syncs have succeeded; a checkpoint that went on would leave a mixture. In a cluster there
//! is such a middle: what was applied and not synced, between one synced append to the log and the next.
//!
//! So from then on nothing is committed and no checkpoint is made until the write-ahead log has been written over itself
//! and synced. The same is done at each start that finds one: the process before may have died in between.

use crate::bug::{Bug, is_back};
use crate::executor::Threads;
use crate::schema::Location;
use rusqlite::ErrorCode;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are read and written at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Whether the write-ahead log may not be on the disk as it is read. Shared by all who sync it.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    /// None in memory.
    log: Option<PathBuf>,
    threads: Threads,
    raised: Arc<AtomicBool>,
}

/// SQLite's write-ahead log of a database.
pub(crate) fn log_of(database: &Path) -> PathBuf {
    let mut path = database.to_owned().into_os_string();
    path.push("-wal");
    path.into()
}

impl Doubt {
    pub(crate) fn new(at: &Location, threads: &Threads) -> Self {
        let log = (!at.is_memory()).then(|| log_of(at.path()));
        Self { log, threads: threads.clone(), raised: Arc::default() }
    }

    /// Told of each failure of SQLite; it counts if the disk failed.
    pub(crate) fn failed(&self, error: &rusqlite::Error) {
        if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
            self.raised.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Settles a doubt if there is one: afterwards what is read is on the disk.
    ///
    /// # Errors
    /// The disk's; the doubt remains.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if !self.raised.swap(false, Ordering::AcqRel) || is_back(Bug::TrustedSync) {
            return Ok(());
        }
        self.write_again().inspect_err(|_| self.raised.store(true, Ordering::Release))
    }

    /// Writes the write-ahead log over itself, if there is one, and syncs it.
    pub(crate) fn write_again(&self) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        match self.threads.in_place() {
            Some(executor) => executor.write_again(log),
            None => write_again(log),
        }
    }
}

fn write_again(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(());
    }
    let (mut chunk, mut at) = (vec![0; CHUNK_BYTES], 0);
    loop {
        let count = file.read_at(&mut chunk, at)?;
        let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else { break };
        file.write_all_at(read, at)?;
        at += count as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::database;

    fn doubt(dir: &Path) -> Doubt {
        Doubt::new(&Location::File(dir.join("state.db")), &Threads::default())
    }

    #[test]
    fn the_log_is_the_same_afterwards() {
        let (dir, connection) = database();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(3000000))").unwrap();
        let log = dir.path().join("state.db-wal");
        let before = std::fs::read(&log).unwrap();
        assert!(before.len() > 2 * CHUNK_BYTES);
        doubt(dir.path()).write_again().unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), before);
    }

    #[test]
    fn failures_of_the_disk_raise_it_and_it_stays_until_the_log_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let doubt = doubt(dir.path());
        doubt.settle().unwrap();
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        doubt.failed(&failure(rusqlite::ffi::SQLITE_FULL));
        assert!(!doubt.is_raised());
        doubt.failed(&failure(rusqlite::ffi::SQLITE_IOERR_FSYNC));
        assert!(doubt.is_raised());
        // A directory cannot be written.
        let log = dir.path().join("state.db-wal");
        std::fs::create_dir(&log).unwrap();
        doubt.settle().unwrap_err();
        assert!(doubt.is_raised());
        std::fs::remove_dir(&log).unwrap();
        doubt.settle().unwrap();
        assert!(!doubt.is_raised());
    }
}
