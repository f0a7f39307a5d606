//! Raft, figure 3, State Machine Safety: no two nodes apply different entries at an index.

use crate::observe::{At, Observation};
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct StateMachineSafety {
    /// Entries that somebody has applied, by index.
    pub(crate) applied: BTreeMap<u64, At>,
}

impl StateMachineSafety {
    pub(super) fn check(&mut self, seen: &Observation) -> Result<(), String> {
        let Some(applied) = seen.applied else { return Ok(()) };
        let entries = seen.log.iter().map(|entry| entry.at).filter(|at| at.index <= applied.index);
        for at in entries.chain([applied]).chain(seen.purged) {
            let known = *self.applied.entry(at.index).or_insert(at);
            if known != at {
                return Err(format!("{known:?} was applied, and on node {} {at:?}", seen.id));
            }
        }
        Ok(())
    }

    /// The newest entry that somebody has applied.
    pub(crate) fn newest(&self) -> Option<At> {
        self.applied.values().next_back().copied()
    }
}
