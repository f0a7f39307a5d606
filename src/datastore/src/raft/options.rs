//! How a node takes part in a cluster.

use crate::raft::plan::Goal;
use crate::raft::transport::Transport;
use crate::raft::types::Member;
use openraft::SnapshotPolicy;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The times of a cluster. All nodes need the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two signs of life of the leader. A message takes no longer either, its receiver's fsync included.
    pub heartbeat: Duration,
    /// A follower that has heard nothing for between two and three of these stands for election, roughly.
    pub election: Duration,
    /// How long a write or a consistent read waits for a leader.
    pub patience: Duration,
    /// After this time without an answer a node counts as dead, and another votes in its place.
    pub dead_after: Duration,
    /// Between two looks at who should vote. None: roles change by hand only.
    pub roles_every: Option<Duration>,
}

impl Default for Timing {
    /// A leader that dies is followed by another after 0.5 to 0.8 seconds.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(80),
            election: Duration::from_millis(160),
            patience: Duration::from_secs(10),
            dead_after: Duration::from_secs(2),
            roles_every: Some(Duration::from_millis(500)),
        }
    }
}

impl Timing {
    /// How long a call may take that has nothing to do with elections.
    pub(crate) fn call_timeout(&self) -> Duration {
        (self.election * 4).min(self.patience)
    }

    /// How long a vote is protected from other candidates (openraft's `leader_lease`).
    pub(crate) fn protection(&self) -> Duration {
        self.election * 2
    }

    /// openraft's form of it.
    pub(crate) fn config(&self, cluster: &str) -> openraft::Config {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        openraft::Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election),
            election_timeout_max: millis(self.protection()),
            // See `retention`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..openraft::Config::default()
        }
    }
}

/// What a cluster gives to a node that is to join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The cluster.
    pub cluster: String,
    /// The number of the new node, which no other has or had.
    pub node: u64,
}

/// How a node takes part in a cluster.
#[derive(Clone)]
pub struct ClusterOptions {
    /// What the others should know of it.
    pub member: Member,
    /// How it reaches them.
    pub transport: Arc<dyn Transport>,
    /// The cluster's times.
    pub timing: Timing,
    /// How many nodes should vote and stand by while this one leads.
    pub goal: Goal,
    /// For the first start of a node that joins: what the cluster said to [`Change::Add`]. Ignored later.
    pub ticket: Option<Ticket>,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("member", &self.member)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}
