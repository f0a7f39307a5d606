//! The log for spares, from whoever has it.
//!
//! To openraft a spare is a learner that is down: the leader sends it nothing but word of who leads. The spare asks any
//! voter or standby for what that one has applied, and gives its own openraft what the leader could have sent: committed
//! entries, with the vote of a leader that had them. So log, rows, snapshots, writes and consistent reads are those of
//! every other node, and a spare that becomes a standby has nothing to take back.
//!
//! Who is told by the leader that the log is to be had elsewhere fetches it, whether or not it has heard yet that it is
//! a spare: that news is in the log.

use crate::raft::log_store::{LogStore, Lost};
use crate::raft::network::Connection;
use crate::raft::node::{Cluster, entries};
use crate::raft::retention::Need;
use crate::raft::transport::Peer;
use crate::raft::types::{Role, to_row};
use crate::raft::wire::{Reply, Request, put_rows};
use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{LogId, RaftLogReader, Vote};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Before another attempt after one that failed; longer with each, up to so many times.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST: u32 = 20;

/// After this time with the leader, whom others should ask only when nobody else is there, somebody else is tried.
const WITH_LEADER: Duration = Duration::from_secs(10);

/// A spare that this node feeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fed {
    /// The last entry that it has, or will have with the snapshot that it is sent.
    had: u64,
    /// When it asked last.
    asked: Instant,
    snapshot: Sending,
}

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// There is none, or it has arrived and the log after it, too.
    No,
    UnderWay,
    /// It has arrived, and there is more.
    Arrived,
    /// The spare does not know yet.
    Failed,
}

/// Whom a spare asks: any node that has the log, each spare another one, the leader when nobody else is left. After each
/// failure the next turn.
fn host(roles: &BTreeMap<u64, Role>, own: u64, leader: Option<u64>, turn: usize) -> Option<u64> {
    let full = roles.iter().filter(|(id, role)| **id != own && **role != Role::Spare).map(|(id, _)| *id);
    let (last, mut hosts): (Vec<u64>, Vec<u64>) = full.partition(|id| Some(*id) == leader);
    let first = usize::try_from(own).unwrap_or(0).checked_rem(hosts.len()).unwrap_or(0);
    hosts.rotate_left(first);
    hosts.extend(last);
    hosts.get(turn.checked_rem(hosts.len())?).copied()
}

/// Fetches the log whenever this node is to, until it stops.
pub(crate) async fn run(cluster: Weak<Cluster>) {
    let Some(mut fetches) = cluster.upgrade().map(|this| this.fetches.subscribe()) else { return };
    let (mut turn, mut since, mut failures) = (0_usize, Instant::now(), 0);
    while fetches.wait_for(|fetches| *fetches).await.is_ok() {
        let Some(this) = cluster.upgrade() else { return };
        let leader = this.leader();
        let roles: BTreeMap<_, _> = this.members().into_iter().map(|(id, (_, role))| (id, role)).collect();
        if roles.get(&this.id()) == Some(&Role::Voter) {
            // It was told a while ago; a voter may be the leader itself.
            this.told(None);
            continue;
        }
        let host = host(&roles, this.id(), leader, turn);
        let fetched = match host.and_then(|host| this.peer(host)) {
            Some(peer) => this.fetch(&peer).await,
            None => Err("no node is known that has the log".to_owned()),
        };
        failures = if fetched.is_err() { LONGEST.min(failures + 1) } else { 0 };
        if let Err(why) = fetched {
            tracing::debug!(why, host, "the log is not to be had here; another node is asked");
            (turn, since) = (turn.wrapping_add(1), Instant::now());
            drop(this);
            tokio::time::sleep(PAUSE * failures).await;
        } else if host == leader && turn > 0 && since.elapsed() > WITH_LEADER {
            (turn, since) = (0, Instant::now());
        }
    }
}

impl Cluster {
    /// The leader has sent word: entries, or that they are to be had elsewhere up to an index.
    pub(crate) fn told(&self, elsewhere: Option<u64>) {
        self.heard_of(elsewhere.unwrap_or(0));
        self.fetches.send_if_modified(|fetches| {
            let before = std::mem::replace(fetches, elsewhere.is_some());
            before != *fetches
        });
    }

