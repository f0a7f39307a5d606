//! The status of a deployment: counting, and what the conditions say.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSetStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::rollout::{Rollout, Set};

pub(super) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// Reason of a rollout that has finished.
const COMPLETE: &str = "NewReplicaSetAvailable";
/// Reason of a rollout that took too long; `kubectl rollout status` looks for it.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// The progress deadline in seconds; `None` when there is none (the API's largest number says so).
pub(super) fn deadline(deployment: &Deployment) -> Option<i32> {
    let spec = deployment.spec.as_ref()?;
    spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

pub(super) fn find<'a>(
    conditions: &'a [DeploymentCondition],
    type_: &str,
) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Sets a condition; one with the same status and reason stays as it is, and the transition time follows the
/// status.
pub(super) fn set(conditions: &mut Vec<DeploymentCondition>, mut condition: DeploymentCondition) {
    if let Some(known) = find(conditions, &condition.type_) {
        if known.status == condition.status && known.reason == condition.reason {
            return;
        }
        if known.status == condition.status {
            condition.last_transition_time = known.last_transition_time.clone();
        }
    }
    conditions.retain(|known| known.type_ != condition.type_);
    conditions.push(condition);
}

pub(super) fn progressing(
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    new_condition(PROGRESSING, status, reason, message, now)
}

fn new_condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Time spent paused must not count against the progress deadline.
pub(super) fn note_pause(
    deployment: &Deployment,
    conditions: &mut Vec<DeploymentCondition>,
    paused: bool,
    now: Timestamp,
) {
    if deadline(deployment).is_none() {
        return;
    }
    let reason = find(conditions, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    let noted = reason == Some("DeploymentPaused");
    if reason == Some(TIMED_OUT) || noted == paused {
        return;
    }
    let (reason, message) = if paused {
        ("DeploymentPaused", "Deployment is paused")
    } else {
        ("DeploymentResumed", "Deployment is resumed")
    };
    set(conditions, progressing("Unknown", reason, message.to_owned(), now));
}

/// The status without a judgement of progress.
pub(super) fn calculate(rollout: &Rollout<'_>) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSetStatus) -> Option<i32>| -> i32 {
        rollout.sets.iter().map(|set| count(&set.status()).unwrap_or(0)).sum()
    };
    let available = sum(|status| status.available_replicas);
    let old = rollout.deployment.status.as_ref();
    let mut conditions = rollout.conditions.clone();
    let enough = available >= rollout.wanted() - rollout.max_unavailable();
    let (status, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut conditions, new_condition(AVAILABLE, status, reason, message.to_owned(), rollout.now));
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: nonzero(sum(|status| Some(status.replicas))),
        updated_replicas: nonzero(rollout.new_set().map_or(0, |set| set.status().replicas)),
        ready_replicas: nonzero(sum(|status| status.ready_replicas)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((rollout.total_replicas() - available).max(0)),
        terminating_replicas: terminating(rollout),
        collision_count: old.and_then(|status| status.collision_count),
        conditions: Some(conditions),
    }
}

// Zero is left out, as the API's types do.
fn nonzero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

/// `None` while some replica set has not counted yet.
fn terminating(rollout: &Rollout<'_>) -> Option<i32> {
    rollout.sets.iter().map(|set| set.status().terminating_replicas).sum()
}

/// Whether the rollout is done, by the status that the deployment has now.
pub(super) fn is_complete(rollout: &Rollout<'_>) -> bool {
    rollout.deployment.status.as_ref().is_some_and(|status| complete(rollout, status))
}

fn complete(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let wanted = rollout.wanted();
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= rollout.deployment.metadata.generation
}

/// The status with a judgement of progress, and when that must be made again.
pub(super) fn of_rollout(rollout: &Rollout<'_>) -> (DeploymentStatus, Option<Duration>) {
    let mut status = calculate(rollout);
    let mut conditions = status.conditions.take().unwrap_or_default();
    match deadline(rollout.deployment) {
        None => conditions.retain(|condition| condition.type_ != PROGRESSING),
        Some(deadline) => judge(rollout, &status, &mut conditions, deadline),
    }
    let failures = rollout.sets.iter().filter_map(|set| {
        let conditions = set.status().conditions.unwrap_or_default();
        let failure = conditions.into_iter().find(|condition| condition.type_ == REPLICA_FAILURE)?;
        Some((Some(set.name()) == rollout.new_set().map(Set::name), failure))
    });
    // The new set's failure says more than an old one's.
    match failures.max_by_key(|(is_new, _)| *is_new) {
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
        Some((_, failure)) => set(
            &mut conditions,
            DeploymentCondition {
                type_: REPLICA_FAILURE.into(),
                status: failure.status,
                reason: failure.reason,
                message: failure.message,
                last_update_time: failure.last_transition_time.clone(),
                last_transition_time: failure.last_transition_time,
            },
        ),
    }
    let requeue = next_look(rollout, &status, &conditions);
    status.conditions = Some(conditions);
    (status, requeue)
}

