//! Changing the members, one change at a time.

use crate::bug::{Bug, is_back};
use crate::raft::TransportError;
use crate::raft::node::{Cluster, LOOK};
use crate::raft::options::Ticket;
use crate::raft::status::NodeReport;
use crate::raft::types::{Member, Role, Seat};
use crate::raft::wire::{Reply, Request};
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, RaftError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Entries that a node may lag behind and still become a voter.
const CAUGHT_UP: u64 = 128;

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new node, which becomes a standby.
    Add(Member),
    /// A node leaves for good; its number is never used again.
    Remove(u64),
    /// Standby to voter; a spare becomes a standby first.
    Promote(u64),
    /// Voter to standby.
    Demote(u64),
    /// The one becomes a standby, the other a voter, at once.
    Replace {
        /// The voter.
        old: u64,
        /// The standby, or spare.
        new: u64,
    },
    /// Spare to standby: the leader sends it the log from now on.
    MakeStandby(u64),
    /// Standby to spare: it fetches the log from now on, from whom it likes.
    MakeSpare(u64),
    /// A node has another name, address or failure domain.
    Update(u64, Member),
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It makes no sense; nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// It was not done, or not to the end, before the time was up: look at the status, and try again.
    #[error("the change did not come to an end: {0}")]
    Unfinished(String),
}

