//! Watching cron jobs and their jobs; writing jobs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    EventRecorder, EventType, Informer, ObjectKey, OwnWrites, Rest,
    events::object_reference,
    informer::index,
    rest::{self, DeleteOptions},
};
use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use super::{
    plan::{self, Concurrency},
    schedule::Schedule,
};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    job, ownership, pod_control,
};

const NAME: &str = "cronjob-controller";
/// Annotation with the time that a job was started for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// The clock may run a little behind the timer.
const SLACK: Duration = Duration::from_millis(100);

/// The controller; keys are CronJobs.
pub struct CronJobController {
    context: Context,
    rest: Rest,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    recorder: EventRecorder,
    writes: OwnWrites,
}

impl CronJobController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        let jobs = context.informers.get::<Job>();
        jobs.add_index(index::CONTROLLER_UID, |job| ownership::controller_uid(&job.metadata));
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            crons: context.informers.get(),
            jobs,
            recorder: context.recorder(NAME),
            writes: OwnWrites::new(),
        }
    }

    async fn delete(&self, cron: &CronJob, job: &Job) -> Result<(), ReconcileError> {
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let options = DeleteOptions::uid(uid).propagation("Background");
        match self.rest.delete::<Job>(&ObjectKey::of(job), &options).await {
            Err(error) if rest::is_conflict(&error) => {}
            Err(error) => {
                let message = format!("Deleted job: {}", pod_control::describe(&error));
                self.recorder.about(cron, EventType::Warning, "FailedDelete", message);
                return Err(error.into());
            }
            Ok(()) => {
                self.recorder.about(
                    cron,
                    EventType::Normal,
                    "SuccessfulDelete",
                    format!("Deleted job {name}"),
                );
            }
        }
        Ok(())
    }

    fn schedule(&self, cron: &CronJob) -> Option<(Schedule, TimeZone)> {
        let spec = &cron.spec;
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("unparseable schedule: {} : {error}", spec.schedule);
                self.recorder.about(cron, EventType::Warning, "UnparseableSchedule", message);
                return None;
            }
        };
        let Some(name) = spec.time_zone.as_deref() else { return Some((schedule, TimeZone::system())) };
        match TimeZone::get(name) {
            Ok(zone) => Some((schedule, zone)),
            Err(error) => {
                let message = format!("invalid timeZone: \"{name}\": {error}");
                self.recorder.about(cron, EventType::Warning, "UnknownTimeZone", message);
                None
            }
        }
    }

    /// Starts the job for a time; returns a reference to it, unless its namespace goes away.
    async fn start(&self, cron: &CronJob, at: Timestamp) -> Result<Option<ObjectReference>, ReconcileError> {
        let template = cron.spec.job_template.clone();
        let meta = template.metadata.unwrap_or_default();
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.insert(SCHEDULED.to_owned(), at.to_string());
        let job = Job {
            metadata: ObjectMeta {
                name: Some(plan::job_name(cron, at)),
                namespace: cron.metadata.namespace.clone(),
                labels: meta.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![ownership::controller_reference(cron)]),
                ..ObjectMeta::default()
            },
            spec: template.spec,
            status: None,
        };
        match self.rest.create(&job).await {
            Ok(created) => {
                let name = created.metadata.name.as_deref().unwrap_or_default();
                self.recorder.about(
                    cron,
                    EventType::Normal,
                    "SuccessfulCreate",
                    format!("Created job {name}"),
                );
                Ok(Some(object_reference(&created)))
            }
            Err(error) if rest::is_namespace_terminating(&error) => Ok(None),
            Err(error) if rest::is_already_exists(&error) => {
                let uid = cron.metadata.uid.as_deref().unwrap_or_default();
                let found = self.rest.get::<Job>(&ObjectKey::of(&job)).await?;
                let own = found.filter(|found| ownership::is_controlled_by(&found.metadata, uid));
                Ok(own.map(|found| object_reference(&found)))
            }
            Err(error) => {
                let message = format!("Error creating job: {}", pod_control::describe(&error));
                self.recorder.about(cron, EventType::Warning, "FailedCreate", message);
                Err(error.into())
            }
        }
    }

    /// Brings the list of active jobs, and the time of the last success, in line with the jobs.
    fn follow(&self, cron: &mut CronJob, jobs: &[Arc<Job>]) {
        let about = cron.clone();
        let status = cron.status.get_or_insert_default();
        let active = status.active.get_or_insert_default();
        for job in jobs {
            let listed = active.iter().position(|reference| reference.uid == job.metadata.uid);
            let name = job.metadata.name.as_deref().unwrap_or_default();
            match (plan::succeeded(job), listed) {
                (None, None) if job.metadata.deletion_timestamp.is_none() => {
                    active.push(object_reference(&**job))
                }
                (Some(success), Some(position)) => {
                    active.remove(position);
                    let condition = if success { "Complete" } else { "Failed" };
                    let message = format!("Saw completed job: {name}, condition: {condition}");
                    self.recorder.about(&about, EventType::Normal, "SawCompletedJob", message);
                }
                _ => {}
            }
            if plan::succeeded(job) == Some(true) {
                let at = job.status.as_ref().and_then(|status| status.completion_time.clone());
                let at = at.or_else(|| job::finished_at(job).map(Time));
                if at.as_ref().map(|at| at.0) > status.last_successful_time.as_ref().map(|at| at.0) {
                    status.last_successful_time = at;
                }
            }
        }
        active.retain(|reference| jobs.iter().any(|job| job.metadata.uid == reference.uid));
        if active.is_empty() {
            status.active = None;
        }
    }
}