fn judge(
    rollout: &Rollout<'_>,
    status: &DeploymentStatus,
    conditions: &mut Vec<DeploymentCondition>,
    deadline: i32,
) {
    let current = find(conditions, PROGRESSING).cloned();
    let reason = current.as_ref().and_then(|condition| condition.reason.as_deref());
    let finished = status.replicas == status.updated_replicas && reason == Some(COMPLETE);
    if finished {
        return;
    }
    let subject = match rollout.new_set() {
        Some(set) => format!("ReplicaSet \"{}\"", set.name()),
        None => format!("Deployment \"{}\"", rollout.deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    if complete(rollout, status) {
        let message = format!("{subject} has successfully progressed.");
        set(conditions, progressing("True", COMPLETE, message, rollout.now));
    } else if has_progressed(rollout, status) {
        let message = format!("{subject} is progressing.");
        let mut condition = progressing("True", "ReplicaSetUpdated", message, rollout.now);
        if let Some(current) = current.filter(|current| current.status == "True") {
            condition.last_transition_time = current.last_transition_time;
        }
        // Replaced even when it says the same: its time restarts the deadline.
        conditions.retain(|known| known.type_ != PROGRESSING);
        conditions.push(condition);
    } else if timed_out(current.as_ref(), deadline, rollout.now) {
        let message = format!("{subject} has timed out progressing.");
        set(conditions, progressing("False", TIMED_OUT, message, rollout.now));
    }
}

fn has_progressed(rollout: &Rollout<'_>, new: &DeploymentStatus) -> bool {
    let old = rollout.deployment.status.clone().unwrap_or_default();
    let count = |value: Option<i32>| value.unwrap_or(0);
    let old_pods = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || old_pods(new) < old_pods(&old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

fn timed_out(current: Option<&DeploymentCondition>, deadline: i32, now: Timestamp) -> bool {
    let Some(current) = current else { return false };
    match current.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => left_of(current, deadline, now).is_some_and(|left| left.is_negative()),
    }
}

fn left_of(condition: &DeploymentCondition, deadline: i32, now: Timestamp) -> Option<jiff::SignedDuration> {
    let since = condition.last_update_time.as_ref()?.0;
    Some(jiff::SignedDuration::from_secs(i64::from(deadline)) - now.duration_since(since))
}

/// The deadline passes without an event.
fn next_look(
    rollout: &Rollout<'_>,
    status: &DeploymentStatus,
    conditions: &[DeploymentCondition],
) -> Option<Duration> {
    let deadline = deadline(rollout.deployment)?;
    let current = find(conditions, PROGRESSING)?;
    if complete(rollout, status) || matches!(current.reason.as_deref(), Some(TIMED_OUT | COMPLETE)) {
        return None;
    }
    let left = left_of(current, deadline, rollout.now)?;
    // A second more, so that the deadline has passed for certain.
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO) + Duration::from_secs(1))
}

/// The status after the new replica set could not be created.
pub(super) fn with_create_error(
    deployment: &Deployment,
    mut status: DeploymentStatus,
    set_name: &str,
    error: &str,
    now: Timestamp,
) -> DeploymentStatus {
    if deadline(deployment).is_some() {
        let message = format!("Failed to create new replica set \"{set_name}\": {error}");
        set(
            status.conditions.get_or_insert_default(),
            progressing("False", "ReplicaSetCreateError", message, now),
        );
    }
    status
}

/// Whether two statuses say the same; an absent number says zero.
pub(super) fn same(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    let numbers = |status: &DeploymentStatus| {
        [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas,
            status.terminating_replicas,
            status.collision_count,
        ]
        .map(|count| count.unwrap_or(0))
    };
    let sorted = |status: &DeploymentStatus| {
        let mut conditions = status.conditions.clone().unwrap_or_default();
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        conditions
    };
    numbers(a) == numbers(b)
        && a.observed_generation.unwrap_or(0) == b.observed_generation.unwrap_or(0)
        && sorted(a) == sorted(b)
}
