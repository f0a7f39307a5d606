//! The log table: entries that not everybody has applied yet, and the latest of those that everybody has.
//!
//! A sole voter keeps none: what it commits is in the rows at once, and whoever joins gets a snapshot.

use rusqlite::{Connection, OptionalExtension, Row, params};

/// The place of an entry in the log. Of two logs, the one whose last position is greater knows more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The term of the leader that appended it.
    pub term: u64,
    /// That leader's node.
    pub node: u64,
    /// One greater than the entry's before it.
    pub index: u64,
}

impl Position {
    /// The position after this one, in the same term.
    #[must_use]
    pub fn next(self) -> Self {
        Self { index: self.index + 1, ..self }
    }

    /// Reads `term, node, log_index` from three columns on; None when the node is null.
    pub(crate) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Self>> {
        let node: Option<u64> = row.get(first + 1)?;
        let at = |node| Ok(Self { term: row.get(first)?, node, index: row.get(first + 2)? });
        node.map(at).transpose()
    }
}

/// An entry as it is stored; what is in it, crate-internal codecs know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) at: Position,
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// What the log reaches from and to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The last entry that was dropped because it is in the rows.
    pub(crate) purged: Option<Position>,
    /// The last entry; when there is none, the last one dropped.
    pub(crate) last: Option<Position>,
}

/// Appends an entry.
pub(crate) fn append(connection: &Connection, row: &LogRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO log (log_index, term, node, kind, entry) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![row.at.index, row.at.term, row.at.node, row.kind, row.body])
        .map(drop)
}

/// The entries with `from <= index < to`, as many as fit into `max_bytes` and one at least.
pub(crate) fn read(
    connection: &Connection,
    from: u64,
    to: u64,
    max_bytes: usize,
) -> rusqlite::Result<Vec<LogRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT term, node, log_index, kind, entry FROM log
         WHERE log_index >= ?1 AND log_index < ?2 ORDER BY log_index",
    )?;
    let bound = |index| i64::try_from(index).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![bound(from), bound(to)])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(4)?;
        bytes += body.len();
        if !found.is_empty() && bytes > max_bytes {
            break;
        }
        let Some(at) = Position::read(row, 0)? else { break };
        found.push(LogRow { at, kind: row.get(3)?, body });
    }
    Ok(found)
}

/// Drops the entries from an index on: another leader has overruled them.
pub(crate) fn truncate(connection: &Connection, from: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM log WHERE log_index >= ?1")?.execute([from]).map(drop)
}

/// Drops the entries up to a position, and remembers it.
pub(crate) fn purge(connection: &Connection, up_to: Position) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM log WHERE log_index <= ?1")?.execute([up_to.index])?;
    connection
        .prepare_cached("UPDATE consensus SET purged_term = ?1, purged_node = ?2, purged_index = ?3")?
        .execute(params![up_to.term, up_to.node, up_to.index])
        .map(drop)
}

/// Where the log begins and ends.
pub(crate) fn bounds(connection: &Connection) -> rusqlite::Result<Bounds> {
    let purged = connection
        .prepare_cached("SELECT purged_term, purged_node, purged_index FROM consensus")?
        .query_row([], |row| Position::read(row, 0))?;
    let last = connection
        .prepare_cached("SELECT term, node, log_index FROM log ORDER BY log_index DESC LIMIT 1")?
        .query_row([], |row| Position::read(row, 0))
        .optional()?
        .flatten();
    Ok(Bounds { purged, last: last.or(purged) })
}

/// How many entries there are, and their bytes.
pub(crate) fn size(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection.query_row("SELECT count(*), coalesce(sum(length(entry)), 0) FROM log", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing;

    fn row(index: u64, size: usize) -> LogRow {
        LogRow { at: Position { term: 1, node: 7, index }, kind: 0, body: vec![b'x'; size] }
    }

    #[test]
    fn entries_are_read_back_in_pages_and_dropped_at_both_ends() {
        let (_dir, connection) = testing::database();
        assert_eq!(bounds(&connection).unwrap(), Bounds::default());
        for index in 1..=10 {
            append(&connection, &row(index, 100)).unwrap();
        }
        assert!(append(&connection, &row(10, 1)).is_err());
        let indices = |from, to, bytes| -> Vec<u64> {
            read(&connection, from, to, bytes).unwrap().iter().map(|row| row.at.index).collect()
        };
        assert_eq!(indices(3, 6, 1000), [3, 4, 5]);
        assert_eq!(indices(3, u64::MAX, 250), [3, 4]);
        assert_eq!(indices(3, 6, 1), [3]);
        assert_eq!(read(&connection, 4, 5, 1).unwrap(), [row(4, 100)]);
        truncate(&connection, 9).unwrap();
        purge(&connection, row(2, 0).at).unwrap();
        let found = bounds(&connection).unwrap();
        assert_eq!(found, Bounds { purged: Some(row(2, 0).at), last: Some(row(8, 0).at) });
        assert_eq!(size(&connection).unwrap(), (6, 600));
        purge(&connection, row(20, 0).at).unwrap();
        assert_eq!(bounds(&connection).unwrap().last, Some(row(20, 0).at));
    }
}
