//! The steps of one sync: what is written follows from what is observed and the time. Pure.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::{
    annotations,
    rollout::{Rollout, Set},
    status,
};

/// What is known when a sync begins.
pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Deployment,
    /// The replica sets that it controls.
    pub(super) sets: Vec<ReplicaSet>,
    /// Pods that have not ended, per replica set (by uid). Read for the Recreate strategy only.
    pub(super) running_pods: HashMap<String, usize>,
    pub(super) now: Timestamp,
}

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Option<ReplicaSet>,
    pub(super) update: Vec<ReplicaSet>,
    pub(super) delete: Vec<ReplicaSet>,
    /// Messages of `ScalingReplicaSet` events.
    pub(super) scaled: Vec<String>,
    /// The revision annotation of the deployment, when it must change.
    pub(super) revision: Option<String>,
    /// The status that the deployment has after this.
    pub(super) status: DeploymentStatus,
    /// When to look again, for the progress deadline.
    pub(super) requeue: Option<Duration>,
}

/// Decides one sync.
pub(super) fn plan(observed: Observed<'_>) -> Plan {
    let Observed { deployment, sets, running_pods, now } = observed;
    let mut rollout = Rollout::new(deployment, sets, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        return finish(rollout, false);
    }
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    status::note_pause(deployment, &mut rollout.conditions, paused, now);
    if paused || is_scaling_event(&rollout) {
        rollout.synchronise_revision(false);
        scale(&mut rollout);
        if paused {
            rollout.clean_up();
        }
        return finish(rollout, false);
    }
    if rollout.is_recreate() {
        recreate(&mut rollout, &running_pods);
    } else {
        roll(&mut rollout);
    }
    finish(rollout, true)
}

/// Whether the wanted number changed since the replica sets were last scaled.
fn is_scaling_event(rollout: &Rollout<'_>) -> bool {
    let active = rollout.sets.iter().filter(|set| set.replicas() > 0);
    let mut desired =
        active.filter_map(|set| annotations::number(&set.object.metadata, annotations::DESIRED_REPLICAS));
    desired.any(|desired| desired != rollout.wanted())
}

/// Brings the sum of replicas to the wanted number without moving the rollout on.
fn scale(rollout: &mut Rollout<'_>) {
    let wanted = rollout.wanted();
    let active: Vec<usize> = (0..rollout.sets.len())
        .filter(|index| rollout.get(*index).is_some_and(|set| set.replicas() > 0))
        .collect();
    let only = match active.as_slice() {
        [] => rollout.new.or_else(|| rollout.sets.len().checked_sub(1)),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        rollout.scale(only, wanted);
        return;
    }
    if rollout.new_set().is_some_and(|set| is_saturated(set, wanted)) {
        for index in rollout.active_old() {
            rollout.scale(index, 0);
        }
        return;
    }
    if !rollout.is_recreate() {
        scale_proportionally(rollout, active);
    }
}

fn is_saturated(set: &Set, wanted: i32) -> bool {
    let desired = annotations::number(&set.object.metadata, annotations::DESIRED_REPLICAS);
    set.replicas() == wanted && desired == Some(wanted) && set.available() == wanted
}

/// Spreads a change of the wanted number over all sets of an unfinished rollout, by their sizes: the risk of a
/// bad template stays as large a share as it was.
fn scale_proportionally(rollout: &mut Rollout<'_>, mut active: Vec<usize>) {
    let total: i32 = rollout.total_replicas();
    let allowed = if rollout.wanted() > 0 { rollout.wanted() + rollout.max_surge() } else { 0 };
    let to_add = allowed - total;
    // Largest first; of equal ones the newer grow first and the older shrink first.
    active.sort_by(|a, b| {
        let (a, b) = (rollout.get(*a), rollout.get(*b));
        let size = |set: Option<&Set>| set.map_or(0, Set::replicas);
        let age = |set: Option<&Set>| set.and_then(Set::created);
        let by_age = if to_add > 0 { age(b).cmp(&age(a)) } else { age(a).cmp(&age(b)) };
        size(b).cmp(&size(a)).then(by_age)
    });
    let mut added = 0;
    let mut sizes = Vec::new();
    for index in active {
        let Some(set) = rollout.get(index) else { continue };
        let share = proportion(rollout, set, to_add, added);
        added += share;
        sizes.push((index, set.replicas() + share));
    }
    if let Some((_, size)) = sizes.first_mut().filter(|_| to_add != 0) {
        // What rounding left over.
        *size = (*size + to_add - added).max(0);
    }
    for (index, size) in sizes {
        rollout.scale(index, size);
    }
}

