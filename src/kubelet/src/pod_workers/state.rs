//! The life of a pod on its node as a pure state machine.
//!
//! ```text
//!   Syncing ──deleted, removed, evicted, finished──> Terminating ──all stopped──> Terminated ──cleaned──> Done
//! ```
//!
//! It never goes back: a pod that began to stop is never started again, and grace only shrinks.

use crate::pod;
use crate::status::Override;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;

/// The least grace: containers get a moment even when they are deleted by force.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// Something that a pod's worker learns.
#[derive(Debug, Clone)]
pub enum Update {
    /// The API server has this version of the pod.
    Pod(Arc<Pod>),
    /// The API server does not have the pod any more.
    Removed,
    /// The pod has to go, for this reason.
    Kill {
        /// What its status will say.
        verdict: Override,
        /// How long its containers get; as it says itself when absent.
        grace: Option<Duration>,
    },
    /// Something about it may have changed: look again.
    Wake,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// To be kept running.
    Syncing,
    /// Being stopped.
    Terminating,
    /// Stopped; to be cleaned up.
    Terminated,
    /// Nothing is left on this node but, perhaps, an object to delete.
    Done,
}

/// What a worker has to do next.
#[derive(Debug, Clone)]
pub enum Work {
    /// Compare spec and runtime and act.
    Sync(Arc<Pod>),
    /// Stop everything, with this grace (as the pod says itself when absent).
    Terminate {
        /// The grace.
        grace: Option<Duration>,
    },
    /// Take volumes and cgroup away.
    CleanUp,
    /// Delete the object for good.
    Delete(Arc<Pod>),
    /// Wait for the next update.
    Wait,
    /// End.
    Exit,
}

/// What a sync found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterSync {
    /// Go on.
    Alive,
    /// All containers ended for good.
    Finished,
    /// The node will not run it, or not any longer.
    Verdict(Override),
}

/// A pod's worker, without its task.
#[derive(Debug)]
pub struct WorkerState {
    stage: Stage,
    pod: Option<Arc<Pod>>,
    dirty: bool,
    /// The object is gone.
    removed: bool,
    /// The final delete was sent and answered.
    deleted: bool,
    grace: Option<Duration>,
    verdict: Option<Override>,
}

impl WorkerState {
    /// A pod that was just seen.
    pub fn new(pod: Arc<Pod>) -> Self {
        let mut state = Self {
            stage: Stage::Syncing,
            pod: None,
            dirty: true,
            removed: false,
            deleted: false,
            grace: None,
            verdict: None,
        };
        state.update(Update::Pod(pod));
        state
    }

    /// A pod that only the runtime or the disk knows: its object went while nobody watched.
    pub fn orphan() -> Self {
        Self {
            stage: Stage::Terminating,
            pod: None,
            dirty: true,
            removed: true,
            deleted: false,
            grace: None,
            verdict: None,
        }
    }

    /// Takes an update; true when work that is under way should be given up for it.
    pub fn update(&mut self, update: Update) -> bool {
        match update {
            Update::Pod(new) => {
                self.dirty |= self.pod.as_ref().is_none_or(|old| is_news(old, &new));
                let finished = pod::is_terminal_phase(pod::status(&new).phase.as_deref());
                let grace = pod::deletion_grace(&new);
                self.pod = Some(new);
                match grace {
                    Some(grace) => self.stop(Some(grace)),
                    // A restarted kubelet meets a pod that finished: it must not run again.
                    None if finished && self.stage == Stage::Syncing => self.stop(None),
                    None => false,
                }
            }
            Update::Removed => {
                self.dirty = true;
                self.removed = true;
                self.stop(None)
            }
            Update::Kill { verdict, grace } => {
                self.dirty = true;
                if self.stage == Stage::Syncing {
                    self.verdict.get_or_insert(verdict);
                }
                self.stop(grace)
            }
            Update::Wake => {
                self.dirty = true;
                false
            }
        }
    }

    /// What to do now.
    pub fn next(&mut self) -> Work {
        match self.stage {
            Stage::Syncing => match &self.pod {
                Some(pod) if self.dirty => {
                    self.dirty = false;
                    Work::Sync(pod.clone())
                }
                _ => Work::Wait,
            },
            Stage::Terminating => Work::Terminate { grace: self.grace },
            Stage::Terminated => Work::CleanUp,
            Stage::Done => match &self.pod {
                _ if self.removed => Work::Exit,
                Some(pod) if pod::is_terminating(pod) && !self.deleted => Work::Delete(pod.clone()),
                _ => Work::Wait,
            },
        }
    }

    /// A sync ended.
    pub fn synced(&mut self, result: AfterSync) {
        if self.stage != Stage::Syncing {
            return;
        }
        match result {
            AfterSync::Alive => {}
            AfterSync::Finished => drop(self.stop(None)),
            AfterSync::Verdict(verdict) => {
                self.verdict.get_or_insert(verdict);
                self.stop(None);
            }
        }
    }

    /// Everything has stopped.
    pub fn terminated(&mut self) {
        if self.stage == Stage::Terminating {
            self.stage = Stage::Terminated;
        }
    }

