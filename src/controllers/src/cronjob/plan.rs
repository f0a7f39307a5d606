//! Which jobs to start, end and forget. Pure.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::api::batch::v1::{CronJob, Job};

use super::schedule::Schedule;
use crate::job;

/// More missed times than this mean a clock that jumped, or a schedule that cannot be met (upstream's number).
const MANY_MISSED: usize = 100;

/// What is due.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Due {
    /// The latest time that has passed and was not served.
    pub(super) at: Option<Timestamp>,
    /// More times were missed than can be explained.
    pub(super) too_many: bool,
    /// The next time to come.
    pub(super) next: Option<Timestamp>,
}

/// Looks for times between the last one served and now.
pub(super) fn due(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Due {
    let served = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let since = served.or(cron.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    let deadline = cron.spec.starting_deadline_seconds;
    let earliest = deadline
        .and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok())
        .map_or(since, |earliest| earliest.max(since));
    let mut due = Due::default();
    let mut missed = 0;
    let mut at = earliest;
    while let Some(next) = schedule.next(at, zone) {
        if next > now {
            due.next = Some(next);
            return due;
        }
        due.at = Some(next);
        missed += 1;
        at = next;
        if missed > MANY_MISSED {
            // Going through them all may take for ever: what counts is the last one.
            due.too_many = true;
            at = at.max(now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(at));
            missed = 0;
        }
    }
    due
}

/// What a policy says about starting while jobs are active.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Concurrency {
    Start,
    Skip,
    /// Active jobs end first.
    Replace,
}

pub(super) fn concurrency(cron: &CronJob, active: usize) -> Concurrency {
    let policy = cron.spec.concurrency_policy.as_deref();
    match policy {
        Some("Forbid") if active > 0 => Concurrency::Skip,
        Some("Replace") if active > 0 => Concurrency::Replace,
        _ => Concurrency::Start,
    }
}

/// The name of the job for a time: one per minute, so that a time is never served twice.
pub(super) fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), at.as_second() / 60)
}

/// Whether an ended job succeeded; `None` while it runs.
pub(super) fn succeeded(job: &Job) -> Option<bool> {
    job::finished_at(job)?;
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    Some(conditions.iter().any(|condition| condition.type_ == "Complete" && condition.status == "True"))
}

/// Ended jobs beyond the history limits, oldest first.
pub(super) fn surplus(cron: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    // The API's defaults.
    let successes = cron.spec.successful_jobs_history_limit.unwrap_or(3);
    let failures = cron.spec.failed_jobs_history_limit.unwrap_or(1);
    [(true, successes), (false, failures)]
        .into_iter()
        .flat_map(|(success, limit)| {
            let mut ended: Vec<Arc<Job>> =
                jobs.iter().filter(|job| succeeded(job) == Some(success)).cloned().collect();
            let started = |job: &Arc<Job>| {
                let status = job.status.as_ref().and_then(|status| status.start_time.as_ref());
                status.or(job.metadata.creation_timestamp.as_ref()).map(|time| time.0)
            };
            ended.sort_by_key(started);
            ended.truncate(ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0)));
            ended
        })
        .collect()
}

/// How late a time is served.
pub(super) fn lateness(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::batch::v1::{CronJobSpec, CronJobStatus},
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    };

    use super::*;

    fn cron(created: &str, last: Option<&str>, deadline: Option<i64>) -> CronJob {
        let time = |text: &str| Time(text.parse().unwrap());
        CronJob {
            metadata: ObjectMeta {
                name: Some("backup".into()),
                creation_timestamp: Some(time(created)),
                ..ObjectMeta::default()
            },
            spec: CronJobSpec { starting_deadline_seconds: deadline, ..CronJobSpec::default() },
            status: Some(CronJobStatus { last_schedule_time: last.map(time), ..CronJobStatus::default() }),
        }
    }

    fn look(cron: &CronJob, now: &str) -> (Option<String>, String, bool) {
        let schedule = Schedule::parse("*/10 * * * *").unwrap();
        let due = due(cron, &schedule, &TimeZone::UTC, now.parse().unwrap());
        (due.at.map(|at| at.to_string()), due.next.unwrap().to_string(), due.too_many)
    }

    #[test]
    fn only_the_latest_missed_time_is_due() {
        let fresh = cron("2024-05-01T10:01:00Z", None, None);
        assert_eq!(look(&fresh, "2024-05-01T10:09:00Z"), (None, "2024-05-01T10:10:00Z".into(), false));
        assert_eq!(look(&fresh, "2024-05-01T10:45:00Z").0.as_deref(), Some("2024-05-01T10:40:00Z"));
        let served = cron("2024-05-01T10:01:00Z", Some("2024-05-01T10:40:00Z"), None);
        assert_eq!(look(&served, "2024-05-01T10:45:00Z").0, None);
        let strict = cron("2024-05-01T10:01:00Z", None, Some(60));
        assert_eq!(look(&strict, "2024-05-01T10:45:00Z").0, None);
        assert_eq!(look(&strict, "2024-05-01T10:40:30Z").0.as_deref(), Some("2024-05-01T10:40:00Z"));
    }

    #[test]
    fn years_of_missed_times_are_found_quickly() {
        let old = cron("2004-05-01T10:01:00Z", None, None);
        let (at, _, too_many) = look(&old, "2024-05-01T10:45:00Z");
        assert_eq!(at.as_deref(), Some("2024-05-01T10:40:00Z"));
        assert!(too_many);
    }

    #[test]
    fn a_time_has_one_job_name() {
        let at = "2024-05-01T10:40:00Z".parse().unwrap();
        assert_eq!(job_name(&cron("2024-05-01T10:01:00Z", None, None), at), "backup-28576000");
    }
}
