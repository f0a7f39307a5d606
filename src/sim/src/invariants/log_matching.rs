//! Raft, figure 3, Log Matching: entries of the same index and term are the same, and so is all before them.

use crate::observe::{At, Observation};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct LogMatching {
    /// What is in an entry, and where the one before it is.
    entries: BTreeMap<At, (u64, Option<At>)>,
}

impl LogMatching {
    pub(super) fn check(&mut self, seen: &Observation) -> Result<(), String> {
        let mut before = seen.purged.filter(|_| seen.whole_log);
        for entry in &seen.log {
            // What was purged is not at the end of what is left, but it is somewhere before it.
            let known_before = before.filter(|before| before.index + 1 == entry.at.index);
            if before.is_some_and(|before| before.index + 1 < entry.at.index) {
                return Err(format!("node {} has a gap between {before:?} and {:?}", seen.id, entry.at));
            }
            let known = self.entries.entry(entry.at).or_insert((entry.digest, known_before));
            if known.0 != entry.digest {
                return Err(format!("{:?} is not the same on node {} as elsewhere", entry.at, seen.id));
            }
            match (known.1, known_before) {
                (Some(one), Some(other)) if one != other => {
                    return Err(format!("{:?} follows {one:?}, and on node {} {other:?}", entry.at, seen.id));
                }
                (None, Some(_)) => known.1 = known_before,
                _ => {}
            }
            before = Some(entry.at);
        }
        Ok(())
    }
}
