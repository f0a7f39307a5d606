//! Deletes jobs some time after they have ended.
//!
//! Upstream counterpart: `ttl-after-finished-controller` (KEP-592).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Event, Informer, ObjectKey, Rest,
    rest::{self, DeleteOptions},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    job,
};

const NAME: &str = "ttl-after-finished-controller";

/// The controller; keys are Jobs.
pub struct TtlAfterFinished {
    context: Context,
    rest: Rest,
    jobs: Informer<Job>,
}

impl TtlAfterFinished {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), rest: context.rest.clone(), jobs: context.informers.get() }
    }
}

/// The time until the job goes; `None` when it stays.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let ended = job::finished_at(job)?;
    let left = SignedDuration::from_secs(i64::from(seconds)) - now.duration_since(ended);
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
}

#[async_trait]
impl Controller for TtlAfterFinished {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.mapped(&self.jobs, |event, keys| {
            let job = event.object();
            let limited = job.spec.as_ref().is_some_and(|spec| spec.ttl_seconds_after_finished.is_some());
            if limited && matches!(event, Event::Applied(..)) {
                keys.add(ObjectKey::of(&**job));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(job) = self.jobs.get(key).filter(|job| job.metadata.deletion_timestamp.is_none()) else {
            return Ok(Action::Done);
        };
        match left(&job, self.context.now()) {
            None => Ok(Action::Done),
            Some(left) if !left.is_zero() => Ok(Action::RequeueAfter(left)),
            Some(_) => {
                // The time may have been made longer, and the cache may not show it.
                let fresh = self.rest.get::<Job>(key).await?;
                let over = |fresh: &Job| left(fresh, self.context.now()).is_some_and(|left| left.is_zero());
                if let Some(fresh) = fresh.filter(over) {
                    let uid = fresh.metadata.uid.unwrap_or_default();
                    let options = DeleteOptions::uid(uid).propagation("Foreground");
                    match self.rest.delete::<Job>(key, &options).await {
                        Err(error) if rest::is_conflict(&error) => {}
                        result => result?,
                    }
                }
                Ok(Action::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::batch::v1::{JobCondition, JobSpec, JobStatus},
        apimachinery::pkg::apis::meta::v1::Time,
    };

    use super::*;

    #[test]
    fn only_ended_jobs_with_a_limit_go() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let job = |ttl: Option<i32>, ended: Option<i64>| Job {
            spec: Some(JobSpec { ttl_seconds_after_finished: ttl, ..JobSpec::default() }),
            status: ended.map(|ended| JobStatus {
                conditions: Some(vec![JobCondition {
                    type_: "Failed".into(),
                    status: "True".into(),
                    last_transition_time: Some(Time(at(ended))),
                    ..JobCondition::default()
                }]),
                ..JobStatus::default()
            }),
            ..Job::default()
        };
        assert_eq!(left(&job(None, Some(100)), at(200)), None);
        assert_eq!(left(&job(Some(60), None), at(200)), None);
        assert_eq!(left(&job(Some(60), Some(180)), at(200)), Some(Duration::from_secs(40)));
        assert_eq!(left(&job(Some(0), Some(180)), at(200)), Some(Duration::ZERO));
    }
}
