//! Which less important pods have to go so that a pod fits that fits nowhere.
//!
//! Upstream counterpart: plugin `DefaultPreemption` and `pkg/scheduler/framework/preemption`.

use crate::cache::{Cache, uid};
use crate::framework::{Plugin, Snapshot};
use crate::nominations::Nominations;
use crate::priority;
use crate::schedule_one::{Refusal, counted, fits};
use client::Selector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Type and reason of the condition of a pod that goes for another (KEP-3329).
pub const DISRUPTED: (&str, &str) = ("DisruptionTarget", "PreemptionByScheduler");

/// What upstream says before it: its plugin for devices looks first whether claims could be freed.
const PREFIX: &str = "no new claims to deallocate, preemption: ";
const NO_HELP: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// A node, and who has to go from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Preemption {
    /// The node.
    pub node: String,
    /// The pods, the most important first.
    pub victims: Vec<Arc<Pod>>,
}

/// Nobody goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhelped {
    /// Why, in upstream's words; empty where there are no nodes.
    pub message: String,
    /// Whether the pod goes on waiting for the node that it waits for.
    pub keeps_waiting: bool,
}

/// All that a decision looks at.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The rules.
    pub plugins: &'a [Box<dyn Plugin>],
    /// Nodes, pods, volumes.
    pub snapshot: Snapshot<'a>,
    /// Who waits for which node.
    pub nominations: &'a Nominations,
    /// How many pods may be disrupted.
    pub budgets: &'a [Arc<PodDisruptionBudget>],
}

/// Decides who has to go for a pod that was refused everywhere.
///
/// # Errors
/// Why nobody does.
pub fn preempt(world: &World<'_>, pod: &Pod, refusal: &Refusal) -> Result<Preemption, Unhelped> {
    if refusal.nodes == 0 {
        return Err(Unhelped { message: String::new(), keeps_waiting: true });
    }
    let may_not = |why: &str| Err(Unhelped { message: format!("{PREFIX}{why}"), keeps_waiting: true });
    if pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return may_not("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = world.nominations.node_of(pod).filter(|node| refusal.hopeful.iter().any(|n| n == node));
    if nominated.is_some_and(|node| somebody_is_going(world.snapshot.cache, node, pod)) {
        return may_not("not eligible due to a terminating pod on the nominated node.");
    }
    let mut reasons = BTreeMap::from([(NO_HELP.to_owned(), refusal.nodes - refusal.hopeful.len())]);
    let mut scratch = world.snapshot.cache.clone();
    let mut candidates = Vec::new();
    for node in &refusal.hopeful {
        match victims_on(world, &mut scratch, pod, node) {
            Ok(candidate) => candidates.push(candidate),
            Err(whys) => whys.into_iter().for_each(|why| *reasons.entry(why).or_insert(0) += 1),
        }
    }
    let best = candidates.into_iter().min_by_key(Candidate::cost);
    best.map(|best| best.preemption).ok_or_else(|| Unhelped {
        message: format!("{PREFIX}{}", counted(refusal.nodes, &reasons)),
        keeps_waiting: false,
    })
}

/// Whether a less important pod is on its way from a node for another's sake.
fn somebody_is_going(cache: &Cache, node: &str, pod: &Pod) -> bool {
    let on_node = cache.node(node).into_iter().flat_map(|node| node.pods.values());
    on_node.filter(|other| priority(other) < priority(pod)).any(|other| {
        let conditions = other.status.as_ref().and_then(|status| status.conditions.as_ref());
        other.metadata.deletion_timestamp.is_some()
            && conditions.into_iter().flatten().any(|condition| {
                let what = (condition.type_.as_str(), condition.reason.as_deref().unwrap_or(""));
                what == DISRUPTED && condition.status == "True"
            })
    })
}

struct Candidate {
    preemption: Preemption,
    violations: usize,
}

impl Candidate {
    /// The less the better: broken budgets, the most important victim, all of their importance, their number, and how
    /// long the most important ones have run.
    fn cost(&self) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
        let victims = &self.preemption.victims;
        let highest = victims.iter().map(|pod| priority(pod)).max().unwrap_or(i32::MIN);
        // Shifted, so that one pod of a negative priority costs more than none.
        let sum = victims.iter().map(|pod| i64::from(priority(pod)) - i64::from(i32::MIN) + 1).sum();
        let important = victims.iter().filter(|pod| priority(pod) == highest);
        let earliest = important.map(|pod| started(pod)).min().unwrap_or(Timestamp::MAX);
        (self.violations, highest, sum, victims.len(), Reverse(earliest))
    }
}