fn proportion(rollout: &Rollout<'_>, set: &Set, to_add: i32, added: i32) -> i32 {
    if set.replicas() == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(rollout, set);
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

/// How much a set grows (or shrinks, negative) when it keeps its share.
fn fraction(rollout: &Rollout<'_>, set: &Set) -> i32 {
    if rollout.wanted() == 0 {
        return -set.replicas();
    }
    let allowed = f64::from(rollout.wanted() + rollout.max_surge());
    let before = annotations::number(&set.object.metadata, annotations::MAX_REPLICAS).filter(|max| *max > 0);
    let status_replicas = rollout.deployment.status.as_ref().and_then(|status| status.replicas);
    let Some(before) = before.or(status_replicas).filter(|before| *before > 0) else { return 0 };
    let size = f64::from(set.replicas()) * allowed / f64::from(before);
    // Saturating, and sizes are far below the limit.
    (size.round() as i32) - set.replicas()
}

/// Scales the new set up and the old ones down within surge and unavailability, one direction a sync.
fn roll(rollout: &mut Rollout<'_>) {
    let created = rollout.synchronise_revision(true);
    if created || scale_new(rollout) || scale_old_down(rollout) {
        return;
    }
    if status::is_complete(rollout) {
        rollout.clean_up();
    }
}

fn scale_new(rollout: &mut Rollout<'_>) -> bool {
    let Some(index) = rollout.new else { return false };
    let current = rollout.new_set().map_or(0, Set::replicas);
    if current == rollout.wanted() {
        return false;
    }
    let size = if current > rollout.wanted() { rollout.wanted() } else { rollout.next_size_of_new() };
    size != current && rollout.scale(index, size)
}

fn scale_old_down(rollout: &mut Rollout<'_>) -> bool {
    let old = rollout.active_old();
    if old.is_empty() {
        return false;
    }
    let min_available = rollout.wanted() - rollout.max_unavailable();
    let new_unavailable = rollout.new_set().map_or(0, |set| set.replicas() - set.available());
    let may_go = rollout.total_replicas() - min_available - new_unavailable;
    if may_go <= 0 {
        return false;
    }
    // Unhealthy replicas first: they serve nobody, and must not hold up the rollout.
    let mut unhealthy = 0;
    for index in &old {
        let Some(set) = rollout.get(*index) else { continue };
        let (replicas, available) = (set.replicas(), set.available());
        let gone = (replicas - available).min(may_go - unhealthy).max(0);
        if gone > 0 {
            unhealthy += gone;
            rollout.scale(*index, replicas - gone);
        }
    }
    let available: i32 = rollout.sets.iter().map(Set::available).sum();
    let mut surplus = available - min_available;
    let mut healthy = 0;
    for index in old {
        let replicas = rollout.get(index).map_or(0, Set::replicas);
        let gone = replicas.min(surplus).max(0);
        if gone > 0 {
            surplus -= gone;
            healthy += gone;
            rollout.scale(index, replicas - gone);
        }
    }
    unhealthy + healthy > 0
}

/// Ends all old pods before any new one starts.
fn recreate(rollout: &mut Rollout<'_>, running_pods: &HashMap<String, usize>) {
    rollout.synchronise_revision(false);
    let active = rollout.active_old();
    if !active.is_empty() {
        for index in active {
            rollout.scale(index, 0);
        }
        return;
    }
    let new_uid = rollout.new_set().and_then(|set| set.object.metadata.uid.clone());
    if running_pods.iter().any(|(uid, count)| *count > 0 && Some(uid) != new_uid.as_ref()) {
        return;
    }
    if rollout.new.is_none() {
        rollout.synchronise_revision(true);
    }
    if let Some(index) = rollout.new
        && rollout.new_set().map_or(0, Set::replicas) != rollout.wanted()
    {
        let wanted = rollout.wanted();
        rollout.scale(index, wanted);
    }
    if status::is_complete(rollout) {
        rollout.clean_up();
    }
}

fn finish(rollout: Rollout<'_>, judge_progress: bool) -> Plan {
    let (status, requeue) =
        if judge_progress { status::of_rollout(&rollout) } else { (status::calculate(&rollout), None) };
    let name = |set: &Set| set.name().to_owned();
    let mut plan = Plan { status, requeue, ..Plan::default() };
    for set in &rollout.sets {
        let (from, to) = (set.replicas_before(), set.replicas());
        if from != to {
            let direction = if to > from { "up" } else { "down" };
            plan.scaled.push(format!("Scaled {direction} replica set {} from {from} to {to}", name(set)));
        }
        match &set.before {
            None => plan.create = Some(set.object.clone()),
            Some(before) if differs(before, &set.object) => plan.update.push(set.object.clone()),
            Some(_) => {}
        }
    }
    let current = annotations::annotation(&rollout.deployment.metadata, annotations::REVISION);
    plan.revision = rollout.revision.filter(|revision| Some(revision.as_str()) != current);
    plan.delete = rollout.delete;
    plan
}

fn differs(before: &ReplicaSet, after: &ReplicaSet) -> bool {
    before.metadata.annotations.as_ref().filter(|all| !all.is_empty())
        != after.metadata.annotations.as_ref().filter(|all| !all.is_empty())
        || before.spec != after.spec
}
