//! What is done to a database that nobody has open: copies for keeping, a copy's becoming the state of a new cluster,
//! and one survivor's going on alone.
//!
//! A copy is one revision, taken by SQLite while writes go on. It has no log and no identity: whoever uses it founds a
//! cluster of its own with it, and the members of the old one are refused as strangers.
//!
//! Both ways back leave out changes that some client may have seen. So revisions jump ahead ([`SKIPPED`]), and what lies
//! before counts as compacted: whoever resumes a watch is told 410 and lists again, and no revision means two things.

use crate::command::{Command, Entry};
use crate::directory::{DATABASE, Directory};
use crate::doubt::Doubt;
use crate::error::OpenError;
use crate::executor::Threads;
use crate::log::{self, Position};
use crate::raft::Identity;
use crate::raft::core::load_vote;
use crate::raft::snapshot::copy;
use crate::raft::types::{Origin, Proposed, Seat, from_row, groups, load_config};
use crate::schema::{self, FORMAT, Location};
use crate::state_machine::{StateMachine, last_row};
use crate::store::Datastore;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::path::Path;
use storage::StorageError;

/// Revisions that are left out after a state went back: more than anybody can have written beyond it.
pub const SKIPPED: u64 = 1_000_000_000;

/// The latest time that is believed, in milliseconds since 1970: the year 2527. Revisions end at 2^47.
const LATEST_MILLIS: u64 = 1 << 44;

/// Bytes of log entries that are held at a time.
const PAGE_BYTES: usize = 16 << 20;

/// Latest changes among which the time of the last one is looked for.
const RECENT_ROWS: u32 = 2000;

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Contents {
    /// The cluster that it is of.
    pub cluster: String,
    /// The revision of the last change.
    pub revision: u64,
    /// The oldest revision that can be asked for.
    pub compacted: u64,
    /// Objects at the last revision.
    pub objects: u64,
    /// The format of the tables.
    pub format: i64,
}

/// What a node knows that is to go on alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// What its rows hold.
    pub contents: Contents,
    /// Its own name.
    pub name: String,
    /// The names of the other members of its cluster.
    pub others: Vec<String>,
    /// Entries of the log that are not in the rows yet.
    pub unapplied: u64,
    /// When the last change was made, as far as objects tell (RFC 3339).
    pub last_change: Option<String>,
}

/// What became of a node that was made a cluster of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The new cluster.
    pub cluster: String,
    /// Entries of the log that were not applied before; they are now.
    pub applied: u64,
    /// The revision of the last change that is there.
    pub last_revision: u64,
    /// The revision that the new cluster begins with.
    pub revision: u64,
}

impl Datastore {
    /// Copies the state at one revision into a new file, while writes go on. In a cluster, everything that was
    /// acknowledged before is in it.
    ///
    /// # Errors
    /// `Unavailable` when no majority of voters is there, or the disk fails; a file that was begun is left.
    pub async fn copy_to(&self, path: &Path) -> Result<Contents, StorageError> {
        self.barrier().await?;
        let (at, path, cluster) = (self.location().clone(), path.to_owned(), self.cluster_id().to_owned());
        let copied = self.threads().run(move || {
            copy(&at, text(&path)?).map_err(OpenError::sqlite("copy into", &path))?;
            let contents = contents(&connect(&path)?).map_err(OpenError::sqlite("read", &path))?;
            Ok::<_, OpenError>(Contents { cluster, ..contents })
        });
        copied.await.map_err(StorageError::unavailable)?.map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            StorageError::unavailable(format_args!("{error}{}", source.unwrap_or_default()))
        })
    }
}

/// Copies the state of a store that is not open into a new file.
///
/// # Errors
/// When there is none, it is open elsewhere, is damaged or of a newer version, or the disk fails.
pub fn copy_closed(directory: &Path, path: &Path) -> Result<Contents, OpenError> {
    let closed = Closed::open(directory)?;
    let cluster = contents(&closed.connection).map_err(closed.failed("read"))?.cluster;
    copy(&Location::File(closed.path().to_owned()), text(path)?)
        .map_err(OpenError::sqlite("copy into", path))?;
    let found = contents(&connect(path)?).map_err(OpenError::sqlite("read", path))?;
    Ok(Contents { cluster, ..found })
}

/// What a store that is not open holds.
///
/// # Errors
/// As for [`copy_closed`].
pub fn inspect(directory: &Path) -> Result<Survivor, OpenError> {
    let closed = Closed::open(directory)?;
    let connection = &closed.connection;
    let read = || -> rusqlite::Result<_> {
        let contents = contents(connection)?;
        let config = load_config(connection)?;
        let own = Identity::load(connection)?.map(|identity| identity.node);
        let (mut name, mut others) = (String::new(), Vec::new());
        for (id, Seat { member, .. }) in config.membership().nodes() {
            if Some(*id) == own {
                name.clone_from(&member.name);
            } else {
                others.push(member.name.clone());
            }
        }
        let applied = StateMachine::load(connection)?.applied.map_or(0, |at| at.index);
        let last = log::bounds(connection)?.last.map_or(0, |at| at.index);
        let unapplied = last.saturating_sub(applied);
        Ok(Survivor { contents, name, others, unapplied, last_change: last_change(connection)? })
    };
    read().map_err(closed.failed("read"))
}