impl Cluster {
    /// Changes the members, from any node.
    ///
    /// Returns the number of a node that was added (and 0 otherwise).
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change(&self, change: Change) -> Result<u64, ChangeError> {
        let deadline = Instant::now() + self.timing.patience;
        let mut why = "the cluster has no leader that a majority follows".to_owned();
        while Instant::now() < deadline {
            let leader = match self.leader() {
                Some(leader) => Some(leader),
                None => self.followed_by_others().await,
            };
            match leader.map(|leader| (leader, self.peer(leader))) {
                Some((leader, _)) if leader == self.id() => match self.change_here(&change).await {
                    Ok(Some(id)) => return Ok(id),
                    Ok(None) => {}
                    Err(error) => return Err(error),
                },
                Some((_, Some(peer))) => {
                    let patience = deadline - Instant::now();
                    match self.network.call(&peer, Request::Change(change.clone()), &[], patience).await {
                        Ok(Reply::Changed(id)) => return Ok(id),
                        Ok(Reply::Refused(why)) => return Err(ChangeError::Refused(why)),
                        Ok(Reply::Failed(why)) => return Err(ChangeError::Unfinished(why)),
                        Ok(_) => {}
                        // Whoever is added twice has two numbers.
                        Err(TransportError::NoAnswer(why)) if matches!(change, Change::Add(_)) => {
                            return Err(ChangeError::Unfinished(why));
                        }
                        Err(error) => why = error.to_string(),
                    }
                }
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(ChangeError::Unfinished(why))
    }

    /// Whom the others follow. The leader cannot reach a node whose address has changed, which so hears of none.
    async fn followed_by_others(&self) -> Option<u64> {
        for other in self.members().into_keys().filter(|id| *id != self.id()) {
            let peer = self.peer(other)?;
            let asked = self.network.call(&peer, Request::Report, &[], self.timing.call_timeout()).await;
            if let Ok(Reply::Report(NodeReport { leader: Some(leader), .. })) = asked {
                return Some(leader);
            }
        }
        None
    }

    /// The ticket for a node that was added under a number.
    pub fn ticket(&self, node: u64) -> Ticket {
        Ticket { cluster: self.network.cluster.to_string(), node }
    }

    /// Leader: changes the members; None when somebody else leads.
    ///
    /// A leader does not take its own vote: it hands over first, and its successor makes the change. It might be the only
    /// one that has the entry which leaves it out. With that it would not stand for election (Raft's dissertation, section
    /// 4.2.2, would let it; openraft does not), and without it nobody else would get its vote.
    pub(crate) async fn change_here(&self, change: &Change) -> Result<Option<u64>, ChangeError> {
        let _one = self.changes.lock().await;
        if self.is_changing() && !self.end_change().await? {
            return Ok(None);
        }
        // Another may lead by now: this one waited until it was its turn.
        if !self.is_leader() {
            return Ok(None);
        }
        let members = self.members();
        let known = |id: &u64| match members.get(id) {
            Some((_, role)) => Ok(*role),
            None => Err(ChangeError::Refused(format!("node {id} is no member of the cluster"))),
        };
        let another_votes = || match members.values().filter(|(_, role)| *role == Role::Voter).count() {
            1 => Err(ChangeError::Refused("it is the only voter; make another node a voter first".into())),
            _ => Ok(()),
        };
        let mut added = 0;
        let mut then = None;
        let (changes, retain) = match change {
            Change::Add(member) => {
                if let Some((id, _)) = members.iter().find(|(_, (other, _))| other.name == member.name) {
                    return Err(ChangeError::Refused(format!(
                        "a node named {} is a member already (number {id}); remove it first, or choose another name",
                        member.name
                    )));
                }
                if let Some((_, (other, _))) =
                    members.iter().find(|(_, (other, _))| other.address == member.address)
                {
                    return Err(ChangeError::Refused(format!(
                        "node {} has the address {} already",
                        other.name, member.address
                    )));
                }
                // The log only grows, and this very change makes it grow: nobody had this number before.
                let last = self.raft().metrics().borrow().last_log_index.unwrap_or(0);
                let highest = members.keys().next_back().copied().unwrap_or(0);
                added = last.max(highest) + 1;
                (ChangeMembers::AddNodes(BTreeMap::from([(added, member.clone().into())])), true)
            }
            Change::Remove(id) => match known(id) {
                // It was done before.
                Err(_) => return Ok(Some(0)),
                Ok(Role::Voter) => {
                    another_votes()?;
                    if *id == self.id() {
                        self.hand_over().await;
                        return Ok(None);
                    }
                    then = Some(ChangeMembers::RemoveNodes(BTreeSet::from([*id])));
                    (ChangeMembers::RemoveVoters(BTreeSet::from([*id])), true)
                }
                Ok(_) if *id == self.id() => {
                    self.hand_over().await;
                    return Ok(None);
                }
                Ok(_) => (ChangeMembers::RemoveNodes(BTreeSet::from([*id])), true),
            },
            Change::Promote(id) => {
                let role = known(id)?;
                if role == Role::Voter {
                    return Ok(Some(0));
                }
                if !self.stand_by(*id, role).await? {
                    return Ok(None);
                }
                (ChangeMembers::AddVoterIds(BTreeSet::from([*id])), true)
            }
            Change::Demote(id) => {
                if known(id)? != Role::Voter {
                    return Ok(Some(0));
                }
                another_votes()?;
                if *id == self.id() {
                    self.hand_over().await;
                    return Ok(None);
                }
                (ChangeMembers::RemoveVoters(BTreeSet::from([*id])), true)
            }
            Change::Replace { old, new } => {
                known(old)?;
                let role = known(new)?;
                if !self.stand_by(*new, role).await? {
                    return Ok(None);
                }
                let voters = members.iter().filter(|(_, (_, role))| *role == Role::Voter).map(|(id, _)| *id);
                let before: BTreeSet<u64> = voters.collect();
                let after: BTreeSet<u64> =
                    before.iter().copied().filter(|id| id != old).chain([*new]).collect();
                if !after.contains(&self.id()) && !is_back(Bug::SelfRemoval) {
                    // An only voter has nobody yet to hand over to.
                    let both = ChangeMembers::AddVoterIds(after);
                    if before.len() == 1 && !self.carry_out(both, true).await? {
                        return Ok(None);
                    }
                    self.hand_over().await;
                    return Ok(None);
                }
                (ChangeMembers::ReplaceAllVoters(after), true)
            }
            Change::MakeStandby(id) => {
                if known(id)? != Role::Spare {
                    return Ok(Some(0));
                }
                (self.seat(*id, false)?, true)
            }
            Change::MakeSpare(id) => match known(id)? {
                Role::Spare => return Ok(Some(0)),
                Role::Voter => {
                    return Err(ChangeError::Refused(format!("node {id} votes; make it a standby first")));
                }
                Role::Standby if !self.knows_members(*id) => {
                    // It might believe that it votes, and stand for election where nobody puts it right.
                    let why = format!("node {id} does not know the members yet; it has to, to be a spare");
                    return Err(ChangeError::Refused(why));
                }
                Role::Standby => (self.seat(*id, true)?, true),
            },
            Change::Update(id, member) => {
                let spare = known(id)? == Role::Spare;
                if members.get(id).is_some_and(|(known, _)| known == member) {
                    return Ok(Some(0));
                }
                let seat = Seat { member: member.clone(), spare };
                (ChangeMembers::SetNodes(BTreeMap::from([(*id, seat)])), true)
            }
        };
        for changes in std::iter::once(changes).chain(then) {
            if !self.carry_out(changes, retain).await? {
                return Ok(None);
            }
        }
        Ok(Some(added))
    }

    /// Has openraft make a change; false when somebody else leads.
    async fn carry_out(&self, changes: ChangeMembers<u64, Seat>, retain: bool) -> Result<bool, ChangeError> {
        let raft = self.raft();
        let changed = raft.change_membership(changes, retain);
        match tokio::time::timeout(self.timing.patience, changed).await {
            // Halfway: another led in between, and took the first of the two steps back.
            Ok(Ok(done)) => Ok(done.membership.is_none_or(|now| now.get_joint_config().len() == 1)),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Ok(false),
            Ok(Err(error)) => Err(ChangeError::Unfinished(error.to_string())),
            Err(_) => Err(ChangeError::Unfinished("a majority of voters does not answer".into())),
        }
    }

    /// Whether the voters are changing: the old ones and the new ones decide together (Raft dissertation, section 4.3).
    pub fn is_changing(&self) -> bool {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_joint_config().len() > 1
    }

    /// Leader: ends a change of the voters that a leader before it has begun, or takes it back; false when somebody else
    /// leads.
    async fn end_change(&self) -> Result<bool, ChangeError> {
        let voters = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow();
            end(metrics.membership_config.membership().get_joint_config(), self.id())
        };
        self.carry_out(ChangeMembers::ReplaceAllVoters(voters), true).await
    }

    /// Leader: the same, unless the change is one that it is making itself.
    pub(crate) async fn end_inherited_change(&self) -> Result<(), ChangeError> {
        let Ok(_one) = self.changes.try_lock() else { return Ok(()) };
        if self.is_changing() {
            self.end_change().await?;
        }
        Ok(())
    }

    /// The change that makes a node a spare, or none.
    fn seat(&self, id: u64, spare: bool) -> Result<ChangeMembers<u64, Seat>, ChangeError> {
        let gone = || ChangeError::Refused(format!("node {id} is no member of the cluster"));
        let member = self.peer(id).ok_or_else(gone)?.member;
        Ok(ChangeMembers::SetNodes(BTreeMap::from([(id, Seat { member, spare })])))
    }

    /// Has a node that is to vote follow closely; false when somebody else leads.
    async fn stand_by(&self, id: u64, role: Role) -> Result<bool, ChangeError> {
        if role == Role::Spare && !self.carry_out(self.seat(id, false)?, true).await? {
            return Ok(false);
        }
        self.caught_up(id).await?;
        Ok(true)
    }

    /// Leader: whether the present members are in a node's log.
    fn knows_members(&self, id: u64) -> bool {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        let matching = metrics.replication.as_ref().and_then(|all| *all.get(&id)?);
        matching >= *metrics.membership_config.log_id()
    }

    /// A node that was added a moment ago takes a moment.
    async fn caught_up(&self, id: u64) -> Result<(), ChangeError> {
        let deadline = Instant::now() + self.timing.call_timeout();
        while !self.is_caught_up(id) {
            if Instant::now() >= deadline {
                let why = format!("node {id} has not caught up yet; it cannot vote before");
                return Err(ChangeError::Refused(why));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Leader: the last entry that another node has told of; None when it has told of none, or this node does not lead.
    pub(crate) fn matching(&self, id: u64) -> Option<u64> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        metrics.replication.as_ref()?.get(&id)?.map(|matching| matching.index)
    }

    /// Leader: whether a node is nearly up to date.
    pub(crate) fn is_caught_up(&self, id: u64) -> bool {
        let last = self.raft().metrics().borrow().last_log_index.unwrap_or(0);
        id == self.id()
            || self.matching(id).is_some_and(|matching| last.saturating_sub(matching) <= CAUGHT_UP)
    }
}

/// The voters at the end of a change: the new ones, or the old ones if the leader is not among the new.
fn end(configs: &[BTreeSet<u64>], leader: u64) -> BTreeSet<u64> {
    let with_leader =
        configs.iter().rev().find(|voters| voters.contains(&leader) || is_back(Bug::SelfRemoval));
    with_leader.or(configs.last()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_ends_with_the_new_voters_unless_they_leave_the_leader_out() {
        let configs = [BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        let [old, new] = configs.clone();
        assert_eq!(end(&configs, 2), new);
        assert_eq!(end(&configs, 4), new);
        assert_eq!(end(&configs, 1), old);
    }
}
