//! What is on a node's disk.

use crate::clients::tag;
use crate::ledger::Row;
use crate::trace::{digest, hash};
use rusqlite::Connection;
use std::path::Path;

/// The place of a log entry, as the datastore numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) index: u64,
}

/// A log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) at: At,
    pub(crate) digest: u64,
}

/// One look at a node.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// Its place among the nodes of the simulation.
    pub(crate) place: usize,
    /// Raised by every start.
    pub(crate) incarnation: u64,
    /// Its number in the cluster.
    pub(crate) id: u64,
    /// Term, candidate, and whether a majority agreed.
    pub(crate) vote: Option<(u64, u64, bool)>,
    pub(crate) purged: Option<At>,
    /// From an entry on that was seen before, or from the beginning: then it follows what was purged.
    pub(crate) log: Vec<LogEntry>,
    pub(crate) whole_log: bool,
    pub(crate) applied: Option<At>,
    pub(crate) revision: u64,
    pub(crate) compacted: u64,
    /// Rows that came since the last look.
    pub(crate) rows: Vec<Row>,
    /// All rows as a number; not at every entry.
    pub(crate) digest: Option<u64>,
    /// The term that it leads, as it believes.
    pub(crate) leads: Option<u64>,
    /// Whether it votes, as it believes.
    pub(crate) votes: bool,
}

/// Whether the rows, about so many, are to be compared at an entry: the same for all nodes that have applied it. The more
/// there are, the rarer, or a run would take time with the square of its length.
fn due(applied: u64, rows: u64) -> bool {
    applied.is_multiple_of((rows / 100).max(5).next_power_of_two())
}

/// Looks at a node, from one start of it to the next.
pub(crate) struct Observer {
    connection: Connection,
    last_row: i64,
    changes: Option<u64>,
    /// The last entry, and the last one applied, when it looked before.
    known: Option<(At, u64)>,
}

fn at(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Option<At>> {
    let node: Option<u64> = row.get(first + 1)?;
    node.map(|node| Ok(At { term: row.get(first)?, node, index: row.get(first + 2)? })).transpose()
}

impl Observer {
    pub(crate) fn new(directory: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(directory.join("state.db"))?;
        connection.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA query_only = ON")?;
        Ok(Self { connection, last_row: 0, changes: None, known: None })
    }

    /// Looks, if the disk has changed since it looked before.
    pub(crate) fn look(
        &mut self,
        (place, incarnation): (usize, u64),
        changes: u64,
        all: bool,
    ) -> rusqlite::Result<Option<Observation>> {
        if !all && self.changes == Some(changes) {
            return Ok(None);
        }
        self.changes = Some(changes);
        let connection = &self.connection;
        let sql = "SELECT term, node, log_index, revision, compacted FROM applied";
        let (applied, revision, compacted): (Option<At>, u64, u64) = connection
            .prepare_cached(sql)?
            .query_row([], |row| Ok((at(row, 0)?, row.get(3)?, row.get(4)?)))?;
        let sql = "SELECT node, vote_term, vote_node, vote_committed, purged_term, purged_node, purged_index
            FROM consensus";
        let (id, vote, purged) = connection.prepare_cached(sql)?.query_row([], |row| {
            let (id, candidate): (Option<u64>, Option<u64>) = (row.get(0)?, row.get(2)?);
            let (term, committed): (u64, bool) = (row.get(1)?, row.get(3)?);
            Ok((id, candidate.map(|node| (term, node, committed)), at(row, 4)?))
        })?;
        let Some(id) = id else { return Ok(None) };
        let known = self.known.filter(|_| !all);
        let mut log = self.log(known.map_or(0, |(last, applied)| last.index.min(applied)))?;
        let whole_log = known.is_none_or(|(last, _)| !log.iter().any(|entry| entry.at == last));
        if whole_log && known.is_some() {
            log = self.log(0)?;
        }
        self.known = log.last().map(|entry| (entry.at, applied.map_or(0, |at| at.index)));
        // A snapshot may replace what was there.
        let sql = "SELECT max(row) FROM revisions";
        let last: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let sql =
            "SELECT row, key, create_revision, previous, value FROM revisions WHERE row > ?1 ORDER BY row";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([self.last_row], |row| {
            let value: Option<Vec<u8>> = row.get(4)?;
            Ok(Row {
                row: row.get(0)?,
                key: row.get(1)?,
                create_revision: row.get(2)?,
                previous: row.get(3)?,
                tag: value.map(|value| tag(&value)),
            })
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        self.last_row = last.unwrap_or(0).max(self.last_row);
        let due = due(applied.map_or(0, |at| at.index), revision.saturating_sub(compacted));
        let digest = if all || due { Some(self.digest()?) } else { None };
        Ok(Some(Observation {
            place,
            incarnation,
            id,
            vote,
            purged,
            log,
            whole_log,
            applied,
            revision,
            compacted,
            rows,
            digest,
            leads: None,
            votes: false,
        }))
    }

    fn log(&self, from: u64) -> rusqlite::Result<Vec<LogEntry>> {
        let sql =
            "SELECT term, node, log_index, kind, entry FROM log WHERE log_index >= ?1 ORDER BY log_index";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([from])?;
        let mut log = Vec::new();
        while let Some(row) = rows.next()? {
            let (kind, entry): (u8, Vec<u8>) = (row.get(3)?, row.get(4)?);
            let Some(at) = at(row, 0)? else { continue };
            log.push(LogEntry { at, digest: hash(digest(&entry), &[kind]) });
        }
        Ok(log)
    }

    fn digest(&self) -> rusqlite::Result<u64> {
        let tables = [
            "SELECT row, create_revision, previous, splice_at, key, value, author, impersonator, made_at
             FROM revisions ORDER BY row",
            "SELECT key, row, create_revision FROM current ORDER BY key",
            "SELECT node, epoch, sequence FROM origins ORDER BY node",
            "SELECT term, node, log_index, config FROM membership",
            "SELECT revision, compacted FROM applied",
        ];
        let mut result = digest(b"");
        for sql in tables {
            let mut statement = self.connection.prepare_cached(sql)?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    use rusqlite::types::ValueRef;
                    result = match row.get_ref(column)? {
                        ValueRef::Null => hash(result, b"null"),
                        ValueRef::Integer(number) => hash(result, &number.to_le_bytes()),
                        ValueRef::Real(number) => hash(result, &number.to_le_bytes()),
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hash(result, bytes),
                    };
                }
            }
        }
        Ok(result)
    }

    /// Whether SQLite finds the file in order.
    pub(crate) fn integrity(&self) -> rusqlite::Result<String> {
        self.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
    }
}