fn started(pod: &Pod) -> Timestamp {
    let since = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    since.map_or(Timestamp::MAX, |time| time.0)
}

/// Who has to go from a node. `scratch` is as before afterwards.
fn victims_on(
    world: &World<'_>,
    scratch: &mut Cache,
    pod: &Pod,
    node: &str,
) -> Result<Candidate, Vec<String>> {
    let on_node = scratch.node(node).into_iter().flat_map(|node| node.pods.values());
    let mut lower: Vec<Arc<Pod>> = on_node.filter(|other| priority(other) < priority(pod)).cloned().collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    lower.sort_by_key(|other| (Reverse(priority(other)), started(other)));
    for other in &lower {
        scratch.remove_pod(uid(other));
    }
    let check = |scratch: &Cache| {
        let Some(info) = scratch.node(node) else { return Err(Vec::new()) };
        let snapshot = Snapshot { cache: scratch, ..world.snapshot };
        fits(world.plugins, pod, info, &snapshot, world.nominations).map_err(|(_, unfit)| unfit.reasons)
    };
    let mut result = check(scratch);
    let mut candidate =
        Candidate { preemption: Preemption { node: node.to_owned(), victims: Vec::new() }, violations: 0 };
    if result.is_ok() {
        // Whom a budget protects is spared first, then who is important.
        let (protected, others): (Vec<_>, Vec<_>) = protected(&lower, world.budgets);
        for (other, is_protected) in
            protected.iter().map(|pod| (pod, true)).chain(others.iter().map(|pod| (pod, false)))
        {
            scratch.assume(Arc::clone(other), node);
            if check(scratch).is_err() {
                scratch.remove_pod(uid(other));
                candidate.violations += usize::from(is_protected);
                candidate.preemption.victims.push(Arc::clone(other));
            }
        }
        candidate.preemption.victims.sort_by_key(|other| (Reverse(priority(other)), started(other)));
        if candidate.preemption.victims.is_empty() {
            result = Err(vec![NO_VICTIMS.to_owned()]);
        }
    }
    for other in lower {
        scratch.assume(other, node);
    }
    result.map(|()| candidate)
}

/// Splits pods into those whose removal breaks a budget, and others. Their order stays.
fn protected(pods: &[Arc<Pod>], budgets: &[Arc<PodDisruptionBudget>]) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let allowed = |budget: &PodDisruptionBudget| {
        budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0)
    };
    let mut left: Vec<i32> = budgets.iter().map(|budget| allowed(budget)).collect();
    pods.iter().cloned().partition(|pod| {
        let mut breaks = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            if covers(budget, pod) {
                *left -= 1;
                breaks |= *left < 0;
            }
        }
        breaks
    })
}

/// Whether a budget counts a pod that goes; not if it was counted already.
fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let is_empty = selector.is_none_or(|selector| {
        selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
    });
    let counted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let name = pod.metadata.name.as_deref().unwrap_or("");
    !is_empty
        && budget.metadata.namespace == pod.metadata.namespace
        && Selector::new(selector).matches(pod.metadata.labels.as_ref())
        && !counted.is_some_and(|pods| pods.contains_key(name))
}

#[cfg(test)]
#[path = "preemption_tests.rs"]
mod tests;