/// Makes a copy the state of a new cluster with one node, and looks it through first. `seen` is the highest revision that
/// is known to have been given out, `now_millis` the time since 1970.
///
/// # Errors
/// When it is damaged, no store, or of a newer version; its content is then of no more use.
pub fn found(path: &Path, seen: u64, now_millis: u64) -> Result<Contents, OpenError> {
    let at = Location::File(path.to_owned());
    let failed = |step| OpenError::sqlite(step, path);
    let size = path.metadata().map_err(OpenError::file("read", path))?.len();
    if size == 0 {
        return Err(OpenError::Damaged { path: path.to_owned(), detail: "it is empty".into() });
    }
    let connection = schema::open_writer(&at)?;
    if let Some(detail) = faults(&connection).map_err(failed("check"))?.into_iter().next() {
        return Err(OpenError::Damaged { path: path.to_owned(), detail });
    }
    let begin = || -> rusqlite::Result<()> {
        connection.execute_batch(
            "BEGIN IMMEDIATE; DELETE FROM origins; DELETE FROM membership; DELETE FROM log;",
        )?;
        let mut machine = StateMachine::load(&connection)?;
        machine.applied = None;
        jump(&mut machine, seen, now_millis, &connection)?;
        Identity::found_within(&mut machine, &connection)?;
        connection.execute_batch("COMMIT")
    };
    begin().map_err(failed("prepare"))?;
    let found = contents(&connection).map_err(failed("read"))?;
    // Without its write-ahead log: the file alone is the state.
    connection.close().map_err(|(_, error)| failed("close")(error))?;
    Ok(found)
}

/// Makes a node whose cluster has lost its majority a cluster of its own. Every entry of its log is applied: what was
/// acknowledged and is on this disk stays.
///
/// # Errors
/// When the store is open elsewhere, is damaged or of a newer version, or the disk fails; nothing has changed then.
pub fn recover(directory: &Path, now_millis: u64) -> Result<Recovered, OpenError> {
    let closed = Closed::open(directory)?;
    let failed = |step| closed.failed(step);
    closed.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed("change"))?;
    // Without a commit, the transaction ends with the connection and leaves nothing.
    let recovered = go_on_alone(&closed, now_millis)?;
    closed.connection.execute_batch("COMMIT").map_err(failed("change"))?;
    Ok(recovered)
}

fn go_on_alone(closed: &Closed, now_millis: u64) -> Result<Recovered, OpenError> {
    let connection = &closed.connection;
    let failed = |step| closed.failed(step);
    let mut machine = StateMachine::load(connection).map_err(failed("read"))?;
    let before = machine.applied.map_or(0, |at| at.index);
    apply_log(&mut machine, connection, closed.path())?;
    let applied = machine.applied.unwrap_or_default();
    let last_revision = machine.revision;
    let mut finish = || -> rusqlite::Result<_> {
        // As if it had been elected once more, and had removed all others with its first entry.
        let vote = load_vote(connection)?;
        let term = applied.term.max(vote.map_or(0, |vote| vote.leader_id.term)) + 1;
        let node = Identity::load(connection)?.map_or(1, |identity| identity.node);
        machine.applied = Some(Position { term, node, index: applied.index + 1 });
        connection.execute_batch("DELETE FROM origins; DELETE FROM membership;")?;
        jump(&mut machine, last_revision, now_millis, connection)?;
        Identity::found_within(&mut machine, connection)
    };
    let identity = finish().map_err(failed("change"))?;
    let (cluster, applied) = (identity.cluster, applied.index - before);
    Ok(Recovered { cluster, applied, last_revision, revision: machine.revision })
}

/// Applies what is in the log and not in the rows.
fn apply_log(machine: &mut StateMachine, connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |step| OpenError::sqlite(step, path);
    loop {
        let from = machine.applied.map_or(0, |at| at.index + 1);
        let rows = log::read(connection, from, u64::MAX, PAGE_BYTES).map_err(failed("read the log of"))?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let at = row.at;
            let entry = from_row(row)
                .map_err(|e| OpenError::Damaged { path: path.to_owned(), detail: e.to_string() })?;
            for Proposed { origin, entry } in groups(&entry) {
                let mut apply = || -> rusqlite::Result<()> {
                    if origin.follows(Origin::last(origin.node, connection)?.as_ref()) {
                        origin.save(connection)?;
                        machine.execute(entry, connection)?;
                    }
                    Ok(())
                };
                apply().map_err(failed("apply the log of"))?;
            }
            machine.applied = Some(at);
        }
    }
}

