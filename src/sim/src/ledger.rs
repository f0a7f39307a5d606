//! Everything that was ever committed, put together from the rows of all nodes.

use std::collections::BTreeMap;

/// A row of `revisions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) row: i64,
    pub(crate) key: String,
    /// 0 for a deletion.
    pub(crate) create_revision: u64,
    pub(crate) previous: i64,
    /// What the client wrote; None for a deletion.
    pub(crate) tag: Option<u64>,
}

impl Row {
    pub(crate) fn revision(&self) -> u64 {
        self.row.cast_unsigned() >> 16
    }
}

/// A key from one change to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: u64,
    pub(crate) create_revision: u64,
    pub(crate) tag: u64,
}

/// Committed changes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    rows: BTreeMap<i64, Row>,
    /// By key, then revision.
    keys: BTreeMap<String, BTreeMap<u64, Row>>,
    tags: BTreeMap<u64, u64>,
    fresh: Vec<u64>,
    complete: u64,
}

impl Ledger {
    /// Takes a row of a node. What another node has under its number is the same.
    pub(crate) fn add(&mut self, row: Row) -> Result<(), String> {
        if let Some(known) = self.rows.get(&row.row) {
            return if *known == row {
                Ok(())
            } else {
                Err(format!("a row differs between nodes, or has changed: {known:?}, {row:?}"))
            };
        }
        if let Some(tag) = row.tag
            && let Some(other) = self.tags.insert(tag, row.revision())
        {
            return Err(format!("value {tag} was written twice, at {other} and {}", row.revision()));
        }
        self.fresh.extend(row.tag);
        self.keys.entry(row.key.clone()).or_default().insert(row.revision(), row.clone());
        self.rows.insert(row.row, row);
        // An empty store is at revision 1.
        self.complete = self.complete.max(1);
        while self.at(self.complete + 1).next().is_some() {
            self.complete += 1;
            self.check(self.complete)?;
        }
        Ok(())
    }

    /// Each row of a revision follows from the one before it of the same key.
    fn check(&self, revision: u64) -> Result<(), String> {
        for row in self.at(revision) {
            let before = self.keys.get(&row.key).and_then(|all| all.range(..revision).next_back());
            let (row_before, create) = before.map_or((0, 0), |(_, row)| (row.row, row.create_revision));
            let follows = match row.tag {
                None => create != 0,
                Some(_) if create == 0 => row.create_revision == revision,
                Some(_) => row.create_revision == create,
            };
            // A deleted key that was compacted away has no row before it.
            let linked = row.previous == row_before || (row.previous == 0 && create == 0);
            if !follows || !linked {
                return Err(format!("{row:?} does not follow {before:?}"));
            }
        }
        Ok(())
    }

    /// The changes of a revision.
    pub(crate) fn at(&self, revision: u64) -> impl Iterator<Item = &Row> {
        let first = i64::try_from(revision << 16).unwrap_or(i64::MAX);
        self.rows.range(first..=first | 0xffff).map(|(_, row)| row)
    }

    /// The first change below a prefix whose row is greater than one, up to a revision.
    pub(crate) fn next(&self, prefix: &str, after: i64, up_to: u64) -> Option<&Row> {
        let last = i64::try_from(up_to << 16).unwrap_or(i64::MAX) | 0xffff;
        let mut rows = self.rows.range(after.saturating_add(1)..).take_while(|(row, _)| **row <= last);
        rows.find(|(_, row)| row.key.starts_with(prefix)).map(|(_, row)| row)
    }

    /// Up to here, no revision is missing.
    pub(crate) fn complete(&self) -> u64 {
        self.complete
    }

    /// The newest revision.
    pub(crate) fn newest(&self) -> u64 {
        self.rows.values().next_back().map_or(1, Row::revision)
    }

    /// The values that came since this was asked before.
    pub(crate) fn fresh(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.fresh)
    }

    /// Where a value was written.
    pub(crate) fn written(&self, tag: u64) -> Option<u64> {
        self.tags.get(&tag).copied()
    }

    /// A key's state at a revision.
    pub(crate) fn version(&self, key: &str, revision: u64) -> Option<Version> {
        let (at, row) = self.keys.get(key)?.range(..=revision).next_back()?;
        Some(Version { revision: *at, create_revision: row.create_revision, tag: row.tag? })
    }

    /// Whether a key had a state at some moment from a revision on: None is absence.
    pub(crate) fn was(&self, key: &str, wanted: Option<Version>, from: u64) -> bool {
        let absent_now = || self.version(key, from).is_none();
        match wanted {
            Some(wanted) => {
                let known = self.version(key, wanted.revision) == Some(wanted);
                let overwritten = self.keys.get(key).is_some_and(|all| {
                    let next = all.range(wanted.revision + 1..).next();
                    next.is_some_and(|(next, _)| *next <= from)
                });
                known && !overwritten
            }
            None => {
                let later =
                    |all: &BTreeMap<u64, Row>| all.range(from + 1..).any(|(_, row)| row.tag.is_none());
                absent_now() || self.keys.get(key).is_some_and(later)
            }
        }
    }

    /// Whether a key existed at some moment from a revision on.
    pub(crate) fn existed(&self, key: &str, from: u64) -> bool {
        let later = |all: &BTreeMap<u64, Row>| all.range(from + 1..).any(|(_, row)| row.tag.is_some());
        self.version(key, from).is_some() || self.keys.get(key).is_some_and(later)
    }

    /// What is below a prefix at a revision.
    pub(crate) fn state(&self, prefix: &str, revision: u64) -> BTreeMap<String, Version> {
        let below = self.keys.keys().filter(|key| key.starts_with(prefix));
        below.filter_map(|key| Some((key.clone(), self.version(key, revision)?))).collect()
    }
}
