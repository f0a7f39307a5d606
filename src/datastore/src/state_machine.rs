//! What commands do to the rows. Deterministic: the same entries in the same order give the same rows and
//! the same outcomes on every node.

use crate::command::{Command, Entry, Operation};
use crate::log::Position;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashSet;
use std::sync::Arc;
use storage::Made;

/// Operations that can share a revision.
const MAX_OPERATIONS: usize = 1 << ORDINAL_BITS;
const ORDINAL_BITS: u32 = 16;

/// The rows of a revision begin here.
pub(crate) fn first_row(revision: u64) -> i64 {
    i64::try_from(revision << ORDINAL_BITS).unwrap_or(i64::MAX)
}

/// The rows of a revision end here.
pub(crate) fn last_row(revision: u64) -> i64 {
    first_row(revision) | (MAX_OPERATIONS as i64 - 1)
}

/// The revision of a row.
pub(crate) fn revision_of(row: i64) -> u64 {
    row.cast_unsigned() >> ORDINAL_BITS
}

/// One change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The key.
    pub key: Arc<str>,
    /// The revision that created the object; 0 for a deletion.
    pub create_revision: u64,
    /// The revision of the change.
    pub revision: u64,
    /// The object with its revision, and where that begins; None for a deletion.
    pub value: Option<(Bytes, u32)>,
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A create found the key taken.
    KeyExists {
        /// The key.
        key: Arc<str>,
    },
    /// An update or deletion found no object.
    NotFound {
        /// The key.
        key: Arc<str>,
    },
    /// The object is at another revision.
    Conflict {
        /// The key.
        key: Arc<str>,
        /// What was expected.
        expected: u64,
        /// What is there.
        current: u64,
    },
    /// A compaction beyond the current revision.
    FutureRevision {
        /// What was asked for.
        requested: u64,
        /// The current revision.
        current: u64,
    },
    /// A transaction that changes a key twice, or has too many operations or none.
    InvalidTransaction {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied; one change for each of its operations.
    Applied(Vec<Applied>),
    /// Revisions before this one are gone.
    Compacted(u64),
    /// Nothing was changed.
    Rejected(Rejection),
}

/// The counters of the applied state; the rest is in the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateMachine {
    /// The last log entry that was applied; None before the first.
    pub applied: Option<Position>,
    /// The revision of the last change.
    pub revision: u64,
    /// The oldest revision that can be asked for.
    pub compacted: u64,
}

/// Where a key's latest row is.
struct Current {
    row: i64,
    /// 0 when it is deleted.
    create_revision: u64,
}

impl StateMachine {
    /// Reads the counters.
    ///
    /// # Errors
    /// SQLite's.
    pub fn load(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .prepare_cached("SELECT term, node, log_index, revision, compacted FROM applied")?
            .query_row([], |row| {
                let applied = Position::read(row, 0)?;
                Ok(Self { applied, revision: row.get(3)?, compacted: row.get(4)? })
            })
    }

    /// Applies an entry within the transaction that the connection is in. One outcome for each command.
    ///
    /// # Errors
    /// SQLite's; then neither the transaction nor this value may be used any further: roll back, and go on
    /// with a copy made before.
    pub fn apply(
        &mut self,
        at: Position,
        entry: &Entry,
        connection: &Connection,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let outcomes = self.execute(entry, connection)?;
        self.applied = Some(at);
        self.save(connection)?;
        Ok(outcomes)
    }

    /// As [`Self::apply`], but leaves the counters to [`Self::save`].
    pub(crate) fn execute(
        &mut self,
        entry: &Entry,
        connection: &Connection,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(entry.commands.len());
        for (place, command) in entry.commands.iter().enumerate() {
            let made = entry.made.get(place);
            outcomes.push(match command {
                Command::Write(operation) => self.write(std::slice::from_ref(operation), made, connection)?,
                Command::Transaction(operations) => match check(operations) {
                    Some(reason) => Outcome::Rejected(Rejection::InvalidTransaction { reason }),
                    None => self.write(operations, made, connection)?,
                },
                Command::Compact { revision } => self.compact(*revision, connection)?,
            });
        }
        Ok(outcomes)
    }