    /// Nothing is left.
    pub fn cleaned(&mut self) {
        if self.stage == Stage::Terminated {
            self.stage = Stage::Done;
        }
    }

    /// The final delete was answered.
    pub fn deleted(&mut self) {
        self.deleted = true;
    }

    /// Where the pod is in its life.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The pod as last seen.
    pub fn pod(&self) -> Option<&Arc<Pod>> {
        self.pod.as_ref()
    }

    /// The verdict that ended it, if one did.
    pub fn verdict(&self) -> Option<&Override> {
        self.verdict.as_ref()
    }

    fn stop(&mut self, grace: Option<Duration>) -> bool {
        let before = self.grace;
        if let Some(grace) = grace {
            let grace = grace.max(LEAST_GRACE);
            self.grace = Some(before.map_or(grace, |before| before.min(grace)));
        }
        match self.stage {
            Stage::Syncing => {
                self.stage = Stage::Terminating;
                true
            }
            Stage::Terminating => self.grace != before,
            Stage::Terminated | Stage::Done => false,
        }
    }
}

/// Whether a new version of a pod is more than the echo of the kubelet's own status.
fn is_news(old: &Pod, new: &Pod) -> bool {
    let conditions = |pod: &Pod| {
        let gates = pod::spec(pod).readiness_gates.iter().flatten();
        let of = |name: &str| {
            let found =
                pod::status(pod).conditions.iter().flatten().find(|condition| condition.type_ == name);
            found.map(|condition| condition.status.clone())
        };
        gates.map(|gate| of(&gate.condition_type)).collect::<Vec<_>>()
    };
    let (a, b) = (&old.metadata, &new.metadata);
    old.spec != new.spec
        || a.labels != b.labels
        || a.annotations != b.annotations
        || a.generation != b.generation
        || a.deletion_timestamp != b.deletion_timestamp
        || a.deletion_grace_period_seconds != b.deletion_grace_period_seconds
        || conditions(old) != conditions(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(extra: serde_json::Value) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [],
            "terminationGracePeriodSeconds": 30}});
        pod["metadata"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn deleted(grace: i64) -> Arc<Pod> {
        pod(json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}))
    }

    #[test]
    fn a_deleted_pod_stops_is_cleaned_and_deleted_for_good() {
        let mut state = WorkerState::new(pod(json!({})));
        assert!(matches!(state.next(), Work::Sync(_)));
        assert!(matches!(state.next(), Work::Wait));
        assert!(state.update(Update::Pod(deleted(20))));
        assert!(matches!(state.next(), Work::Terminate { grace: Some(g) } if g.as_secs() == 20));
        state.terminated();
        assert!(matches!(state.next(), Work::CleanUp));
        state.cleaned();
        assert!(matches!(state.next(), Work::Delete(_)));
        state.deleted();
        assert!(matches!(state.next(), Work::Wait));
        state.update(Update::Removed);
        assert!(matches!(state.next(), Work::Exit));
    }

    #[test]
    fn the_echo_of_the_own_status_is_no_work() {
        let mut state = WorkerState::new(pod(json!({})));
        assert!(matches!(state.next(), Work::Sync(_)));
        state.update(Update::Pod(pod(json!({"resourceVersion": "2"}))));
        assert!(matches!(state.next(), Work::Wait));
        state.update(Update::Pod(pod(json!({"labels": {"a": "b"}}))));
        assert!(matches!(state.next(), Work::Sync(_)));
    }

    #[test]
    fn grace_only_shrinks() {
        let mut state = WorkerState::new(deleted(20));
        assert!(state.update(Update::Pod(deleted(5))));
        assert!(!state.update(Update::Pod(deleted(10))));
        assert!(matches!(state.next(), Work::Terminate { grace: Some(g) } if g.as_secs() == 5));
        assert!(state.update(Update::Pod(deleted(0))));
        assert!(matches!(state.next(), Work::Terminate { grace: Some(g) } if g == LEAST_GRACE));
    }

    #[test]
    fn a_pod_that_finished_is_not_run_again() {
        let mut finished = (*pod(json!({}))).clone();
        finished.status = Some(serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
        let mut state = WorkerState::new(Arc::new(finished));
        assert!(matches!(state.next(), Work::Terminate { grace: None }));
        state.terminated();
        state.cleaned();
        assert!(matches!(state.next(), Work::Wait));
        state.update(Update::Pod(deleted(1)));
        assert!(matches!(state.next(), Work::Delete(_)));
    }

    #[test]
    fn the_first_verdict_stands() {
        let mut state = WorkerState::new(pod(json!({})));
        let verdict = |reason: &str| Override { reason: reason.into(), message: String::new() };
        state.update(Update::Kill { verdict: verdict("Evicted"), grace: None });
        state.synced(AfterSync::Verdict(verdict("DeadlineExceeded")));
        assert_eq!(state.verdict(), Some(&verdict("Evicted")));
    }

    #[test]
    fn orphans_are_stopped_and_forgotten() {
        let mut state = WorkerState::orphan();
        assert!(matches!(state.next(), Work::Terminate { grace: None }));
        state.terminated();
        state.cleaned();
        assert!(matches!(state.next(), Work::Exit));
    }
}
