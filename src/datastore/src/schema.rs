//! The tables, SQLite's settings, and the format's version.

use crate::error::OpenError;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// "Knrr": tells our files from other programs' SQLite databases.
pub(crate) const APPLICATION_ID: i64 = 0x4b6e_7272;

/// The format of the tables below. Raised with every change that an older version could not read.
pub(crate) const FORMAT: i64 = 3;

/// The first format whose rows tell who made them.
pub(crate) const FORMAT_OF_AUTHORS: i64 = 3;

/// The first format of snapshots that are still taken: while nodes are upgraded, an older one may send its own.
pub(crate) const OLDEST_SNAPSHOT: i64 = 2;

/// - `applied`: one row; the last log entry whose effects are in the rows (`node` null: none), and the counters.
/// - `origins`: for each node that proposed something, the last of its proposals that was applied.
/// - `membership`: one row; who belongs to the cluster, and the log entry that said so.
/// - `log`: entries, for whoever has to catch up.
/// - `consensus`: one row; what this node knows for itself: who it is, whom it voted for.
/// - `current`: where each key's latest row is. `create_revision` 0 marks a deleted key.
/// - `revisions`: one row for each change. `row` is revision * 65536 + place within the revision, so that
///   new rows go to the end and a range of revisions is a range of rows. `previous` leads to the key's row
///   before this one (0: none). `value` is null for a deletion. `key` comes before `value` so that rows can
///   be told apart without reading large values. `author` and `impersonator` are users, `made_at` is milliseconds since
///   1970; null where that was not noted.
const TABLES: &str = "
CREATE TABLE applied (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    log_index INTEGER NOT NULL,
    term INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    compacted INTEGER NOT NULL,
    node INTEGER
);
INSERT INTO applied VALUES (0, 0, 0, 1, 0, NULL);
CREATE TABLE current (
    key TEXT PRIMARY KEY,
    row INTEGER NOT NULL,
    create_revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE revisions (
    row INTEGER PRIMARY KEY,
    create_revision INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    splice_at INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB
);
";

/// What format 2 added.
const REPLICATION_TABLES: &str = "
CREATE TABLE log (
    log_index INTEGER PRIMARY KEY,
    term INTEGER NOT NULL,
    node INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    entry BLOB NOT NULL
);
CREATE TABLE origins (
    node INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL
);
CREATE TABLE membership (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    term INTEGER NOT NULL,
    node INTEGER,
    log_index INTEGER NOT NULL,
    config TEXT NOT NULL
);
CREATE TABLE consensus (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    node INTEGER,
    cluster TEXT NOT NULL DEFAULT '',
    epoch INTEGER NOT NULL DEFAULT 0,
    vote_term INTEGER NOT NULL DEFAULT 0,
    vote_node INTEGER,
    vote_committed INTEGER NOT NULL DEFAULT 0,
    purged_term INTEGER NOT NULL DEFAULT 0,
    purged_node INTEGER,
    purged_index INTEGER NOT NULL DEFAULT 0
);
INSERT INTO consensus (id) VALUES (0);
";

/// What format 3 added. A new column is only noted in the schema: no row is written.
const AUTHORS: &str = "
ALTER TABLE revisions ADD COLUMN author TEXT;
ALTER TABLE revisions ADD COLUMN impersonator TEXT;
ALTER TABLE revisions ADD COLUMN made_at INTEGER;
";

/// Format 1 knew a single voter, node 1 in term 1, whose every entry is in the rows.
const FROM_FORMAT_1: &str = "
ALTER TABLE applied ADD COLUMN node INTEGER;
UPDATE applied SET node = 1, term = 1 WHERE log_index > 0;
DROP TABLE log;
";

/// Readers and writer do not block each other in WAL mode; this is for the rare moments (recovery, a
/// database in memory) when they do.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    File(PathBuf),
    /// Shared by the connections of this process that use the same name.
    Memory(PathBuf),
}

impl Location {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Memory(path) => path,
        }
    }

    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

