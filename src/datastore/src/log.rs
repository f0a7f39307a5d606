//! The log table: the latest entries, for whoever has to catch up. What is older is in the rows.

use crate::command::Entry;
use rusqlite::{Connection, params};
use std::collections::VecDeque;

/// Entries that are kept, unless they are large: enough for a peer that was away for a moment.
const MAX_ENTRIES: usize = 4096;

/// Bytes of entries that are kept. Trimming goes down to half of it, so that it happens seldom.
const MAX_BYTES: usize = 4 << 20;

/// What is in the log table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// The index of the last entry; 0 when there never was one.
    last_index: u64,
    sizes: VecDeque<usize>,
    bytes: usize,
}

/// A change of the log that is not committed yet.
#[must_use]
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) index: u64,
    size: usize,
    trimmed: usize,
}

impl Log {
    /// Reads what there is. `applied` is the index to go on from when the table is empty.
    pub(crate) fn load(connection: &Connection, applied: u64) -> rusqlite::Result<Self> {
        let mut log = Self { last_index: applied, ..Self::default() };
        let mut statement =
            connection.prepare("SELECT log_index, length(entry) FROM log ORDER BY log_index")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            log.last_index = log.last_index.max(row.get(0)?);
            let size: usize = row.get(1)?;
            log.sizes.push_back(size);
            log.bytes += size;
        }
        Ok(log)
    }

    /// Writes an entry and drops those that are too many, within the connection's transaction.
    pub(crate) fn append(
        &self,
        term: u64,
        entry: &Entry,
        connection: &Connection,
    ) -> rusqlite::Result<Appended> {
        let index = self.last_index + 1;
        let encoded = entry.encode();
        connection
            .prepare_cached("INSERT INTO log (log_index, term, entry) VALUES (?1, ?2, ?3)")?
            .execute(params![index, term, encoded])?;
        let trimmed = self.surplus(encoded.len());
        if trimmed > 0 {
            let up_to = index.saturating_sub((self.sizes.len() - trimmed) as u64 + 1);
            connection.prepare_cached("DELETE FROM log WHERE log_index <= ?1")?.execute([up_to])?;
        }
        Ok(Appended { index, size: encoded.len(), trimmed })
    }

    /// Notes that an appended entry is committed.
    pub(crate) fn committed(&mut self, appended: &Appended) {
        self.last_index = appended.index;
        for size in self.sizes.drain(..appended.trimmed) {
            self.bytes -= size;
        }
        self.sizes.push_back(appended.size);
        self.bytes += appended.size;
    }

    /// How many of the oldest entries go when one more of this size comes.
    fn surplus(&self, size: usize) -> usize {
        if self.bytes + size <= MAX_BYTES && self.sizes.len() < MAX_ENTRIES {
            return 0;
        }
        let (mut bytes, mut entries) = (self.bytes + size, self.sizes.len() + 1);
        let enough = |size: &&usize| {
            let over = bytes > MAX_BYTES / 2 || entries > MAX_ENTRIES / 2;
            bytes -= **size;
            entries -= 1;
            over
        };
        self.sizes.iter().take_while(enough).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Operation};
    use crate::schema::{Location, open_writer};
    use serde_json::json;
    use storage::Encoded;

    fn entry(size: usize) -> Entry {
        let object = Encoded::new(&json!({"metadata": {}, "data": "x".repeat(size)})).unwrap();
        let key = "/registry/core/pods/a".into();
        Entry { commands: vec![Command::Write(Operation::Create { key, object })] }
    }

    #[test]
    fn the_log_is_trimmed_by_bytes_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = Location::File(dir.path().join("state.db"));
        std::fs::write(at.path(), b"").unwrap();
        let connection = open_writer(&at).unwrap();
        let mut log = Log::load(&connection, 7).unwrap();
        for n in 1..=40 {
            let appended = log.append(1, &entry(256 << 10), &connection).unwrap();
            log.committed(&appended);
            assert_eq!(log.last_index, 7 + n);
            assert!(log.bytes <= MAX_BYTES);
        }
        let again = Log::load(&connection, 7).unwrap();
        assert_eq!((again.last_index, again.bytes, &again.sizes), (47, log.bytes, &log.sizes));
        let (count, first): (usize, u64) = connection
            .query_row("SELECT count(*), min(log_index) FROM log", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!((count, first + count as u64), (log.sizes.len(), 48));
        assert!(count >= 7, "{count}");
    }
}
