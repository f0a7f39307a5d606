//! Bugs that a test puts back in, to see that it catches them. A release build has none of this.

use std::cell::Cell;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// A vote is given before it is on the disk, and never gets there.
    ForgottenVote,
    /// The log is acknowledged before it is on the disk.
    EarlyAcknowledgement,
    /// A consistent read does not ask whether the leader still leads.
    StaleRead,
    /// A group of commands that arrives twice is applied twice.
    RepeatedProposal,
    /// A snapshot's deletions are not carried out.
    HalfSnapshot,
    /// A leader that starts again leads on, without an election.
    ResumedLead,
    /// Followers hear of a commit before it is on the leader's disk.
    EarlyCommit,
    /// After a sync has failed, the next one counts as if nothing had happened.
    TrustedSync,
    /// A leader takes its own vote.
    SelfRemoval,
}

thread_local! {
    static PUT_BACK: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Puts a bug into all stores whose jobs run on this thread (see [`crate::Executor`]), or takes it out.
pub fn put_back(bug: Option<Bug>) {
    PUT_BACK.set(bug);
}

/// Whether a bug is there. Always false in a release build.
pub(crate) fn is_back(bug: Bug) -> bool {
    cfg!(debug_assertions) && PUT_BACK.get() == Some(bug)
}
