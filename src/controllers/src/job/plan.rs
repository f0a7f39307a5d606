//! What to start, what to end, and whether the job is over. Pure.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::Pod,
};

use super::{
    backoff,
    conditions::{self, FAILURE_TARGET, SUCCESS_CRITERIA_MET},
    indexes::Indexes,
    tally::{Tally, completions, index_of, is_indexed, replaces_failed_only},
};
use crate::pods;

/// Pods created or deleted in one go (upstream's number).
const BURST: usize = 500;

/// How a job ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Enough pods have succeeded.
    Success { reason: String, message: String },
    /// It cannot succeed any more.
    Failure { reason: String, message: String },
}

/// A pod to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NewPod {
    /// Its completion index, for indexed jobs.
    pub(super) index: Option<i32>,
    /// How often the index has failed before, counted and ignored, where it has a limit of its own.
    pub(super) failures: Option<(i32, i32)>,
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<NewPod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// The job is over, or will be when its last pod has gone.
    pub(super) outcome: Option<Outcome>,
    /// When to look again, for what passes without an event.
    pub(super) requeue: Option<Duration>,
    /// Indexes that have failed for good.
    pub(super) failed_indexes: Indexes,
}

/// Decides one sync.
pub(super) fn plan(job: &Job, tally: &Tally, now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let mut plan = Plan { failed_indexes: tally.failed_indexes.clone(), ..Plan::default() };
    if let Some(limit) = spec.backoff_limit_per_index {
        for (index, (failures, _, _)) in &tally.index_failures {
            if *failures > limit && !tally.completed_indexes.contains(*index) {
                plan.failed_indexes.insert(*index);
            }
        }
    }
    plan.outcome = decided_before(job).or_else(|| outcome(job, &spec, tally, &plan.failed_indexes, now));
    if plan.outcome.is_some() || spec.suspend == Some(true) {
        plan.delete = tally.active.iter().take(BURST).cloned().collect();
        return plan;
    }
    // Indexes that have failed for good need no more of their pods.
    let hopeless = |pod: &&Arc<Pod>| index_of(pod).is_some_and(|index| plan.failed_indexes.contains(index));
    plan.delete = tally.active.iter().filter(hopeless).cloned().collect();
    let active: Vec<Arc<Pod>> = tally.active.iter().filter(|pod| !hopeless(pod)).cloned().collect();
    let parallelism = spec.parallelism.unwrap_or(1);
    let wanted = match spec.completions {
        // The number of workers is theirs to end: no new ones once one has succeeded.
        None if tally.succeeded > 0 => count(active.len()).min(parallelism),
        None => parallelism,
        Some(completions) => {
            (completions - tally.succeeded - plan.failed_indexes.len()).clamp(0, parallelism.max(0))
        }
    };
    let surplus = usize::try_from(count(active.len()) - wanted).unwrap_or(0).min(BURST);
    if surplus > 0 {
        plan.delete.extend(least_useful(&active, surplus, now));
    } else {
        let going = if replaces_failed_only(job) { tally.terminating } else { 0 };
        let missing = usize::try_from(wanted - count(active.len()) - going).unwrap_or(0).min(BURST);
        start(job, &spec, tally, &active, missing, now, &mut plan);
    }
    plan.requeue = [plan.requeue, deadline_in(job, &spec, now)].into_iter().flatten().min();
    plan
}

/// What an earlier sync has decided stays decided.
fn decided_before(job: &Job) -> Option<Outcome> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if let Some(found) = conditions::find(conditions, FAILURE_TARGET) {
        return Some(Outcome::Failure { reason: text(&found.reason), message: text(&found.message) });
    }
    let found = conditions::find(conditions, SUCCESS_CRITERIA_MET)?;
    Some(Outcome::Success { reason: text(&found.reason), message: text(&found.message) })
}

