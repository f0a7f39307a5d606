//! How the cluster is, as it says itself.

use crate::command::FORMAT;
use crate::raft::node::Cluster;
use crate::raft::transport::Peer;
use crate::raft::types::{Member, Role};
use crate::raft::wire::{Reply, Request};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// How a node sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its number.
    pub node: u64,
    /// Whom it follows, perhaps itself.
    pub leader: Option<u64>,
    /// The current term.
    pub term: u64,
    /// The index of the last entry of its log.
    pub last: u64,
    /// The index of the last entry that it has applied.
    pub applied: u64,
    /// The newest form of log entries that it reads; 0 of a version that does not say.
    #[serde(default)]
    pub reads: u8,
}

/// One member, as [`Cluster::status`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its number.
    pub id: u64,
    /// Its name, address, failure domain.
    pub member: Member,
    /// Its role.
    pub role: Role,
    /// What it says of itself; None when it does not answer.
    pub report: Option<NodeReport>,
}

/// The cluster as this node finds it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: u64,
    /// The cluster.
    pub cluster: String,
    /// Who leads, if a majority of voters answers and says the same.
    pub leader: Option<u64>,
    /// All members, in the order of numbers.
    pub members: Vec<MemberStatus>,
    /// Whether a majority of voters is alive: writes are possible.
    pub quorum: bool,
    /// Whether it would be still after the loss of any one node.
    pub survives_a_loss: bool,
}

impl Cluster {
    /// The term that this node is in.
    pub fn term(&self) -> u64 {
        self.raft().metrics().borrow().current_term
    }

    /// How this node sees itself.
    pub fn report(&self) -> NodeReport {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        NodeReport {
            node: self.id(),
            leader: metrics.current_leader,
            term: metrics.current_term,
            last: metrics.last_log_index.unwrap_or(0),
            applied: self.network.core.applied.borrow().saturating_sub(1),
            reads: FORMAT,
        }
    }

    /// The cluster as it is now: every member is asked.
    ///
    /// Cost: a second when one of them does not answer.
    pub async fn status(&self) -> Status {
        let patience = Duration::from_secs(1);
        let asked = self.members().into_iter().map(|(id, (member, role))| async move {
            let report = if id == self.id() {
                Some(self.report())
            } else {
                let peer = Peer { id, member: member.clone() };
                match self.network.call(&peer, Request::Report, &[], patience).await {
                    Ok(Reply::Report(report)) => Some(report),
                    _ => None,
                }
            };
            MemberStatus { id, member, role, report }
        });
        let members = futures::future::join_all(asked).await;
        let voters = || members.iter().filter(|member| member.role == Role::Voter);
        let majority = voters().count() / 2 + 1;
        let alive = voters().filter(|voter| voter.report.is_some()).count();
        let mut followers: HashMap<u64, usize> = HashMap::new();
        for leader in voters().filter_map(|voter| voter.report.as_ref()?.leader) {
            *followers.entry(leader).or_default() += 1;
        }
        let leader = followers.into_iter().find(|(_, count)| *count >= majority).map(|(leader, _)| leader);
        Status {
            node: self.id(),
            cluster: self.network.cluster.to_string(),
            leader,
            quorum: alive >= majority,
            survives_a_loss: alive > majority,
            members,
        }
    }
}
