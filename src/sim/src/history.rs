//! What clients were told.

use crate::ledger::Version;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a client was told, and what was known when it asked.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    #[expect(dead_code, reason = "it is printed with a failure")]
    pub(crate) client: u64,
    /// The newest revision that anybody had been told of when the question was asked.
    pub(crate) floor: u64,
    pub(crate) what: What,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A create, an update or (without a tag) a deletion was done.
    Wrote { key: String, tag: Option<u64>, revision: u64, condition: Condition },
    /// A consistent read of one key.
    Read { key: String, found: Option<Version> },
    /// A list, which claims to be the state at its revision.
    Listed { revision: u64, items: BTreeMap<String, Version>, consistent: bool },
    /// A create found the key taken.
    Taken { key: String },
    /// An update or deletion found nothing.
    Missing { key: String },
    /// An update or deletion found another revision than it expected.
    Conflict { key: String, expected: u64, current: Version },
}

/// What has to hold for a write to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Absent,
    Present,
    At(u64),
}

/// An item of a watch.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// The watch begins, or goes on, after a revision.
    Began(u64),
    Event {
        revision: u64,
        key: String,
        kind: storage::EventKind,
        create_revision: u64,
        tag: u64,
    },
    /// Everything up to here has been delivered.
    Progress(u64),
}

/// What all clients were told so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The newest revision that anybody was told of.
    pub(crate) floor: u64,
    pub(crate) told: VecDeque<Told>,
    /// Values whose writers were told that nothing has changed.
    pub(crate) never: BTreeSet<u64>,
    /// Those of them that were not there at the last check.
    pub(crate) never_new: Vec<u64>,
    pub(crate) watched: BTreeMap<u64, VecDeque<Item>>,
    pub(crate) counts: Counts,
    tag: u64,
    /// What no client should ever be told.
    pub(crate) wrong: Option<String>,
}

/// How much has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) refused: u64,
    pub(crate) unavailable: u64,
    pub(crate) unknown: u64,
    pub(crate) events: u64,
    pub(crate) expired: u64,
}

pub(crate) type Shared = Arc<Mutex<History>>;

impl History {
    /// Notes that a value was not written.
    pub(crate) fn not_written(&mut self, tag: Option<u64>) {
        self.never.extend(tag);
        self.never_new.extend(tag);
    }

    /// A value that nobody has written.
    pub(crate) fn tag(&mut self) -> u64 {
        self.tag += 1;
        self.tag
    }
}
