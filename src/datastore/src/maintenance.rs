//! Looking after an open store: how it is, making its file smaller, what it still knows of a key.

use crate::checkpointer::checkpoint;
use crate::error::storage_error;
use crate::log;
use crate::offline::faults;
use crate::raft::core::load_vote;
use crate::reader::made_in;
use crate::schema::{self, BUSY_TIMEOUT, FORMAT, Location, open_reader};
use crate::state_machine::{StateMachine, revision_of};
use crate::store::Datastore;
use crate::writer::Writer;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use storage::{Made, StorageError};

/// Pages given back at a time: a few milliseconds, in which writes wait.
const STEP_PAGES: u32 = 512;

/// How a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// The cluster that it is of.
    pub cluster: String,
    /// The node's number in it.
    pub node: u64,
    /// The format of the tables.
    pub format: i64,
    /// The revision of the last change.
    pub revision: u64,
    /// The oldest revision that can be asked for.
    pub compacted_revision: u64,
    /// Objects at the last revision.
    pub objects: u64,
    /// The log entry that was applied last.
    pub applied_index: u64,
    /// The term of the leader that this node has voted for or follows.
    pub term: u64,
    /// Entries in the log, for nodes that lag.
    pub log_entries: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Bytes of the database file.
    pub file_bytes: u64,
    /// Bytes of it that are in use; the others wait for the next writes.
    pub used_bytes: u64,
    /// Bytes of SQLite's write-ahead log.
    pub wal_bytes: u64,
    /// What is wrong with the file, if it was looked through: nothing, when it is whole.
    pub faults: Option<Vec<String>>,
}

/// The size of the database file before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Defragmented {
    /// Bytes before.
    pub before_bytes: u64,
    /// Bytes after.
    pub after_bytes: u64,
}

/// A key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The revision of the change.
    pub revision: u64,
    /// The revision that created the object; 0 for a deletion.
    pub create_revision: u64,
    /// The object's bytes as watchers saw them; none for a deletion.
    pub value: Option<Bytes>,
    /// Who made the change, and when, if that was noted.
    pub made: Option<Made>,
}

impl Datastore {
    /// How the store is now. `check` looks the whole file through, which takes a second for some hundred megabytes;
    /// reads and writes go on.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn condition(&self, check: bool) -> Result<Condition, StorageError> {
        let at = self.location().clone();
        let (cluster, node) = (self.cluster_id().to_owned(), self.node_id());
        let look =
            move || look(&at, check).map_err(|error| storage_error("looking at the datastore", &error));
        let found = self.threads().run(look).await.map_err(StorageError::unavailable)??;
        Ok(Condition { cluster, node, ..found })
    }

    /// Gives free pages back to the file system, a few at a time, while writes go on. `whole` writes the file anew
    /// instead: as small as it can be, but writes wait until it is done.
    ///
    /// # Errors
    /// `Unavailable` when the disk fails or is full; nothing is lost.
    pub async fn defragment(&self, whole: bool) -> Result<Defragmented, StorageError> {
        let at = self.location().clone();
        let before_bytes = file_bytes(at.path());
        let core = self.core();
        if whole {
            core.run(|writer| {
                // What the log says and a power cut may undo in the rows is on the disk with the file.
                let done = writer.connection.execute_batch("PRAGMA synchronous = FULL; VACUUM");
                done.map_err(|error| storage_error("writing the file anew", &error))
            })
            .await?;
        } else {
            while core.run(|writer| release(writer).map_err(|e| storage_error("releasing pages", &e))).await?
            {
            }
        }
        // The file becomes shorter when the write-ahead log has been carried over.
        core.run(|writer| shorten(writer).map_err(|error| storage_error("shortening the file", &error)))
            .await?;
        Ok(Defragmented { before_bytes, after_bytes: file_bytes(at.path()) })
    }

    /// Whether what is stored under a key is encrypted, or would be.
    pub fn is_sealed(&self, key: &str) -> bool {
        self.sealer().is_some_and(|sealer| sealer.covers(key))
    }

    /// The bytes that are stored under a key now, encrypted if they are.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn stored(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.reader().stored(key.to_owned()).await
    }

    /// The changes of a key that are still known, the latest first. Nothing when the key was never there, or was deleted
    /// and that has been compacted.
    ///
    /// # Errors
    /// When the disk fails, or an object cannot be decrypted.
    pub async fn history(&self, key: &str) -> Result<Vec<Version>, StorageError> {
        storage::resource_prefix(key)?;
        let key = key.to_owned();
        self.reader()
            .read(move |reader, connection| {
                let failed = |error: rusqlite::Error| storage_error("reading the history", &error);
                let sql = "SELECT row FROM current WHERE key = ?1";
                let latest: Option<i64> =
                    connection.query_row(sql, [&key], |row| row.get(0)).optional().map_err(failed)?;
                let mut versions = Vec::new();
                let mut next = latest;
                while let Some(row) = next.filter(|row| *row != 0) {
                    let sql = "SELECT previous, create_revision FROM revisions WHERE row = ?1";
                    let found: Option<(i64, u64)> = connection
                        .prepare_cached(sql)
                        .and_then(|mut s| s.query_row([row], |r| Ok((r.get(0)?, r.get(1)?))).optional())
                        .map_err(failed)?;
                    let Some((previous, create_revision)) = found else { break };
                    let object = reader.object_at(connection, &key, row).map_err(failed)?;
                    let value = object.map(|object| object.value.clone());
                    let made = made_in(connection, row).map_err(failed)?;
                    versions.push(Version { revision: revision_of(row), create_revision, value, made });
                    next = Some(previous);
                }
                Ok(versions)
            })
            .await
    }
}

