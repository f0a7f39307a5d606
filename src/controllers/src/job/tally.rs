//! Counting the pods of a job. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus},
    core::v1::Pod,
};

use super::{
    backoff,
    failure_policy::{self, Verdict},
    indexes::Indexes,
    template::{INDEX_FAILURES, INDEX_IGNORED},
};
use crate::pods;

/// Finalizer of pods that have not been counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Label and annotation with the completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Pods counted in one go (upstream's number): their uids go through the status.
const UNCOUNTED_LIMIT: usize = 500;

/// How a pod has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Succeeded,
    Failed,
    /// It failed in a way that does not count.
    Ignored,
}

/// What the pods of a job come to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Neither ended nor being deleted.
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) ready: i32,
    pub(super) terminating: i32,
    /// Pods that have ended and still have the finalizer.
    pub(super) ended: Vec<(Arc<Pod>, End)>,
    /// Numbers including pods that have not been counted in the status.
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) completed_indexes: Indexes,
    pub(super) failed_indexes: Indexes,
    /// Failures of the indexes that are without a pod: counted and ignored ones.
    pub(super) index_failures: BTreeMap<i32, (i32, i32, Option<Timestamp>)>,
    /// Why a pod makes the whole job fail.
    pub(super) fail_job: Option<String>,
    /// Failures since the last success, and when the last of them was.
    pub(super) failures_in_a_row: u32,
    pub(super) last_failure: Option<Timestamp>,
}

pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref()) == Some("Indexed")
}

pub(super) fn completions(job: &Job) -> Option<i32> {
    job.spec.as_ref().and_then(|spec| spec.completions)
}

/// The completion index of a pod of an indexed job.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    let labels = pod.metadata.labels.iter().chain(&pod.metadata.annotations);
    labels.filter_map(|map| map.get(INDEX)).find_map(|text| text.parse().ok())
}

pub(super) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whether only pods that have failed are replaced, rather than those that are going, too.
pub(super) fn replaces_failed_only(job: &Job) -> bool {
    let spec = job.spec.as_ref();
    let policy = spec.and_then(|spec| spec.pod_replacement_policy.as_deref());
    policy == Some("Failed") || spec.is_some_and(|spec| spec.pod_failure_policy.is_some())
}

fn has_failed(job: &Job, pod: &Pod) -> bool {
    if pods::phase(pod) == "Failed" {
        return true;
    }
    // A pod that goes without ever having run may never reach the phase.
    !replaces_failed_only(job) && pods::is_terminating(pod) && pods::phase(pod) != "Succeeded"
}

/// The uids that the status has not turned into numbers yet: succeeded and failed.
pub(super) fn uncounted(status: &JobStatus) -> (HashSet<String>, HashSet<String>) {
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let set = |uids: Option<Vec<String>>| uids.into_iter().flatten().collect();
    (set(uncounted.succeeded), set(uncounted.failed))
}

/// Counts.
pub(super) fn tally(job: &Job, pods: &[Arc<Pod>]) -> Tally {
    let status = job.status.clone().unwrap_or_default();
    let (known_succeeded, known_failed) = uncounted(&status);
    let limit = completions(job).unwrap_or(i32::MAX);
    let mut tally = Tally {
        succeeded: status.succeeded.unwrap_or(0) + count(known_succeeded.len()),
        failed: status.failed.unwrap_or(0) + count(known_failed.len()),
        completed_indexes: Indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), limit),
        failed_indexes: Indexes::parse(status.failed_indexes.as_deref().unwrap_or_default(), limit),
        ..Tally::default()
    };
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    let mut failures: Vec<Timestamp> = Vec::new();
    let mut last_success: Option<Timestamp> = None;
    for pod in pods {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if pods::phase(pod) == "Succeeded" {
            last_success = last_success.max(backoff::ended_at(pod));
            if has_finalizer(pod) && !known_failed.contains(&uid) {
                note_success(job, &mut tally, pod, known_succeeded.contains(&uid));
            }
        } else if has_failed(job, pod) {
            failures.extend(backoff::ended_at(pod));
            if has_finalizer(pod) {
                note_failure(
                    &mut tally,
                    pod,
                    known_failed.contains(&uid),
                    failure_policy::judge(policy, pod),
                );
            }
        } else if pods::is_active(pod) {
            tally.ready += i32::from(pods::is_ready(pod));
            tally.active.push(pod.clone());
        }
        if pods::is_terminating(pod) && !pods::is_terminal(pod) {
            tally.terminating += 1;
        }
        note_index_failures(
            &mut tally,
            pod,
            policy.map(|policy| failure_policy::judge(Some(policy), pod)),
            has_failed(job, pod),
        );
    }
    failures.retain(|at| last_success.is_none_or(|success| *at > success));
    tally.failures_in_a_row = u32::try_from(failures.len()).unwrap_or(u32::MAX);
    tally.last_failure = failures.into_iter().max();
    if is_indexed(job) {
        tally.succeeded = tally.completed_indexes.len();
    }
    tally.ended.truncate(UNCOUNTED_LIMIT);
    tally
}

fn note_success(job: &Job, tally: &mut Tally, pod: &Arc<Pod>, known: bool) {
    if is_indexed(job) {
        let Some(index) = index_of(pod).filter(|index| (0..completions(job).unwrap_or(0)).contains(index))
        else {
            return;
        };
        tally.completed_indexes.insert(index);
    } else if !known {
        tally.succeeded += 1;
    }
    tally.ended.push((pod.clone(), End::Succeeded));
}

fn note_failure(tally: &mut Tally, pod: &Arc<Pod>, known: bool, verdict: Verdict) {
    if let Verdict::FailJob(cause) = &verdict {
        tally.fail_job.get_or_insert_with(|| cause.clone());
    }
    let end = if verdict == Verdict::Ignore { End::Ignored } else { End::Failed };
    if !known && end == End::Failed {
        tally.failed += 1;
    }
    tally.ended.push((pod.clone(), end));
}

/// The newest pod of an index says how often the index has failed.
fn note_index_failures(tally: &mut Tally, pod: &Pod, verdict: Option<Verdict>, failed: bool) {
    let Some(index) = index_of(pod) else { return };
    let earlier = |name: &str| -> i32 {
        let annotations = pod.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(name)).and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let (mut counted, mut ignored) = (earlier(INDEX_FAILURES), earlier(INDEX_IGNORED));
    if failed {
        match verdict {
            Some(Verdict::Ignore) => ignored += 1,
            // No number of retries is enough for it.
            Some(Verdict::FailIndex) => counted = i32::MAX,
            _ => counted += 1,
        }
    }
    let at = backoff::ended_at(pod).filter(|_| failed);
    let known = tally.index_failures.entry(index).or_insert((0, 0, None));
    *known = (known.0.max(counted), known.1.max(ignored), known.2.max(at));
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