fn outcome(
    job: &Job,
    spec: &JobSpec,
    tally: &Tally,
    failed_indexes: &Indexes,
    now: Timestamp,
) -> Option<Outcome> {
    let failure =
        |reason: &str, message: String| Some(Outcome::Failure { reason: reason.to_owned(), message });
    if let Some(cause) = &tally.fail_job {
        return failure("PodFailurePolicy", cause.clone());
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if spec.backoff_limit_per_index.is_none() && (tally.failed > limit || restarts_exceed(spec, tally, limit))
    {
        return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned());
    }
    if spec.suspend != Some(true) && deadline_in(job, spec, now).is_some_and(|left| left.is_zero()) {
        return failure("DeadlineExceeded", "Job was active longer than specified deadline".to_owned());
    }
    if let Some(limit) = spec.max_failed_indexes
        && failed_indexes.len() > limit
    {
        let message = "Job has exceeded the specified maximal number of failed indexes".to_owned();
        return failure("MaxFailedIndexesExceeded", message);
    }
    if let Some(message) = success_policy_met(job, spec, tally) {
        return Some(Outcome::Success { reason: "SuccessPolicy".to_owned(), message });
    }
    let reached = "Reached expected number of succeeded pods".to_owned();
    match spec.completions {
        None if tally.succeeded > 0 && tally.active.is_empty() => {
            Some(Outcome::Success { reason: "CompletionsReached".to_owned(), message: reached })
        }
        None => None,
        Some(completions) => {
            let over = tally.succeeded + failed_indexes.len() >= completions;
            if over && failed_indexes.len() > 0 {
                return failure("FailedIndexes", "Job has failed indexes".to_owned());
            }
            over.then(|| Outcome::Success { reason: "CompletionsReached".to_owned(), message: reached })
        }
    }
}

/// With restartPolicy OnFailure failures show as restarts of containers.
fn restarts_exceed(spec: &JobSpec, tally: &Tally, limit: i32) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts: i32 = tally
        .active
        .iter()
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten())
        .map(|status| status.restart_count)
        .sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn success_policy_met(job: &Job, spec: &JobSpec, tally: &Tally) -> Option<String> {
    let policy = spec.success_policy.as_ref().filter(|_| is_indexed(job))?;
    let completions = completions(job)?;
    policy.rules.iter().enumerate().find_map(|(number, rule)| {
        let (done, needed) = match &rule.succeeded_indexes {
            Some(text) => {
                let listed = Indexes::parse(text, completions);
                (listed.common(&tally.completed_indexes), rule.succeeded_count.unwrap_or(listed.len()))
            }
            None => (tally.completed_indexes.len(), rule.succeeded_count?),
        };
        (done >= needed).then(|| format!("Matched rules at index {number}"))
    })
}

/// The time until the active deadline; zero when it has passed.
fn deadline_in(job: &Job, spec: &JobSpec, now: Timestamp) -> Option<Duration> {
    let seconds = spec.active_deadline_seconds?;
    let started = job.status.as_ref()?.start_time.as_ref()?.0;
    let left = SignedDuration::from_secs(seconds) - now.duration_since(started);
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
}

/// The pods whose end loses least.
fn least_useful(active: &[Arc<Pod>], surplus: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut ranked = active.to_vec();
    ranked.sort_by(|a, b| pods::deletion_order((a, 0), (b, 0), now));
    ranked.truncate(surplus);
    ranked
}

fn start(
    job: &Job,
    spec: &JobSpec,
    tally: &Tally,
    active: &[Arc<Pod>],
    missing: usize,
    now: Timestamp,
    plan: &mut Plan,
) {
    if missing == 0 {
        return;
    }
    if spec.backoff_limit_per_index.is_none() {
        let wait = backoff::remaining(tally.failures_in_a_row, tally.last_failure, now);
        if !wait.is_zero() {
            plan.requeue = Some(wait);
            return;
        }
    }
    if !is_indexed(job) {
        plan.create = vec![NewPod::default(); missing];
        return;
    }
    let going = |pod: &Arc<Pod>| index_of(pod);
    let taken: BTreeSet<i32> = active.iter().filter_map(going).collect();
    for index in 0..spec.completions.unwrap_or(0) {
        if plan.create.len() >= missing {
            return;
        }
        let done = tally.completed_indexes.contains(index) || plan.failed_indexes.contains(index);
        if done || taken.contains(&index) {
            continue;
        }
        let (failures, ignored, last) = tally.index_failures.get(&index).copied().unwrap_or((0, 0, None));
        if spec.backoff_limit_per_index.is_some() {
            let row = u32::try_from(failures.saturating_add(ignored)).unwrap_or(0);
            let wait = backoff::remaining(row, last, now);
            if !wait.is_zero() {
                plan.requeue = Some(plan.requeue.map_or(wait, |known| known.min(wait)));
                continue;
            }
            plan.create.push(NewPod { index: Some(index), failures: Some((failures, ignored)) });
        } else {
            plan.create.push(NewPod { index: Some(index), failures: None });
        }
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
