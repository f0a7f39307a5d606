//! Who should vote: what to change next. Pure.

use crate::raft::types::Role;
use std::collections::BTreeMap;

/// How many of each there should be, where there are enough nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Voters. Below this many nodes there is one: two voters would die with either.
    pub voters: usize,
    /// Standbys beside them.
    pub standbys: usize,
}

impl Default for Goal {
    fn default() -> Self {
        Self { voters: 3, standbys: 3 }
    }
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub role: Role,
    /// What fails together with it; empty when nothing is known, then it stands for itself.
    pub failure_domain: String,
    /// Whether it answers.
    pub alive: bool,
    /// Whether its log is nearly the leader's, so that it can vote without holding the others up.
    pub caught_up: bool,
    /// Whether it leads.
    pub leader: bool,
}

/// A change. Each leaves the cluster able to commit if it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a standby a voter.
    Promote(u64),
    /// Make a voter a standby.
    Demote(u64),
    /// Do both at once, so that the number of voters stays.
    Replace {
        /// The voter that becomes a standby.
        old: u64,
        /// The standby that becomes a voter.
        new: u64,
    },
    /// Have a spare follow closely.
    MakeStandby(u64),
    /// Have a standby follow at leisure.
    MakeSpare(u64),
}

/// The next step towards the goal; None when there is nothing to do, or nothing that can be done.
///
/// Guarantees: followed until it returns None, with nodes as they are, it ends. A leader is never demoted, a dead
/// or lagging node never promoted, and never made a spare: what it does not know yet would not reach it.
pub fn plan(candidates: &[Candidate], goal: Goal) -> Option<Step> {
    let view = View(candidates);
    let target = if candidates.len() < goal.voters { 1 } else { goal.voters };
    let voters = view.count(Role::Voter);
    let dead = view.of(Role::Voter).find(|voter| !voter.alive && !voter.leader);
    if voters > target {
        return view.least_needed_voter().map(|voter| Step::Demote(voter.id));
    }
    if let Some(dead) = dead
        && let Some(new) = view.best_standby(Some(dead.id))
    {
        return Some(Step::Replace { old: dead.id, new: new.id });
    }
    if voters < target
        && let Some(new) = view.best_standby(None)
    {
        return Some(Step::Promote(new.id));
    }
    // Whoever is to follow a voter has to be a standby first.
    let wanted = goal.standbys.max(usize::from(dead.is_some() || voters < target));
    view.spread().or_else(|| view.standbys(wanted)).or_else(|| view.widen())
}

struct View<'a>(&'a [Candidate]);

/// Nodes of which nothing is known share nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Domain<'a> {
    Named(&'a str),
    Own(u64),
}

fn domain(candidate: &Candidate) -> Domain<'_> {
    if candidate.failure_domain.is_empty() {
        Domain::Own(candidate.id)
    } else {
        Domain::Named(&candidate.failure_domain)
    }
}

impl<'a> View<'a> {
    fn of(&self, role: Role) -> impl Iterator<Item = &'a Candidate> + use<'a> {
        self.0.iter().filter(move |candidate| candidate.role == role)
    }

    fn count(&self, role: Role) -> usize {
        self.of(role).count()
    }

    /// How many voters each domain has, one of them left out.
    fn crowds(&self, without: Option<u64>) -> BTreeMap<Domain<'a>, usize> {
        let mut crowds = BTreeMap::new();
        for voter in self.of(Role::Voter).filter(|voter| Some(voter.id) != without) {
            *crowds.entry(domain(voter)).or_default() += 1;
        }
        crowds
    }

    /// A standby that can vote now, in the domain with the fewest voters.
    fn best_standby(&self, without: Option<u64>) -> Option<&'a Candidate> {
        let crowds = self.crowds(without);
        let fit = self.of(Role::Standby).filter(|standby| standby.alive && standby.caught_up);
        fit.min_by_key(|standby| (crowds.get(&domain(standby)).copied().unwrap_or(0), standby.id))
    }

    /// The dead before the living, the crowded before the lonely, the newer before the older; never the leader.
    fn least_needed_voter(&self) -> Option<&'a Candidate> {
        let crowds = self.crowds(None);
        let crowd = |voter: &Candidate| crowds.get(&domain(voter)).copied().unwrap_or(0);
        let demotable = self.of(Role::Voter).filter(|voter| !voter.leader);
        demotable.max_by_key(|voter| (!voter.alive, crowd(voter), voter.id))
    }

    /// Moves a vote from a domain that has several to one that has none.
    fn spread(&self) -> Option<Step> {
        let crowds = self.crowds(None);
        let crowded = |voter: &&Candidate| crowds.get(&domain(voter)).is_some_and(|count| *count > 1);
        let old = self
            .of(Role::Voter)
            .filter(|voter| !voter.leader)
            .filter(crowded)
            .max_by_key(|voter| voter.id)?;
        let fit = self.of(Role::Standby).filter(|standby| standby.alive && standby.caught_up);
        let new =
            fit.filter(|standby| !crowds.contains_key(&domain(standby))).min_by_key(|standby| standby.id)?;
        Some(Step::Replace { old: old.id, new: new.id })
    }

    /// How many nodes that have the log each domain has.
    fn holders(&self) -> BTreeMap<Domain<'a>, usize> {
        let mut holders = BTreeMap::new();
        for node in self.0.iter().filter(|node| node.role != Role::Spare) {
            *holders.entry(domain(node)).or_default() += 1;
        }
        holders
    }

    /// Standbys that can be made spares, with the number of nodes like it in their domains.
    fn dispensable(&self) -> impl Iterator<Item = (usize, u64)> + use<'a> {
        let holders = self.holders();
        let fit = self.of(Role::Standby).filter(|standby| standby.alive && standby.caught_up);
        fit.map(move |standby| (holders.get(&domain(standby)).copied().unwrap_or(0), standby.id))
    }

    /// Keeps so many living standbys.
    fn standbys(&self, wanted: usize) -> Option<Step> {
        let alive = self.of(Role::Standby).filter(|standby| standby.alive).count();
        if alive < wanted {
            let holders = self.holders();
            let spares = self.of(Role::Spare).filter(|spare| spare.alive);
            let best = spares.min_by_key(|spare| (holders.contains_key(&domain(spare)), spare.id));
            return best.map(|spare| Step::MakeStandby(spare.id));
        }
        // The crowded before the lonely, the newer before the older.
        self.dispensable().max().filter(|_| alive > wanted).map(|(_, id)| Step::MakeSpare(id))
    }

    /// Has a spare stand by in a domain where nobody has the log, in place of a standby that is not alone in its own.
    fn widen(&self) -> Option<Step> {
        let (crowd, _) = self.dispensable().max()?;
        let holders = self.holders();
        let lonely = |spare: &&Candidate| spare.alive && !holders.contains_key(&domain(spare));
        let named = |spare: &&Candidate| !spare.failure_domain.is_empty();
        let best = self.of(Role::Spare).filter(lonely).filter(named).min_by_key(|spare| spare.id);
        best.filter(|_| crowd > 1).map(|spare| Step::MakeStandby(spare.id))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
