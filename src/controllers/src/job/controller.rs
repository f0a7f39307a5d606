//! Watching jobs and pods; writing pods and counting them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use client::{
    Event, EventRecorder, EventType, Informer, ObjectKey, OwnWrites, Rest, Selector,
    informer::index,
    rest::{self, Patch},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobStatus, UncountedTerminatedPods},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use parking_lot::Mutex;
use serde_json::json;

use super::{
    conditions::{self, COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED},
    plan::{self, Outcome, Plan},
    tally::{self, End, FINALIZER, Tally},
    template,
};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    ownership,
    pod_control::PodControl,
    pods,
};

const NAME: &str = "job-controller";
/// Value of `managedBy` that means this controller.
const MANAGED_BY: &str = "kubernetes.io/job-controller";

/// The controller; keys are Jobs.
pub struct JobController {
    context: Context,
    rest: Rest,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    recorder: EventRecorder,
    control: PodControl,
    writes: OwnWrites,
    // Pods (by uid) whose finalizer was removed, and that the cache still shows with it.
    released: Arc<Mutex<HashSet<String>>>,
}

impl JobController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        let recorder = context.recorder(NAME);
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            jobs: context.informers.get(),
            pods: context.pods(),
            control: PodControl::new(context.rest.clone(), recorder.clone()),
            recorder,
            writes: OwnWrites::new(),
            released: Arc::default(),
        }
    }

    async fn remove_finalizer(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let kept: Vec<&String> =
            pod.metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).collect();
        let patch = Patch::Merge(json!({"metadata": {
            "uid": pod.metadata.uid,
            "resourceVersion": pod.metadata.resource_version,
            "finalizers": kept,
        }}));
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.released.lock().insert(uid.clone());
        match self.rest.patch::<Pod>(&ObjectKey::of(pod), "", &patch).await {
            Ok(_) => Ok(()),
            Err(error) if rest::is_not_found(&error) || rest::is_invalid(&error) => Ok(()),
            Err(error) => {
                self.released.lock().remove(&uid);
                Err(error.into())
            }
        }
    }

    /// The pods as they are, where the cache has not seen that their finalizer was removed.
    fn without_released(&self, pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
        let released = self.released.lock();
        let mut pods = pods;
        for pod in &mut pods {
            if released.contains(pod.metadata.uid.as_deref().unwrap_or_default()) {
                let finalizers = &mut Arc::make_mut(pod).metadata.finalizers;
                finalizers.iter_mut().for_each(|all| all.retain(|finalizer| finalizer != FINALIZER));
            }
        }
        pods
    }

    /// Pods of a job that is gone, or that is not theirs any more, are held back by nobody.
    async fn release_orphans(&self, key: &ObjectKey) -> Result<(), ReconcileError> {
        let pods = self.pods.list_namespace(&key.namespace);
        let mine = pods.iter().filter(|pod| {
            tally::has_finalizer(pod) && ownership::controller_key::<Job>(&pod.metadata).as_ref() == Some(key)
        });
        for pod in mine {
            self.remove_finalizer(pod).await?;
        }
        Ok(())
    }

    async fn manage(&self, job: &Job, plan: &Plan) -> Result<(), ReconcileError> {
        self.control.delete(job, &plan.delete).await?;
        let created: Vec<Pod> = plan.create.iter().map(|new| template::pod(job, *new)).collect();
        self.control.create(job, &created).await
    }

    /// Takes pods into the status, in the two steps that counting needs. Returns the job as it was written last,
    /// and the status to write next.
    async fn count(
        &self,
        job: &Job,
        tally: &Tally,
        mut status: JobStatus,
    ) -> Result<(Job, JobStatus), ReconcileError> {
        let mut job = job.clone();
        let (mut succeeded, mut failed) = tally::uncounted(&status);
        let before = (succeeded.clone(), failed.clone());
        for (pod, end) in &tally.ended {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            match end {
                // Successes of indexed jobs are counted by index.
                End::Succeeded if tally::is_indexed(&job) => {}
                End::Succeeded => drop(succeeded.insert(uid)),
                End::Failed => drop(failed.insert(uid)),
                End::Ignored => {}
            }
        }
        if !tally.ended.is_empty()
            && ((&succeeded, &failed) != (&before.0, &before.1) || tally::is_indexed(&job))
        {
            status.uncounted_terminated_pods = Some(to_uncounted(&succeeded, &failed));
            job.status = Some(status.clone());
            job = self.rest.replace_status(&job).await?;
            self.writes.note(&job);
        }
        for (pod, _) in &tally.ended {
            self.remove_finalizer(pod).await?;
        }
        // Every pod that was listed has lost its finalizer just now, or had before, or is gone.
        status.succeeded = positive(status.succeeded.unwrap_or(0).saturating_add(number(succeeded.len())));
        status.failed = positive(status.failed.unwrap_or(0).saturating_add(number(failed.len())));
        if tally::is_indexed(&job) {
            status.succeeded = positive(tally.completed_indexes.len());
        }
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods::default());
        Ok((job, status))
    }

    fn announce(&self, job: &Job, outcome: &Outcome) {
        match outcome {
            Outcome::Success { .. } => {
                self.recorder.about(job, EventType::Normal, "Completed", "Job completed");
            }
            Outcome::Failure { reason, message } => {
                self.recorder.about(job, EventType::Warning, reason, message.clone());
            }
        }
    }

    fn suspend_or_resume(&self, job: &Job, status: &mut JobStatus, now: Timestamp) {
        let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
        let conditions = status.conditions.get_or_insert_default();
        if suspended {
            if conditions::set(conditions, SUSPENDED, "True", "JobSuspended", "Job suspended", now) {
                self.recorder.about(job, EventType::Normal, "Suspended", "Job suspended");
            }
            // The deadline counts from when it runs again.
            status.start_time = None;
        } else {
            if conditions::set(conditions, SUSPENDED, "False", "JobResumed", "Job resumed", now) {
                self.recorder.about(job, EventType::Normal, "Resumed", "Job resumed");
                status.start_time = Some(Time(now));
            }
            status.start_time.get_or_insert(Time(now));
        }
    }
}

