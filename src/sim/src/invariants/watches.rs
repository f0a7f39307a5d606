//! Watches are ordered, unique, complete and resumable; their bookmarks promise what was delivered.
//!
//! (The names are those of etcd's robustness tests.)

use crate::clients::PREFIX;
use crate::history::{History, Item};
use crate::ledger::{Ledger, Row};
use std::collections::{BTreeMap, VecDeque};
use storage::EventKind;

#[derive(Default)]
pub(super) struct Watches {
    /// By watch: the last row of which it was told.
    at: BTreeMap<u64, i64>,
}

/// The last row of a revision.
fn end(revision: u64) -> i64 {
    i64::try_from(revision << 16).unwrap_or(i64::MAX) | 0xffff
}

impl Watches {
    pub(super) fn check(&mut self, ledger: &Ledger, history: &mut History, last: bool) -> Result<(), String> {
        for (watch, items) in &mut history.watched {
            let at = self.at.entry(*watch).or_default();
            follow(at, ledger, items, last).map_err(|why| format!("watch {watch} {why}"))?;
        }
        Ok(())
    }
}

fn follow(at: &mut i64, ledger: &Ledger, items: &mut VecDeque<Item>, last: bool) -> Result<(), String> {
    while let Some(item) = items.front() {
        let revision = match item {
            Item::Began(revision) | Item::Progress(revision) | Item::Event { revision, .. } => *revision,
        };
        if revision > ledger.complete() && !last {
            return Ok(());
        }
        match item {
            Item::Began(revision) => *at = end(*revision),
            Item::Progress(revision) => {
                if let Some(missed) = ledger.next(PREFIX, *at, *revision) {
                    return Err(format!("is said to be complete up to {revision}, but missed {missed:?}"));
                }
                *at = (*at).max(end(*revision));
            }
            Item::Event { revision, .. } => {
                let Some(next) = ledger.next(PREFIX, *at, *revision) else {
                    return Err(format!("got {item:?} too late, twice, or for nothing"));
                };
                if !matches(next, item) {
                    return Err(format!("got {item:?} instead of {next:?}"));
                }
                *at = next.row;
            }
        }
        items.pop_front();
    }
    Ok(())
}

fn matches(row: &Row, item: &Item) -> bool {
    let Item::Event { revision, key, kind, create_revision, tag } = item else { return false };
    let same = row.revision() == *revision && row.key == *key;
    same && match kind {
        EventKind::Added => row.tag == Some(*tag) && row.create_revision == *revision,
        EventKind::Modified => {
            row.tag == Some(*tag)
                && row.create_revision != *revision
                && row.create_revision == *create_revision
        }
        EventKind::Deleted => row.tag.is_none(),
    }
}
