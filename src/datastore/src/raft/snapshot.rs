//! Copies of the whole state, for nodes that are too far behind for the log.

use crate::bug::{Bug, is_back};
use crate::error::storage_error;
use crate::raft::core::{Core, Durability, transaction};
use crate::raft::log_store::measure;
use crate::raft::types::{Meta, load_config, log_id};
use crate::reader::Reader;
use crate::schema::{self, Location};
use crate::state_machine::StateMachine;
use crate::writer::Writer;
use openraft::LogId;
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::cache::Change;
use storage::{ListOptions, StorageError};

/// Tells the files of a process apart.
static FILES: AtomicU64 = AtomicU64::new(0);

/// Where a snapshot comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A database that is in use. It is copied when somebody wants the snapshot; it may have gone on by then.
    Live(Location),
    /// A copy.
    File(Arc<SnapshotFile>),
}

/// A copy of the state on the disk, deleted when nobody uses it any more.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
}

impl SnapshotFile {
    /// A name for a new file; there is no file yet.
    pub(crate) fn new(directory: &Path) -> Self {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        Self { path: directory.join(format!("snapshot-{}-{number}.db", std::process::id())) }
    }

    /// Deletes what an earlier process has left.
    pub(crate) fn clean(directory: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("snapshot-") {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The SHA-256 of the file, as hexadecimal digits, and its length in bytes.
    pub(crate) fn checksum(&self) -> io::Result<(String, u64)> {
        let mut file = File::open(&self.path)?;
        let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            let count = file.read(&mut buffer)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
            hash.update(read);
            length += count as u64;
        }
        Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), length))
    }

    /// What the file is a snapshot of.
    ///
    /// # Errors
    /// When it is no snapshot, or of a version that is newer or too old.
    pub(crate) fn meta(&self) -> Result<Meta, StorageError> {
        let failed = |error: rusqlite::Error| storage_error("reading a snapshot", &error);
        let connection = Connection::open(&self.path).map_err(failed)?;
        let number = |pragma| schema::number(&connection, pragma).map_err(failed);
        let (owner, format) = (number("application_id")?, number("user_version")?);
        let known = schema::OLDEST_SNAPSHOT..=schema::FORMAT;
        if owner != schema::APPLICATION_ID || !known.contains(&format) {
            return Err(StorageError::unavailable(format_args!(
                "the snapshot has format {format}, this version knows format {}; run the same version on all nodes",
                schema::FORMAT
            )));
        }
        let applied = StateMachine::load(&connection).map_err(failed)?.applied.map(log_id);
        let last_membership = load_config(&connection).map_err(failed)?;
        let snapshot_id = applied.as_ref().map(name).unwrap_or_default();
        Ok(Meta { last_log_id: applied, last_membership, snapshot_id })
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "a snapshot is left; the next start deletes it");
        }
    }
}

/// The name of the snapshot of what was applied up to an entry.
pub(crate) fn name(last: &LogId<u64>) -> String {
    format!("{}-{}-{}", last.leader_id.term, last.leader_id.node_id, last.index)
}

/// The file of a snapshot, made now if there is none yet.
pub(crate) async fn file(source: Source, core: &Core) -> Result<Arc<SnapshotFile>, StorageError> {
    match source {
        Source::File(file) => Ok(file),
        Source::Live(at) => {
            let directory = core.directory.clone();
            let made = core.threads.run(move || make(&at, &directory)).await;
            made.map_err(StorageError::unavailable)?.map(Arc::new)
        }
    }
}

/// Copies a database that others may be writing to: what is copied is the state at one moment. Neither the log nor
/// what the node knows for itself goes along.
fn make(at: &Location, directory: &Path) -> Result<SnapshotFile, StorageError> {
    let file = SnapshotFile::new(directory);
    let path =
        file.path.to_str().ok_or_else(|| StorageError::fatal("the data directory's name is no text"))?;
    copy(at, path).map_err(|error| storage_error("taking a snapshot", &error))?;
    Ok(file)
}

/// The same at a path where there is no file yet.
pub(crate) fn copy(at: &Location, path: &str) -> rusqlite::Result<()> {
    let connection = schema::open_checkpointer(at)?;
    connection.execute("VACUUM INTO ?1", [path])?;
    let copy = Connection::open(path)?;
    copy.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         DELETE FROM log; DELETE FROM consensus; INSERT INTO consensus (id) VALUES (0);",
    )?;
    copy.close().map_err(|(_, error)| error)
}