/// The writer's connection; makes the tables where there are none.
pub(crate) fn open_writer(at: &Location) -> Result<Connection, OpenError> {
    let path = at.path();
    let failed = |step| OpenError::sqlite(step, path);
    let connection = connect(at, OpenFlags::SQLITE_OPEN_READ_WRITE, 4096)?;
    check_owner(&connection, path)?;
    // Before the first table, or it has no effect. Lets the file shrink a little at a time.
    pragma(&connection, "auto_vacuum = INCREMENTAL").map_err(failed("prepare"))?;
    let mode: String = connection
        .query_row(
            if at.is_memory() { "PRAGMA journal_mode = MEMORY" } else { "PRAGMA journal_mode = WAL" },
            [],
            |row| row.get(0),
        )
        .map_err(failed("prepare"))?;
    if !at.is_memory() && mode != "wal" {
        let detail = format!("it does not enter WAL mode but {mode:?}; is the file system suitable?");
        return Err(OpenError::Damaged { path: path.to_owned(), detail });
    }
    // FULL: in WAL mode every commit waits until its frames are on the disk.
    pragma(&connection, "synchronous = FULL").map_err(failed("prepare"))?;
    pragma(&connection, "wal_autocheckpoint = 0").map_err(failed("prepare"))?;
    // The write-ahead log keeps the room that it once took, which the checkpointer bounds: a sync after writing over
    // old blocks takes two thirds of the time of one after growing the file, which has to change its metadata too.
    pragma(&connection, "journal_size_limit = -1").map_err(failed("prepare"))?;
    migrate(&connection, path)?;
    Ok(connection)
}

/// A connection for reading, or for checkpoints.
pub(crate) fn open_reader(at: &Location) -> rusqlite::Result<Connection> {
    // Not READ_ONLY: the last reader of a WAL database has to be able to write the shared memory file.
    let connection = raw(at, OpenFlags::SQLITE_OPEN_READ_WRITE, 512)?;
    pragma(&connection, "wal_autocheckpoint = 0")?;
    pragma(&connection, "query_only = ON")?;
    Ok(connection)
}

/// A connection that only makes checkpoints.
pub(crate) fn open_checkpointer(at: &Location) -> rusqlite::Result<Connection> {
    let connection = raw(at, OpenFlags::SQLITE_OPEN_READ_WRITE, 64)?;
    pragma(&connection, "wal_autocheckpoint = 0")?;
    pragma(&connection, "synchronous = FULL")?;
    Ok(connection)
}

fn connect(at: &Location, flags: OpenFlags, cache_kib: u32) -> Result<Connection, OpenError> {
    raw(at, flags, cache_kib).map_err(OpenError::sqlite("open", at.path()))
}