fn to_uncounted(succeeded: &HashSet<String>, failed: &HashSet<String>) -> UncountedTerminatedPods {
    let sorted = |uids: &HashSet<String>| {
        let sorted: BTreeSet<String> = uids.iter().cloned().collect();
        (!sorted.is_empty()).then(|| sorted.into_iter().collect())
    };
    UncountedTerminatedPods { succeeded: sorted(succeeded), failed: sorted(failed) }
}

fn positive(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count > 0)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The numbers and conditions that follow, before pods are counted.
fn status_after(
    old: &JobStatus,
    job: &Job,
    tally: &Tally,
    plan: &Plan,
    settled: bool,
    now: Timestamp,
) -> JobStatus {
    let mut status = old.clone();
    let (created, deleted) = if settled { (plan.create.len(), plan.delete.len()) } else { (0, 0) };
    status.active = positive(number(tally.active.len() + created).saturating_sub(number(deleted)));
    status.ready = Some(tally.ready);
    status.terminating = Some(tally.terminating + number(deleted));
    if tally::is_indexed(job) {
        let text = tally.completed_indexes.to_string();
        status.completed_indexes = (!text.is_empty()).then_some(text);
        let limited = job.spec.as_ref().is_some_and(|spec| spec.backoff_limit_per_index.is_some());
        status.failed_indexes = limited.then(|| plan.failed_indexes.to_string());
    }
    let conditions = status.conditions.get_or_insert_default();
    match &plan.outcome {
        Some(Outcome::Failure { reason, message }) => {
            conditions::set(conditions, FAILURE_TARGET, "True", reason, message, now);
        }
        Some(Outcome::Success { reason, message }) => {
            conditions::set(conditions, SUCCESS_CRITERIA_MET, "True", reason, message, now);
        }
        None => {}
    }
    status
}