/// Leaves revisions out, and forgets what was superseded. To be called within a transaction; the counters are saved by
/// whoever founds the cluster.
fn jump(
    machine: &mut StateMachine,
    seen: u64,
    now_millis: u64,
    connection: &Connection,
) -> rusqlite::Result<()> {
    let commands = vec![Command::Compact { revision: machine.revision }];
    let compact = Entry { commands, made: Vec::new() };
    machine.execute(&compact, connection)?;
    machine.revision = revision_after(machine.revision.max(seen), now_millis);
    machine.compacted = machine.revision;
    Ok(())
}

/// The revision to go on with where all up to one may have been seen. The time goes in so that the same backup, restored
/// twice, does not give the same revisions twice: nobody writes a thousand times a second for ever.
fn revision_after(seen: u64, now_millis: u64) -> u64 {
    (seen + SKIPPED).max(now_millis.min(LATEST_MILLIS))
}

/// What is wrong with a database, as SQLite and its own rows say; nothing when it is whole.
pub(crate) fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut faults: Vec<String> = found.into_iter().filter(|line| line != "ok").collect();
    let lost: u64 = connection.query_row(
        "SELECT count(*) FROM current c LEFT JOIN revisions r ON r.row = c.row AND r.key = c.key WHERE r.row IS NULL",
        [],
        |row| row.get(0),
    )?;
    if lost > 0 {
        faults.push(format!("{lost} keys lead to no object"));
    }
    let machine = StateMachine::load(connection)?;
    let beyond: u64 = connection.query_row(
        "SELECT count(*) FROM revisions WHERE row > ?1",
        [last_row(machine.revision)],
        |row| row.get(0),
    )?;
    if beyond > 0 {
        faults.push(format!("{beyond} changes are later than the last revision, {}", machine.revision));
    }
    Ok(faults)
}

fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let machine = StateMachine::load(connection)?;
    let sql = "SELECT count(*) FROM current WHERE create_revision != 0";
    Ok(Contents {
        cluster: Identity::load(connection)?.map(|identity| identity.cluster).unwrap_or_default(),
        revision: machine.revision,
        compacted: machine.compacted,
        objects: connection.query_row(sql, [], |row| row.get(0))?,
        format: schema::number(connection, "user_version")?,
    })
}

/// The time of the last change, as the latest objects tell: leases are renewed every few seconds.
fn last_change(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut statement = connection
        .prepare("SELECT value FROM revisions WHERE value IS NOT NULL ORDER BY row DESC LIMIT ?1")?;
    let mut rows = statement.query([RECENT_ROWS])?;
    let mut latest = None;
    while let Some(row) = rows.next()? {
        let Ok(object) = serde_json::from_slice::<serde_json::Value>(row.get_ref(0)?.as_blob()?) else {
            continue;
        };
        let renewed = object.pointer("/spec/renewTime");
        let created = object.pointer("/metadata/creationTimestamp");
        for time in [renewed, created].into_iter().flatten().filter_map(|time| time.as_str()) {
            // Times of one form and zone sort as text, but for fractions of the same second.
            if time.ends_with('Z') && latest.as_deref().is_none_or(|latest| latest < time) {
                latest = Some(time.to_owned());
            }
        }
    }
    Ok(latest)
}

/// A store that nobody else has open, as long as this lives.
struct Closed {
    directory: Directory,
    connection: Connection,
}

impl Closed {
    /// Opens one that is there; none is made.
    fn open(directory: &Path) -> Result<Self, OpenError> {
        let file = directory.join(DATABASE);
        let size = file.metadata().map_err(OpenError::file("read", &file))?.len();
        if size == 0 {
            return Err(OpenError::Damaged { path: file, detail: "nothing was ever stored in it".into() });
        }
        let directory = Directory::open(directory)?;
        let at = Location::File(directory.database().to_owned());
        Doubt::new(&at, &Threads::default()).write_again().map_err(OpenError::file("write", at.path()))?;
        let connection = schema::open_writer(&at)?;
        Ok(Self { directory, connection })
    }

    fn path(&self) -> &Path {
        self.directory.database()
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(rusqlite::Error) -> OpenError {
        OpenError::sqlite(step, self.path())
    }
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    Connection::open(path).map_err(OpenError::sqlite("open", path))
}

fn text(path: &Path) -> Result<&str, OpenError> {
    let unreadable = || std::io::Error::other("its name is no text");
    path.to_str().ok_or_else(|| OpenError::file("open", path)(unreadable()))
}

/// The newest format of the tables that this version knows.
pub const DATABASE_FORMAT: i64 = FORMAT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_go_on_above_all_that_were_seen_and_rise_with_the_time() {
        assert_eq!(revision_after(50, 0), 50 + SKIPPED);
        let (earlier, later) = (1_700_000_000_000, 1_700_000_001_000);
        assert_eq!(revision_after(50, earlier), earlier);
        assert_eq!(revision_after(earlier + 3, later), earlier + 3 + SKIPPED);
        // A clock that is centuries off does not use the numbers up.
        assert_eq!(revision_after(50, u64::MAX), LATEST_MILLIS);
    }
}