/// Replaces the state by a snapshot's, in one transaction, and brings the cache to it.
pub(crate) fn install(writer: &mut Writer, core: &Core, file: &SnapshotFile) -> Result<(), StorageError> {
    let failed = |error: rusqlite::Error| storage_error("installing a snapshot", &error);
    let meta = file.meta()?;
    if meta.last_log_id <= writer.machine.applied.map(log_id) {
        return Ok(());
    }
    let path =
        file.path.to_str().ok_or_else(|| StorageError::fatal("the data directory's name is no text"))?;
    writer.connection.execute("ATTACH ?1 AS snapshot", [path]).map_err(failed)?;
    let before = writer.machine.revision;
    let installed =
        transaction(writer, "installing a snapshot", Durability::Synced, |connection, machine| {
            take_rows(connection)?;
            *machine = StateMachine::load(connection)?;
            machine.applied.map_or(Ok(()), |applied| crate::log::purge(connection, applied))
        });
    let detached = writer.connection.execute_batch("DETACH snapshot").map_err(failed);
    installed.and(detached)?;
    core.recent.lock().purge(writer.machine.applied.map_or(0, |applied| applied.index));
    measure(writer, core);
    show(writer, core, before)?;
    core.reached(writer.machine.applied);
    Ok(())
}

/// Replaces the rows by those of the snapshot that is attached.
fn take_rows(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(if is_back(Bug::HalfSnapshot) {
        "DELETE FROM main.current WHERE key IN (SELECT key FROM snapshot.current);
         DELETE FROM main.revisions WHERE row IN (SELECT row FROM snapshot.revisions)"
    } else {
        "DELETE FROM main.current; DELETE FROM main.revisions"
    })?;
    let format = schema::number(connection, "snapshot.user_version")?;
    let authors =
        if format < schema::FORMAT_OF_AUTHORS { "NULL, NULL, NULL" } else { "author, impersonator, made_at" };
    connection.execute_batch(&format!(
        "DELETE FROM main.origins; DELETE FROM main.membership;
         INSERT INTO main.revisions
             (row, create_revision, previous, splice_at, key, value, author, impersonator, made_at)
             SELECT row, create_revision, previous, splice_at, key, value, {authors}
             FROM snapshot.revisions ORDER BY row;
         INSERT INTO main.current (key, row, create_revision)
             SELECT key, row, create_revision FROM snapshot.current ORDER BY key;
         INSERT INTO main.origins (node, epoch, sequence)
             SELECT node, epoch, sequence FROM snapshot.origins;
         INSERT INTO main.membership (id, term, node, log_index, config)
             SELECT id, term, node, log_index, config FROM snapshot.membership;
         UPDATE main.applied SET (log_index, term, node, revision, compacted) =
             (SELECT log_index, term, node, revision, compacted FROM snapshot.applied);"
    ))
}

/// Brings the cache from a revision to the present, which was not reached step by step.
fn show(writer: &mut Writer, core: &Core, before: u64) -> Result<(), StorageError> {
    let StateMachine { revision, compacted, .. } = writer.machine;
    if compacted <= before {
        // Every change in between is still known.
        let changes = writer.reader.changes_since(&writer.connection, before)?;
        drop(writer.cache.publish(changes, revision));
        writer.cache.compact(compacted);
        return Ok(());
    }
    let failed = |error: rusqlite::Error| storage_error("reading the snapshot's objects", &error);
    let objects = Reader::load(&writer.connection, &core.opener).map_err(failed)?;
    let known = writer.cache.list("/registry/", &ListOptions::default())?;
    let mut gone: HashMap<_, _> =
        known.items.iter().map(|object| (Arc::clone(&object.key), object.revision)).collect();
    let mut changes = Vec::new();
    for object in objects {
        if gone.remove(&object.key) != Some(object.revision) {
            changes.push(object);
        }
    }
    changes.sort_unstable_by_key(|object| object.revision);
    let mut changes: Vec<_> = changes.into_iter().map(Change::Put).collect();
    changes.extend(gone.into_keys().map(|key| Change::Delete { key, revision }));
    // Watches have missed what lies between: they end, before and after, and their clients list again.
    writer.cache.interrupt(revision);
    drop(writer.cache.publish(changes, revision));
    writer.cache.interrupt(revision);
    writer.cache.compact(compacted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::{database, of_format_2};

    #[test]
    fn a_snapshot_of_an_older_node_is_taken_and_one_of_a_newer_refused() {
        let (dir, connection) = database();
        let file = SnapshotFile::new(dir.path());
        drop(of_format_2(&file.path));
        file.meta().unwrap();
        connection.execute("ATTACH ?1 AS snapshot", [file.path.to_str().unwrap()]).unwrap();
        take_rows(&connection).unwrap();
        connection.execute_batch("DETACH snapshot").unwrap();
        let sql = "SELECT row, key, author, made_at FROM revisions";
        type Told = (i64, String, Option<String>, Option<i64>);
        let told: Told =
            connection.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
        assert_eq!(told, (131_072, "/registry/core/pods/a".to_owned(), None, None));

        let newer = Connection::open(&file.path).unwrap();
        schema::pragma(&newer, &format!("user_version = {}", schema::FORMAT + 1)).unwrap();
        let error = file.meta().unwrap_err().to_string();
        assert!(error.contains("run the same version on all nodes"), "{error}");
    }
}
