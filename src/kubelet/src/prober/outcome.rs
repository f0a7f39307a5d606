//! What probes found, by container id.

use parking_lot::RwLock;
use std::collections::HashMap;

/// Which of a container's three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Restart the container when it fails.
    Liveness,
    /// Send it no traffic while it fails.
    Readiness,
    /// Hold the other two back until it succeeds; restart the container when it fails.
    Startup,
}

impl ProbeKind {
    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
            Self::Startup => "Startup",
        }
    }
}

/// A probe's verdict, after thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Success,
    /// It does not.
    Failure,
    /// Nothing is known yet.
    Unknown,
}

/// The verdicts of all probes of the node.
#[derive(Debug, Default)]
pub struct Results {
    verdicts: RwLock<HashMap<(String, ProbeKind), Outcome>>,
}

impl Results {
    /// The verdict on a container id, none when no probe of that kind looks at it.
    pub fn get(&self, container_id: &str, kind: ProbeKind) -> Option<Outcome> {
        // A tuple of references cannot look up a tuple of owned values; the ids are short.
        self.verdicts.read().get(&(container_id.to_owned(), kind)).copied()
    }

    /// Sets a verdict; true when it differs from the last one.
    pub fn set(&self, container_id: &str, kind: ProbeKind, outcome: Outcome) -> bool {
        self.verdicts.write().insert((container_id.to_owned(), kind), outcome) != Some(outcome)
    }

    /// Forgets the verdicts on a container id.
    pub fn forget(&self, container_id: &str, kind: ProbeKind) {
        self.verdicts.write().remove(&(container_id.to_owned(), kind));
    }
}