    /// An entry with this index is in the leader's log: whoever feeds this node should have it soon.
    pub(crate) fn heard_of(&self, index: u64) {
        self.heard_of.fetch_max(index, Ordering::Relaxed);
    }

    /// Fetches what there is, or what comes within a moment, and applies it.
    async fn fetch(&self, from: &Peer) -> Result<(), String> {
        let raft = self.raft();
        let mut metrics = raft.metrics();
        let after = metrics.borrow_and_update().last_applied;
        let had = after.map_or(0, |id| id.index);
        let heard_of = self.heard_of.load(Ordering::Relaxed);
        let patience = self.timing.call_timeout();
        let reply = self.network.call(from, Request::Fetch { after }, &[], patience).await;
        let (vote, snapshot, fed) = match reply.map_err(|error| error.to_string())? {
            Reply::Fed { vote, snapshot, entries } => (vote, snapshot, entries),
            Reply::Failed(why) | Reply::Refused(why) => return Err(why),
            other => return Err(format!("an unexpected reply: {other:?}")),
        };
        let entries = entries(fed)?;
        if vote.leader_id.node_id == self.id() {
            return Err("this node leads".to_owned());
        }
        if snapshot {
            // It may take long to be made, sent and installed; meanwhile it does not help to ask anybody else.
            let installed = metrics.wait_for(|metrics| metrics.last_applied > after);
            return match tokio::time::timeout(patience, installed).await {
                Ok(Err(_)) => Err("it is shutting down".to_owned()),
                _ => Ok(()),
            };
        }
        let last = entries.last().map(|entry| entry.log_id).or(after);
        if last <= after && had < heard_of {
            return Err("it lags behind the leader".to_owned());
        }
        let request = AppendEntriesRequest { vote, prev_log_id: after, entries, leader_commit: last };
        match raft.append_entries(request).await {
            Ok(AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)) => {}
            Ok(other) => return Err(format!("what it sends does not fit: {other}")),
            Err(error) => return Err(error.to_string()),
        }
        // Then what comes next is what to ask for.
        let applied = metrics.wait_for(|metrics| metrics.last_applied >= last);
        match tokio::time::timeout(self.timing.patience, applied).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err("it is shutting down".to_owned()),
            Err(_) => Err("what it has sent is not applied".to_owned()),
        }
    }

    /// The entries after one, for a node that fetches them.
    pub(crate) async fn feed(&self, to: u64, after: Option<LogId<u64>>) -> Reply {
        let Some(peer) = self.peer(to) else {
            return Reply::Refused(format!("node {to} is no member of the cluster"));
        };
        if *self.fetches.borrow() {
            return Reply::Failed("this node fetches the log itself".into());
        }
        let core = &self.network.core;
        let next = after.map_or(0, |id| id.index + 1);
        if self.note(to, next.saturating_sub(1)) == Sending::Failed {
            return Reply::Failed("a snapshot did not arrive".into());
        }
        let mut applied = core.applied.subscribe();
        let wait = applied.wait_for(|applied| *applied > next);
        // None came: it is told so, and who leads.
        let _ = tokio::time::timeout(self.timing.election * 2, wait).await;
        let until = *core.applied.borrow();
        let read = LogStore::new(core.clone(), Lost::default()).limited_get_log_entries(next, until).await;
        let mut found = match read {
            Ok(found) => found,
            Err(error) => return Reply::Failed(error.to_string()),
        };
        // Read after the entries: a leader that had all of them.
        let vote = self.raft().metrics().borrow().vote;
        if !vote.committed {
            return Reply::Failed("this node follows nobody".into());
        }
        let missing = next < until && found.first().is_none_or(|entry| entry.log_id.index != next);
        found.retain(|entry| entry.log_id.leader_id <= vote.leader_id);
        if missing {
            self.send_snapshot(peer, vote);
            return Reply::Fed { vote, snapshot: true, entries: Bytes::new() };
        }
        let rows = found.iter().map(to_row).collect::<Result<Vec<_>, _>>();
        match rows {
            Ok(rows) => Reply::Fed { vote, snapshot: false, entries: put_rows(&rows).into() },
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    /// Notes what a spare has; answers how the snapshot is that it was sent.
    fn note(&self, spare: u64, has: u64) -> Sending {
        let core = &self.network.core;
        let behind = core.applied.borrow().saturating_sub(1).saturating_sub(has) > core.limits.kept_entries;
        let mut all = self.fed.lock();
        let now = Instant::now();
        let fed = all.entry(spare).or_insert(Fed { had: has, asked: now, snapshot: Sending::No });
        let snapshot = fed.snapshot;
        *fed = match snapshot {
            Sending::UnderWay => Fed { had: fed.had.max(has), asked: now, snapshot },
            Sending::Arrived if behind => Fed { had: fed.had.max(has), asked: now, snapshot },
            _ => Fed { had: has, asked: now, snapshot: Sending::No },
        };
        snapshot
    }

    /// What the spares have that this node feeds.
    pub(crate) fn fed_needs(&self) -> Vec<Need> {
        let alive =
            |fed: &&Fed| fed.snapshot == Sending::UnderWay || fed.asked.elapsed() < self.timing.dead_after;
        let need = |fed: &Fed| Need {
            had: fed.had,
            copied: matches!(fed.snapshot, Sending::UnderWay | Sending::Arrived),
        };
        self.fed.lock().values().filter(alive).map(need).collect()
    }

    /// Sends a snapshot, unless one is on its way.
    fn send_snapshot(&self, to: Peer, vote: Vote<u64>) {
        let (id, network, raft) = (to.id, self.network.clone(), self.raft());
        // What follows the snapshot will be needed.
        let had = network.core.applied.borrow().saturating_sub(1);
        let fed = Fed { had, asked: Instant::now(), snapshot: Sending::UnderWay };
        let before = self.fed.lock().insert(id, fed);
        if let Some(before) = before.filter(|before| before.snapshot == Sending::UnderWay) {
            self.fed.lock().insert(id, before);
            return;
        }
        let all = Arc::clone(&self.fed);
        self.spawn(async move {
            let sent = match raft.get_snapshot().await {
                Ok(Some(snapshot)) => {
                    let connection = Connection { network, peer: to, spare: false };
                    connection.stream(vote, snapshot).await.map(drop).map_err(|error| error.to_string())
                }
                Ok(None) => Err("there is none".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            let snapshot = match sent {
                Ok(()) => Sending::Arrived,
                Err(why) => {
                    tracing::warn!(node = id, why, "a spare does not get its snapshot");
                    Sending::Failed
                }
            };
            if let Some(fed) = all.lock().get_mut(&id) {
                fed.snapshot = snapshot;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spare_has_a_host_of_its_own_and_the_leader_is_the_last_resort() {
        let text = "1L 2v 3v 4s 5p 6p 7p";
        let role = |word: &str| match &word[1..] {
            "s" => Role::Standby,
            "p" => Role::Spare,
            _ => Role::Voter,
        };
        let roles: BTreeMap<u64, Role> =
            text.split(' ').map(|word| (word[..1].parse().unwrap(), role(word))).collect();
        let order =
            |own, leader| -> Vec<u64> { (0..4).filter_map(|turn| host(&roles, own, leader, turn)).collect() };
        assert_eq!(order(5, Some(1)), [4, 2, 3, 1]);
        assert_eq!(order(6, Some(1)), [2, 3, 4, 1]);
        assert_eq!(order(7, Some(1)), [3, 4, 2, 1]);
        assert_eq!(order(5, None), [2, 3, 4, 1]);
        assert_eq!(host(&roles, 5, Some(1), 4), Some(4));
        // One that has not heard yet that it is a spare asks the others.
        assert_eq!(order(4, Some(1)), [2, 3, 1, 2]);
        let two = BTreeMap::from([(1, Role::Voter), (2, Role::Spare)]);
        assert_eq!(host(&two, 2, Some(1), 9), Some(1));
        assert_eq!(host(&two, 1, Some(1), 0), None);
    }
}
