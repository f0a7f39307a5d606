//! Raft, figure 3, Leader Completeness: what was committed in a term is in the logs of the leaders of later terms.

use crate::invariants::state_machine::StateMachineSafety;
use crate::observe::Observation;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct LeaderCompleteness {
    checked: BTreeSet<(u64, u64)>,
}

impl LeaderCompleteness {
    pub(super) fn check(&mut self, seen: &Observation, committed: &StateMachineSafety) -> Result<(), String> {
        let Some(term) = seen.leads.filter(|_| seen.whole_log) else { return Ok(()) };
        if !self.checked.insert((term, seen.id)) {
            return Ok(());
        }
        let last = seen.log.last().map(|entry| entry.at).or(seen.purged).max(seen.applied);
        let earlier = |at: &&crate::observe::At| at.term < term;
        if let Some(newest) = committed.applied.values().rev().find(earlier)
            && last.is_none_or(|last| last.index < newest.index)
        {
            return Err(format!("node {} leads term {term} with {last:?}, but not {newest:?}", seen.id));
        }
        for entry in &seen.log {
            if let Some(known) = committed.applied.get(&entry.at.index)
                && *known != entry.at
                && known.term < term
            {
                return Err(format!("node {} leads term {term} with {:?} for {known:?}", seen.id, entry.at));
            }
        }
        Ok(())
    }
}
