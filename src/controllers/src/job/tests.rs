//! Jobs run to their end with pods that behave as told.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec, JobStatus, SuccessPolicy, SuccessPolicyRule},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use super::{
    plan::{NewPod, Outcome, Plan, plan},
    tally::{INDEX, tally},
    template,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job(change: impl FnOnce(&mut JobSpec)) -> Job {
    let mut spec =
        JobSpec { parallelism: Some(1), completions: Some(1), backoff_limit: Some(6), ..JobSpec::default() };
    change(&mut spec);
    Job {
        metadata: ObjectMeta {
            name: Some("sum".into()),
            namespace: Some("ns".into()),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: Some(JobStatus { start_time: Some(Time(at(1000))), ..JobStatus::default() }),
    }
}

fn member(name: &str, index: Option<i32>, phase: &str) -> Arc<Pod> {
    let mut pod = template::pod(&job(|_| {}), NewPod { index, failures: None });
    pod.metadata.name = Some(name.into());
    pod.metadata.uid = Some(format!("uid-{name}"));
    pod.metadata.creation_timestamp = Some(Time(at(1000)));
    pod.status.get_or_insert_default().phase = Some(phase.into());
    Arc::new(pod)
}

fn decide(job: &Job, pods: &[Arc<Pod>], second: i64) -> Plan {
    plan(job, &tally(job, pods), at(second))
}

fn reason(plan: &Plan) -> &str {
    match &plan.outcome {
        Some(Outcome::Success { reason, .. } | Outcome::Failure { reason, .. }) => reason,
        None => "",
    }
}

#[test]
fn no_more_pods_run_than_parallelism_and_missing_completions_allow() {
    for (parallelism, completions, phases, expected) in [
        (2, Some(5), &[][..], 2),
        (2, Some(5), &["Running"][..], 1),
        (3, Some(5), &["Succeeded", "Succeeded", "Succeeded"][..], 2),
        (5, Some(5), &["Succeeded", "Running", "Running"][..], 2),
        (3, None, &[][..], 3),
        (3, None, &["Succeeded", "Running"][..], 0),
    ] {
        let job = job(|spec| {
            spec.parallelism = Some(parallelism);
            spec.completions = completions;
        });
        let pods: Vec<_> =
            phases.iter().enumerate().map(|(n, phase)| member(&format!("p{n}"), None, phase)).collect();
        let plan = decide(&job, &pods, 2000);
        assert_eq!(plan.create.len(), expected, "{parallelism} {completions:?} {phases:?}");
        assert!(plan.outcome.is_none() && plan.delete.is_empty());
    }
}

#[test]
fn enough_successes_complete_the_job() {
    let job = job(|spec| spec.completions = Some(2));
    let pods = [member("a", None, "Succeeded"), member("b", None, "Succeeded"), member("c", None, "Running")];
    let plan = decide(&job, &pods, 2000);
    assert_eq!(reason(&plan), "CompletionsReached");
    assert_eq!(plan.delete.len(), 1);
}

#[test]
fn failures_are_retried_with_growing_pauses_until_the_limit() {
    let job = job(|spec| spec.backoff_limit = Some(1));
    let one = [member("a", None, "Failed")];
    let plan = decide(&job, &one, 1004);
    assert!(plan.create.is_empty());
    assert_eq!(plan.requeue.unwrap().as_secs(), 6);
    assert_eq!(decide(&job, &one, 1011).create.len(), 1);
    let two = [member("a", None, "Failed"), member("b", None, "Failed")];
    assert_eq!(reason(&decide(&job, &two, 2000)), "BackoffLimitExceeded");
}

#[test]
fn the_deadline_ends_a_job_and_is_waited_for() {
    let job = job(|spec| spec.active_deadline_seconds = Some(60));
    let pods = [member("a", None, "Running")];
    assert_eq!(decide(&job, &pods, 1010).requeue.unwrap().as_secs(), 50);
    let over = decide(&job, &pods, 1060);
    assert_eq!(reason(&over), "DeadlineExceeded");
    assert_eq!(over.delete.len(), 1);
}

#[test]
fn suspended_jobs_run_nothing() {
    let job = job(|spec| spec.suspend = Some(true));
    let plan = decide(&job, &[member("a", None, "Running")], 2000);
    assert!(plan.create.is_empty() && plan.outcome.is_none());
    assert_eq!(plan.delete.len(), 1);
}

#[test]
fn indexed_jobs_start_the_first_missing_indexes() {
    let job = job(|spec| {
        spec.completion_mode = Some("Indexed".into());
        spec.completions = Some(5);
        spec.parallelism = Some(3);
    });
    let pods = [member("a", Some(0), "Succeeded"), member("b", Some(2), "Running")];
    let plan = decide(&job, &pods, 2000);
    assert_eq!(plan.create.iter().map(|new| new.index.unwrap()).collect::<Vec<_>>(), [1, 3]);
    let pod = template::pod(&job, NewPod { index: Some(3), failures: None });
    assert_eq!(pod.metadata.labels.unwrap()[INDEX], "3");
    assert_eq!(pod.spec.unwrap().hostname.as_deref(), Some("sum-3"));
}

#[test]
fn an_index_fails_by_itself_when_it_has_a_limit_of_its_own() {
    let job = job(|spec| {
        spec.completion_mode = Some("Indexed".into());
        spec.completions = Some(2);
        spec.parallelism = Some(2);
        spec.backoff_limit_per_index = Some(0);
    });
    let pods = [member("a", Some(0), "Failed"), member("b", Some(1), "Running")];
    let plan = decide(&job, &pods, 2000);
    assert_eq!(plan.failed_indexes.to_string(), "0");
    assert!(plan.create.is_empty() && plan.outcome.is_none());
    let pods = [member("a", Some(0), "Failed"), member("b", Some(1), "Succeeded")];
    assert_eq!(reason(&decide(&job, &pods, 2000)), "FailedIndexes");
}

#[test]
fn a_success_policy_ends_the_job_early() {
    let job = job(|spec| {
        spec.completion_mode = Some("Indexed".into());
        spec.completions = Some(5);
        spec.parallelism = Some(5);
        let rule = SuccessPolicyRule { succeeded_indexes: Some("0".into()), succeeded_count: None };
        spec.success_policy = Some(SuccessPolicy { rules: vec![rule] });
    });
    let pods = [member("a", Some(0), "Succeeded"), member("b", Some(1), "Running")];
    let plan = decide(&job, &pods, 2000);
    assert_eq!(reason(&plan), "SuccessPolicy");
    assert_eq!(plan.delete.len(), 1);
}

#[test]
fn pods_already_in_the_status_are_not_counted_twice() {
    let mut job = job(|spec| spec.completions = Some(3));
    let status = job.status.as_mut().unwrap();
    status.succeeded = Some(1);
    status.uncounted_terminated_pods.get_or_insert_default().succeeded = Some(vec!["uid-a".into()]);
    let counted = tally(&job, &[member("a", None, "Succeeded"), member("b", None, "Succeeded")]);
    assert_eq!(counted.succeeded, 3);
    assert_eq!(counted.ended.len(), 2);
}
