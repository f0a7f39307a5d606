//! The leader sees to it that the right nodes vote.

use crate::raft::membership::{Change, ChangeError};
use crate::raft::node::Cluster;
use crate::raft::plan::{Candidate, Step, plan};
use std::sync::Weak;
use std::time::Duration;
use tokio::time::Instant;

/// Looks at regular intervals, while this node leads, until it stops.
pub(crate) async fn run(cluster: Weak<Cluster>, interval: Duration) {
    let mut leads_since = None;
    loop {
        tokio::time::sleep(interval).await;
        let Some(this) = cluster.upgrade() else { return };
        if !this.is_leader() {
            leads_since = None;
            continue;
        }
        if let Err(error) = this.end_inherited_change().await {
            tracing::warn!(%error, "a change of the voters that was begun is not ended yet");
            continue;
        }
        // Whom a new leader has not asked yet counts as alive.
        let since = *leads_since.get_or_insert_with(Instant::now);
        let Some(step) = plan(&candidates(&this, since), this.goal) else { continue };
        let change = match step {
            Step::Promote(id) => Change::Promote(id),
            Step::Demote(id) => Change::Demote(id),
            Step::Replace { old, new } => Change::Replace { old, new },
            Step::MakeStandby(id) => Change::MakeStandby(id),
            Step::MakeSpare(id) => Change::MakeSpare(id),
        };
        match this.change_here(&change).await {
            Ok(_) => tracing::info!(?change, "the roles have changed"),
            Err(ChangeError::Refused(why) | ChangeError::Unfinished(why)) => {
                tracing::warn!(?change, why, "the roles could not be changed; it is tried again");
            }
        }
    }
}

fn candidates(cluster: &Cluster, since: Instant) -> Vec<Candidate> {
    let own = cluster.id();
    let members = cluster.members().into_iter();
    let candidate = |(id, (member, role)): (u64, (crate::raft::Member, crate::raft::Role))| {
        let heard = cluster.last_contact(id).map_or(since, |at| at.max(since));
        let alive = id == own || heard.elapsed() < cluster.timing.dead_after;
        Candidate {
            id,
            role,
            failure_domain: member.failure_domain,
            alive,
            caught_up: alive && cluster.is_caught_up(id),
            leader: id == own,
        }
    };
    members.map(candidate).collect()
}