fn look(at: &Location, check: bool) -> rusqlite::Result<Condition> {
    let connection = open_reader(at)?;
    connection.execute_batch("BEGIN")?;
    let machine = StateMachine::load(&connection)?;
    let (log_entries, log_bytes) = log::size(&connection)?;
    let number = |pragma| schema::number(&connection, pragma).map(|n| u64::try_from(n).unwrap_or(0));
    let (page, pages, free) = (number("page_size")?, number("page_count")?, number("freelist_count")?);
    let sql = "SELECT count(*) FROM current WHERE create_revision != 0";
    let wal = at
        .path()
        .with_file_name(format!("{}-wal", at.path().file_name().unwrap_or_default().to_string_lossy()));
    Ok(Condition {
        format: FORMAT,
        revision: machine.revision,
        compacted_revision: machine.compacted,
        objects: connection.query_row(sql, [], |row| row.get(0))?,
        applied_index: machine.applied.map_or(0, |at| at.index),
        term: load_vote(&connection)?.map_or(0, |vote| vote.leader_id.term),
        log_entries,
        log_bytes,
        file_bytes: if at.is_memory() { page * pages } else { file_bytes(at.path()) },
        used_bytes: page * pages.saturating_sub(free),
        wal_bytes: file_bytes(&wal),
        faults: check.then(|| faults(&connection)).transpose()?,
        ..Condition::default()
    })
}

fn file_bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Releases a few pages; answers whether there are more.
fn release(writer: &mut Writer) -> rusqlite::Result<bool> {
    let free = |connection: &Connection| schema::number(connection, "freelist_count");
    let before = free(&writer.connection)?;
    if before > 0 {
        schema::pragma(&writer.connection, &format!("incremental_vacuum({STEP_PAGES})"))?;
        writer.after_commit();
    }
    let left = free(&writer.connection)?;
    Ok(0 < left && left < before)
}

fn shorten(writer: &mut Writer) -> rusqlite::Result<()> {
    // Readers are not waited for: then the next checkpoint does it.
    writer.connection.busy_timeout(Duration::ZERO)?;
    let made = checkpoint(&writer.connection, "TRUNCATE");
    writer.connection.busy_timeout(BUSY_TIMEOUT)?;
    match made {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
        made => made.map(drop),
    }
}
