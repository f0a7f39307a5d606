//! Nodes that have applied the same have the same rows.

use crate::observe::{At, Observation};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct EqualRows {
    digests: BTreeMap<At, (u64, u64)>,
    /// By the place of the node: a row set is of an entry only while that is not being replaced.
    revisions: BTreeMap<At, u64>,
}

impl EqualRows {
    pub(super) fn check(&mut self, seen: &Observation) -> Result<(), String> {
        let Some(applied) = seen.applied else { return Ok(()) };
        let revision = *self.revisions.entry(applied).or_insert(seen.revision);
        if revision != seen.revision {
            return Err(format!(
                "{applied:?} is revision {revision}, and {} on node {}",
                seen.revision, seen.id
            ));
        }
        let Some(digest) = seen.digest else { return Ok(()) };
        let (known, node) = *self.digests.entry(applied).or_insert((digest, seen.id));
        if known != digest {
            return Err(format!("nodes {node} and {} differ at {applied:?}", seen.id));
        }
        Ok(())
    }
}