    /// Writes the counters, in the transaction of what they count.
    pub(crate) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let at = self.applied.unwrap_or_default();
        connection
            .prepare_cached(
                "UPDATE applied SET term = ?1, node = ?2, log_index = ?3, revision = ?4, compacted = ?5",
            )?
            .execute(params![
                at.term,
                self.applied.map(|at| at.node),
                at.index,
                self.revision,
                self.compacted
            ])
            .map(drop)
    }

    fn write(
        &mut self,
        operations: &[Operation],
        made: Option<&Made>,
        connection: &Connection,
    ) -> rusqlite::Result<Outcome> {
        let mut found = Vec::with_capacity(operations.len());
        for operation in operations {
            let current = current(operation.key(), connection)?;
            if let Some(rejection) = judge(operation, current.as_ref()) {
                return Ok(Outcome::Rejected(rejection));
            }
            found.push(current);
        }
        let revision = self.revision + 1;
        let mut changes = Vec::with_capacity(operations.len());
        for (ordinal, (operation, current)) in operations.iter().zip(found).enumerate() {
            let row = first_row(revision) | ordinal as i64;
            let previous = current.as_ref().map_or(0, |current| current.row);
            let value = operation.object().map(|object| (object.spliced(revision), object.splice_at()));
            let create_revision = match operation {
                Operation::Create { .. } => revision,
                Operation::Update { .. } => current.map_or(revision, |current| current.create_revision),
                Operation::Delete { .. } => 0,
            };
            connection
                .prepare_cached(
                    "INSERT INTO current (key, row, create_revision) VALUES (?1, ?2, ?3)
                     ON CONFLICT (key) DO UPDATE SET row = ?2, create_revision = ?3",
                )?
                .execute(params![operation.key(), row, create_revision])?;
            connection
                .prepare_cached(
                    "INSERT INTO revisions (row, create_revision, previous, splice_at, key, value,
                                            author, impersonator, made_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    row,
                    create_revision,
                    previous,
                    value.as_ref().map_or(0, |(_, splice_at)| *splice_at),
                    operation.key(),
                    value.as_ref().map(|(bytes, _)| &**bytes),
                    made.map(|made| &*made.by.user),
                    made.and_then(|made| made.by.impersonator.as_deref()),
                    made.map(|made| made.at_millis.cast_signed()),
                ])?;
            changes.push(Applied { key: Arc::clone(operation.key()), create_revision, revision, value });
        }
        self.revision = revision;
        Ok(Outcome::Applied(changes))
    }

    /// Every row that came after the last compaction and up to this one supersedes its previous row; a
    /// deletion is itself of no more use.
    ///
    /// Cost: proportional to the revisions between the two compactions.
    fn compact(&mut self, revision: u64, connection: &Connection) -> rusqlite::Result<Outcome> {
        if revision > self.revision {
            let rejection = Rejection::FutureRevision { requested: revision, current: self.revision };
            return Ok(Outcome::Rejected(rejection));
        }
        if revision <= self.compacted {
            return Ok(Outcome::Compacted(self.compacted));
        }
        let mut gone = Vec::new();
        let mut deleted = Vec::new();
        {
            let mut select = connection.prepare_cached(
                "SELECT row, previous, CASE WHEN value IS NULL THEN key END FROM revisions
                 WHERE row BETWEEN ?1 AND ?2",
            )?;
            let mut rows = select.query(params![first_row(self.compacted + 1), last_row(revision)])?;
            while let Some(found) = rows.next()? {
                let (row, previous): (i64, i64) = (found.get(0)?, found.get(1)?);
                if previous != 0 {
                    gone.push(previous);
                }
                if let Some(key) = found.get::<_, Option<String>>(2)? {
                    gone.push(row);
                    deleted.push((row, key));
                }
            }
        }
        let mut delete = connection.prepare_cached("DELETE FROM revisions WHERE row = ?1")?;
        for row in gone {
            delete.execute([row])?;
        }
        let mut forget = connection.prepare_cached("DELETE FROM current WHERE key = ?2 AND row = ?1")?;
        for (row, key) in deleted {
            forget.execute(params![row, key])?;
        }
        self.compacted = revision;
        Ok(Outcome::Compacted(revision))
    }
}

fn check(operations: &[Operation]) -> Option<&'static str> {
    let mut keys = HashSet::new();
    if operations.is_empty() {
        Some("it has no operations")
    } else if operations.len() > MAX_OPERATIONS {
        Some("it has more than 65536 operations")
    } else if !operations.iter().all(|operation| keys.insert(operation.key())) {
        Some("it changes a key twice")
    } else {
        None
    }
}

fn current(key: &str, connection: &Connection) -> rusqlite::Result<Option<Current>> {
    connection
        .prepare_cached("SELECT row, create_revision FROM current WHERE key = ?1")?
        .query_row([key], |row| Ok(Current { row: row.get(0)?, create_revision: row.get(1)? }))
        .optional()
}

fn judge(operation: &Operation, current: Option<&Current>) -> Option<Rejection> {
    let current = current.filter(|current| current.create_revision != 0);
    match (operation, current) {
        (Operation::Create { .. }, None) => None,
        (Operation::Create { key, .. }, Some(_)) => Some(Rejection::KeyExists { key: Arc::clone(key) }),
        (Operation::Update { key, .. } | Operation::Delete { key, .. }, None) => {
            Some(Rejection::NotFound { key: Arc::clone(key) })
        }
        (
            Operation::Update { key, if_revision, .. } | Operation::Delete { key, if_revision },
            Some(current),
        ) => {
            let is = revision_of(current.row);
            (*if_revision != 0 && *if_revision != is).then(|| Rejection::Conflict {
                key: Arc::clone(key),
                expected: *if_revision,
                current: is,
            })
        }
    }
}

#[cfg(test)]
#[path = "state_machine_tests.rs"]
mod tests;
