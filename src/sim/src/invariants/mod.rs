//! What has to hold, whatever happens. One file each.

mod election;
mod equal_rows;
mod leader_completeness;
mod linearizable;
mod log_matching;
mod monotonic;
mod revisions;
mod state_machine;
mod watches;

use crate::history::History;
use crate::ledger::Ledger;
use crate::observe::Observation;

/// The checks and what they remember.
#[derive(Default)]
pub(crate) struct Invariants {
    pub(crate) ledger: Ledger,
    election: election::ElectionSafety,
    log_matching: log_matching::LogMatching,
    leader_completeness: leader_completeness::LeaderCompleteness,
    pub(crate) state_machine: state_machine::StateMachineSafety,
    monotonic: monotonic::Monotonic,
    equal_rows: equal_rows::EqualRows,
    watches: watches::Watches,
}

impl Invariants {
    /// Checks what was seen of a node.
    pub(crate) fn node(&mut self, seen: &Observation) -> Result<(), String> {
        self.election.check(seen).map_err(|why| format!("election safety: {why}"))?;
        self.log_matching.check(seen).map_err(|why| format!("log matching: {why}"))?;
        self.state_machine.check(seen).map_err(|why| format!("state machine safety: {why}"))?;
        self.leader_completeness
            .check(seen, &self.state_machine)
            .map_err(|why| format!("leader completeness: {why}"))?;
        self.monotonic.check(seen).map_err(|why| format!("monotony: {why}"))?;
        revisions::check(&mut self.ledger, seen).map_err(|why| format!("revisions: {why}"))?;
        self.equal_rows.check(seen).map_err(|why| format!("equal rows: {why}"))
    }

    /// Checks what clients were told. `end`: nothing more will become known.
    pub(crate) fn clients(&mut self, history: &mut History, end: bool) -> Result<(), String> {
        if let Some(wrong) = &history.wrong {
            return Err(format!("wrong answer: {wrong}"));
        }
        linearizable::check(&mut self.ledger, history, end)
            .map_err(|why| format!("linearizability: {why}"))?;
        self.watches.check(&self.ledger, history, end).map_err(|why| format!("watches: {why}"))
    }
}
