//! Votes and terms never go back, not even by a crash; what is applied, and revisions, only by one.

use crate::observe::{At, Observation};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Monotonic {
    /// By node.
    votes: BTreeMap<u64, (u64, u64, bool)>,
    /// By place and incarnation.
    applied: BTreeMap<(usize, u64), (Option<At>, u64, u64)>,
}

impl Monotonic {
    pub(super) fn check(&mut self, seen: &Observation) -> Result<(), String> {
        if let Some(vote) = seen.vote {
            let before = self.votes.insert(seen.id, vote);
            let goes_back = before.is_some_and(|(term, node, committed)| {
                vote.0 < term || (vote.0 == term && (vote.1 != node || (committed && !vote.2)))
            });
            // Within a term, openraft 0.9 lets a greater node take a vote over: its ballots are term and node.
            let taken_over = before.is_some_and(|(term, node, _)| vote.0 == term && vote.1 > node);
            if goes_back && !taken_over {
                return Err(format!("node {} voted {before:?}, then {vote:?}", seen.id));
            }
        }
        let now = (seen.applied, seen.revision, seen.compacted);
        let before = self.applied.insert((seen.place, seen.incarnation), now).unwrap_or(now);
        if now.0 < before.0 || now.1 < before.1 || now.2 < before.2 {
            return Err(format!("node {} goes back from {before:?} to {now:?}", seen.id));
        }
        if seen.compacted > seen.revision {
            return Err(format!("node {} has compacted {} of {}", seen.id, seen.compacted, seen.revision));
        }
        Ok(())
    }
}
