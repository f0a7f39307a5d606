//! Raft, figure 3, Election Safety: at most one leader in a term; where a term is openraft's, which has a round for each
//! node, in the order of their numbers. And a leader votes: one that takes its own vote may be the only node that knows, and
//! then nobody can be elected.

use crate::observe::Observation;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, BTreeSet<u64>>,
}

impl ElectionSafety {
    pub(super) fn check(&mut self, seen: &Observation) -> Result<(), String> {
        // What it believes, and what its disk says of whom a majority elected.
        let believed = seen.leads.map(|term| (term, seen.id));
        let noted = seen.vote.filter(|(_, _, committed)| *committed).map(|(term, node, _)| (term, node));
        for (term, node) in believed.into_iter().chain(noted) {
            let leaders = self.leaders.entry(term).or_default();
            if let Some(later) = leaders.last().copied().filter(|later| node < *later)
                && !leaders.contains(&node)
            {
                return Err(format!("in term {term}, node {node} leads after {later}"));
            }
            leaders.insert(node);
        }
        match seen.leads {
            Some(term) if !seen.votes => Err(format!("node {} leads term {term} and does not vote", seen.id)),
            _ => Ok(()),
        }
    }
}