#[async_trait]
impl Controller for JobController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.jobs);
        let jobs = self.jobs.store().clone();
        let control = self.control.clone();
        let released = self.released.clone();
        watches.mapped(&self.pods, move |event, keys| {
            control.observe::<Job>(event);
            if matches!(event, Event::Deleted(_)) || !tally::has_finalizer(event.object()) {
                released.lock().remove(event.object().metadata.uid.as_deref().unwrap_or_default());
            }
            for state in event.states() {
                if let Some(key) = ownership::controller_key::<Job>(&state.metadata) {
                    keys.add(key);
                } else if matches!(event, Event::Applied(..))
                    && ownership::controller_of(&state.metadata).is_none()
                {
                    for job in jobs.list_namespace(state.metadata.namespace.as_deref().unwrap_or_default()) {
                        let selector =
                            Selector::new(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
                        if selector.matches(state.metadata.labels.as_ref()) {
                            keys.add(ObjectKey::of(&*job));
                        }
                    }
                }
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(job) = self.jobs.get(key) else {
            self.control.expectations().forget(key);
            self.writes.forget(key);
            self.release_orphans(key).await?;
            return Ok(Action::Done);
        };
        // The numbers in the status and the pods must be of one time, or pods would be counted twice.
        if self.writes.is_behind(&*job) {
            return Ok(Action::Done);
        }
        let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if manager.is_some_and(|manager| manager != MANAGED_BY) {
            return Ok(Action::Done);
        }
        if conditions::finished_at(&job).is_some() || job.metadata.deletion_timestamp.is_some() {
            self.release_orphans(key).await?;
            return Ok(Action::Done);
        }
        let settled = self.control.expectations().satisfied(key);
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let mut candidates = self.pods.by_index(index::CONTROLLER_UID, uid);
        candidates.extend(self.pods.by_index(ownership::ORPHANS, &key.namespace));
        let selector = Selector::new(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
        let pods = ownership::claim_all(&self.rest, &*job, &selector, candidates).await?;
        let pods = self.without_released(pods);
        let now = self.context.now();
        let mut started = (*job).clone();
        self.suspend_or_resume(&job, started.status.get_or_insert_default(), now);
        let tally = tally::tally(&started, &pods);
        let plan = plan::plan(&started, &tally, now);
        let managed = if settled { self.manage(&started, &plan).await } else { Ok(()) };
        let base = started.status.clone().unwrap_or_default();
        let status = status_after(&base, &started, &tally, &plan, settled && managed.is_ok(), now);
        let (counted, mut status) = self.count(&job, &tally, status).await?;
        // A job is over only when nothing of it runs any more.
        let quiet = tally.active.is_empty()
            && tally.terminating == 0
            && pods.iter().all(|pod| pods::is_terminal(pod));
        if let Some(outcome) = plan.outcome.as_ref().filter(|_| quiet) {
            let conditions = status.conditions.get_or_insert_default();
            match outcome {
                Outcome::Failure { reason, message } => {
                    conditions::set(conditions, FAILED, "True", reason, message, now);
                }
                Outcome::Success { reason, message } => {
                    conditions::set(conditions, COMPLETE, "True", reason, message, now);
                    status.completion_time = Some(Time(now));
                }
            }
            status.ready = Some(0);
        }
        if counted.status.as_ref() != Some(&status) {
            let next = Job { status: Some(status), ..counted };
            let written = self.rest.replace_status(&next).await?;
            self.writes.note(&written);
            if let Some(outcome) =
                plan.outcome.as_ref().filter(|_| conditions::finished_at(&written).is_some())
            {
                self.announce(&job, outcome);
            }
        }
        managed?;
        Ok(Action::after(plan.requeue))
    }
}