fn raw(at: &Location, mut flags: OpenFlags, cache_kib: u32) -> rusqlite::Result<Connection> {
    flags |= OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match at {
        Location::File(path) => Connection::open_with_flags(path, flags)?,
        Location::Memory(path) => {
            let flags = flags | OpenFlags::SQLITE_OPEN_CREATE;
            Connection::open_with_flags_and_vfs(path, flags, c"memdb")?
        }
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // All statements of this crate fit.
    connection.set_prepared_statement_cache_capacity(32);
    pragma(&connection, &format!("cache_size = -{cache_kib}"))?;
    pragma(&connection, "temp_store = MEMORY")?;
    pragma(&connection, "trusted_schema = OFF")?;
    Ok(connection)
}

/// Runs a pragma and ignores the row that some of them answer with.
pub(crate) fn pragma(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA {text}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

pub(crate) fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |step| OpenError::sqlite(step, path);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed("read"))?;
    let owner = number(connection, "application_id").map_err(failed("read"))?;
    if tables > 0 && owner != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let found = number(connection, "user_version").map_err(failed("read"))?;
    if found > FORMAT {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found, supported: FORMAT });
    }
    Ok(())
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let before = match number(connection, "user_version").map_err(OpenError::sqlite("read", path))? {
        FORMAT => return Ok(()),
        0 => [TABLES, REPLICATION_TABLES],
        1 => [FROM_FORMAT_1, REPLICATION_TABLES],
        _ => ["", ""],
    }
    .concat();
    // One transaction: a crash leaves either nothing or everything.
    let script = format!(
        "BEGIN IMMEDIATE;{before}{AUTHORS}PRAGMA application_id = {APPLICATION_ID};
         PRAGMA user_version = {FORMAT};COMMIT;"
    );
    connection.execute_batch(&script).map_err(OpenError::sqlite("set up the tables of", path))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An empty database in a directory of its own.
    pub(crate) fn database() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(&path, b"").unwrap();
        let connection = open_writer(&Location::File(path)).unwrap();
        (dir, connection)
    }

    /// A database with one row, as versions before authors left it.
    pub(crate) fn of_format_2(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(&format!(
                "{TABLES}{REPLICATION_TABLES}
                 INSERT INTO revisions VALUES (131072, 2, 0, 13, '/registry/core/pods/a', x'7b7d');
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2"
            ))
            .unwrap();
        connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, Location) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(&path, b"").unwrap();
        (dir, Location::File(path))
    }

    #[test]
    fn a_new_file_is_set_up_for_durable_commits_and_opens_again() {
        let (_dir, at) = file();
        drop(open_writer(&at).unwrap());
        let connection = open_writer(&at).unwrap();
        assert_eq!(number(&connection, "synchronous").unwrap(), 2);
        assert_eq!(number(&connection, "auto_vacuum").unwrap(), 2);
        assert_eq!(number(&connection, "user_version").unwrap(), FORMAT);
        let reader = open_reader(&at).unwrap();
        assert!(reader.execute("DELETE FROM applied", []).is_err());
    }

    #[test]
    fn a_newer_format_a_foreign_database_and_garbage_are_refused() {
        let (_dir, at) = file();
        let connection = open_writer(&at).unwrap();
        pragma(&connection, "user_version = 99").unwrap();
        drop(connection);
        assert!(open_writer(&at).unwrap_err().to_string().contains("has format 99"));

        let (_dir, at) = file();
        Connection::open(at.path()).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        assert!(matches!(open_writer(&at), Err(OpenError::Foreign { .. })));

        let (_dir, at) = file();
        std::fs::write(at.path(), [b'x'; 8192]).unwrap();
        assert!(matches!(open_writer(&at), Err(OpenError::Damaged { .. })));
    }

    #[test]
    fn format_2_is_carried_over_with_its_rows() {
        let (_dir, at) = file();
        drop(testing::of_format_2(at.path()));
        let connection = open_writer(&at).unwrap();
        let sql = "SELECT key, value, author, impersonator, made_at FROM revisions";
        type Told = (String, Vec<u8>, Option<String>, Option<String>, Option<i64>);
        let told: Told = connection
            .query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
            .unwrap();
        assert_eq!(told, ("/registry/core/pods/a".to_owned(), b"{}".to_vec(), None, None, None));
        assert_eq!(number(&connection, "user_version").unwrap(), FORMAT);
    }

    #[test]
    fn format_1_is_carried_over_with_what_it_has_applied() {
        let (_dir, at) = file();
        let script = "
            CREATE TABLE applied (id INTEGER PRIMARY KEY CHECK (id = 0), log_index INTEGER NOT NULL,
                term INTEGER NOT NULL, revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
            INSERT INTO applied VALUES (0, 41, 0, 57, 3);
            CREATE TABLE log (log_index INTEGER PRIMARY KEY, term INTEGER NOT NULL, entry BLOB NOT NULL);
            INSERT INTO log VALUES (41, 1, x'01');
            CREATE TABLE current (key TEXT PRIMARY KEY, row INTEGER NOT NULL, create_revision INTEGER NOT NULL)
                WITHOUT ROWID;
            CREATE TABLE revisions (row INTEGER PRIMARY KEY, create_revision INTEGER NOT NULL,
                previous INTEGER NOT NULL, splice_at INTEGER NOT NULL, key TEXT NOT NULL, value BLOB);";
        let old = Connection::open(at.path()).unwrap();
        old.execute_batch(&format!(
            "{script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1"
        ))
        .unwrap();
        drop(old);
        let connection = open_writer(&at).unwrap();
        let machine = crate::state_machine::StateMachine::load(&connection).unwrap();
        let applied = crate::log::Position { term: 1, node: 1, index: 41 };
        assert_eq!((machine.applied, machine.revision, machine.compacted), (Some(applied), 57, 3));
        assert_eq!(crate::log::size(&connection).unwrap(), (0, 0));
        drop(connection);
        assert_eq!(number(&open_writer(&at).unwrap(), "user_version").unwrap(), FORMAT);
    }
}
