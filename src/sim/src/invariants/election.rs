//! Raft, figure 3, Election Safety: at most one leader in a term.

use crate::observe::Observation;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, u64>,
}

impl ElectionSafety {
    pub(super) fn check(&mut self, seen: &Observation) -> Result<(), String> {
        // What it believes, and what its disk says of whom a majority elected.
        let believed = seen.leads.map(|term| (term, seen.id));
        let noted = seen.vote.filter(|(_, _, committed)| *committed).map(|(term, node, _)| (term, node));
        for (term, node) in believed.into_iter().chain(noted) {
            let leader = *self.leaders.entry(term).or_insert(node);
            if leader != node {
                return Err(format!("term {term} has two leaders, {leader} and {node}"));
            }
        }
        Ok(())
    }
}