#[async_trait]
impl Controller for CronJobController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.crons);
        watches.owned::<_, CronJob>(&self.jobs);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(cron) = self.crons.get(key).filter(|cron| cron.metadata.deletion_timestamp.is_none()) else {
            self.writes.forget(key);
            return Ok(Action::Done);
        };
        if self.writes.is_behind(&*cron) {
            return Ok(Action::Done);
        }
        let uid = cron.metadata.uid.as_deref().unwrap_or_default();
        let jobs = self.jobs.by_index(index::CONTROLLER_UID, uid);
        let mut next = (*cron).clone();
        self.follow(&mut next, &jobs);
        for job in plan::surplus(&cron, &jobs) {
            self.delete(&cron, &job).await?;
        }
        let suspended = cron.spec.suspend == Some(true);
        let mut requeue = None;
        if let Some((schedule, zone)) = self.schedule(&cron).filter(|_| !suspended) {
            let now = self.context.now();
            let due = plan::due(&cron, &schedule, &zone, now);
            if due.too_many {
                let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                self.recorder.about(&*cron, EventType::Warning, "TooManyMissedTimes", message);
            }
            requeue = due.next.map(|at| plan::lateness(now, at) + SLACK);
            if let Some(at) = due.at {
                self.serve(&cron, &mut next, &jobs, at).await?;
            }
        }
        if next.status.clone().unwrap_or_default() != cron.status.clone().unwrap_or_default() {
            self.writes.note(&self.rest.replace_status(&next).await?);
        }
        Ok(Action::after(requeue))
    }
}

impl CronJobController {
    async fn serve(
        &self,
        cron: &CronJob,
        next: &mut CronJob,
        jobs: &[Arc<Job>],
        at: Timestamp,
    ) -> Result<(), ReconcileError> {
        let running: Vec<&Arc<Job>> = jobs.iter().filter(|job| plan::succeeded(job).is_none()).collect();
        let status = next.status.get_or_insert_default();
        let active = status.active.as_ref().map_or(0, Vec::len);
        match plan::concurrency(cron, active) {
            Concurrency::Skip => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.recorder.about(cron, EventType::Normal, "JobAlreadyActive", message);
                return Ok(());
            }
            Concurrency::Replace => {
                for job in running {
                    self.delete(cron, job).await?;
                }
                status.active = None;
            }
            Concurrency::Start => {}
        }
        if let Some(reference) = self.start(cron, at).await? {
            status.active.get_or_insert_default().push(reference);
        }
        status.last_schedule_time = Some(Time(at));
        Ok(())
    }
}
