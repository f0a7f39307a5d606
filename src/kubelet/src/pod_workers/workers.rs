//! Runs the state machines: one task per pod, so that a pod's work is serialised and pods are independent.

use super::state::{Stage, Update, Work, WorkerState};
use super::syncer::PodSyncer;
use crate::pod;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a pod is looked at although nothing happened: a net under lost events.
const RESYNC: Duration = Duration::from_secs(120);
/// The first and the longest pause after stopping or cleaning up failed.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// All pods of the node. Cloning shares them.
#[derive(Clone)]
pub struct PodWorkers {
    shared: Arc<Shared>,
}

struct Shared {
    syncer: PodSyncer,
    workers: Mutex<HashMap<String, Arc<Worker>>>,
    /// Ends all workers, leaving their pods running.
    cancel: CancellationToken,
    tasks: TaskTracker,
}

struct Worker {
    uid: String,
    state: Mutex<WorkerState>,
    wake: Notify,
    /// Cancelled when the work under way should be given up; replaced when the next begins.
    interrupt: Mutex<CancellationToken>,
}

impl PodWorkers {
    /// No pods yet. When `cancel` is cancelled all work ends where it is; workers are among `tasks` until then.
    pub fn new(syncer: PodSyncer, cancel: CancellationToken, tasks: TaskTracker) -> Self {
        Self { shared: Arc::new(Shared { syncer, workers: Mutex::default(), cancel, tasks }) }
    }

    /// The API server has this version of a pod.
    pub fn pod_changed(&self, pod: &Arc<Pod>) {
        let uid = pod::uid(pod);
        self.shared.syncer.pod_seen(pod);
        let known = self.shared.workers.lock().get(uid).cloned();
        match known {
            Some(worker) => worker.update(Update::Pod(pod.clone())),
            None => self.start(uid, WorkerState::new(pod.clone())),
        }
    }

    /// The API server does not have a pod any more.
    pub fn pod_removed(&self, uid: &str) {
        self.update(uid, Update::Removed);
    }

    /// The runtime or the disk has a pod that nobody knows: stop it and clean up.
    pub fn orphan_found(&self, uid: &str) {
        if !self.shared.workers.lock().contains_key(uid) {
            self.start(uid, WorkerState::orphan());
        }
    }

    /// Passes an update to a pod's worker, if it has one.
    pub fn update(&self, uid: &str, update: Update) {
        let worker = self.shared.workers.lock().get(uid).cloned();
        if let Some(worker) = worker {
            worker.update(update);
        }
    }

    /// Lets a pod's worker look again.
    pub fn wake(&self, uid: &str) {
        self.update(uid, Update::Wake);
    }

    /// Whether a pod is being stopped or has been.
    pub fn is_stopping(&self, uid: &str) -> bool {
        let worker = self.shared.workers.lock().get(uid).cloned();
        worker.is_none_or(|worker| worker.state.lock().stage() != Stage::Syncing)
    }

    /// A reference that does not keep the workers alive, for what they themselves hold.
    pub fn downgrade(&self) -> WeakPodWorkers {
        WeakPodWorkers { shared: Arc::downgrade(&self.shared) }
    }

    /// Whether a pod has a worker.
    pub fn is_known(&self, uid: &str) -> bool {
        self.shared.workers.lock().contains_key(uid)
    }

    /// The pods as last seen, with whether each is still to be kept running.
    pub fn pods(&self) -> Vec<(Arc<Pod>, bool)> {
        let workers: Vec<Arc<Worker>> = self.shared.workers.lock().values().cloned().collect();
        workers
            .iter()
            .filter_map(|worker| {
                let state = worker.state.lock();
                Some((state.pod()?.clone(), state.stage() == Stage::Syncing))
            })
            .collect()
    }

    /// The syncer, for what else it knows.
    pub fn syncer(&self) -> &PodSyncer {
        &self.shared.syncer
    }

    fn start(&self, uid: &str, state: WorkerState) {
        if self.shared.cancel.is_cancelled() {
            return;
        }
        let worker = Arc::new(Worker {
            uid: uid.to_owned(),
            state: Mutex::new(state),
            wake: Notify::new(),
            interrupt: Mutex::default(),
        });
        self.shared.workers.lock().insert(uid.to_owned(), worker.clone());
        self.shared.tasks.spawn(self.shared.clone().run(worker));
    }
}

/// See [`PodWorkers::downgrade`].
#[derive(Clone, Default)]
pub struct WeakPodWorkers {
    shared: Weak<Shared>,
}

impl WeakPodWorkers {
    /// The workers, while there are any.
    pub fn upgrade(&self) -> Option<PodWorkers> {
        Some(PodWorkers { shared: self.shared.upgrade()? })
    }
}

impl Worker {
    fn update(&self, update: Update) {
        let interrupts = self.state.lock().update(update);
        if interrupts {
            self.interrupt.lock().cancel();
        }
        self.wake.notify_one();
    }

    fn begin(&self) -> (Work, CancellationToken) {
        // In this order: an update after `next` cancels the new token, one before it is in `next`'s answer.
        let token = CancellationToken::new();
        *self.interrupt.lock() = token.clone();
        (self.state.lock().next(), token)
    }

    fn pod(&self) -> Option<Arc<Pod>> {
        self.state.lock().pod().cloned()
    }
}

impl Shared {
    async fn run(self: Arc<Self>, worker: Arc<Worker>) {
        let finished = tokio::select! {
            finished = self.work(&worker) => finished,
            () = self.cancel.cancelled() => false,
        };
        if finished {
            self.syncer.forget(&worker.uid);
        }
        self.workers.lock().remove(&worker.uid);
    }

    /// Works until the pod is gone from this node; true then.
    async fn work(&self, worker: &Worker) -> bool {
        let mut wake_at = Some(Instant::now());
        let mut retry = FIRST_RETRY;
        loop {
            let (work, interrupt) = worker.begin();
            match work {
                Work::Exit => match self.syncer.remove(&worker.uid, worker.pod().as_ref()).await {
                    Ok(()) => return true,
                    Err(error) => {
                        tracing::warn!(uid = worker.uid, %error, "removing the pod's containers failed")
                    }
                },
                Work::Wait => {
                    let timer = wait_until(wake_at);
                    tokio::select! {
                        () = worker.wake.notified() => {}
                        () = timer => drop(worker.state.lock().update(Update::Wake)),
                    }
                    continue;
                }
                Work::Sync(pod) => {
                    let began = Instant::now();
                    let outcome = self.syncer.sync(&pod, &interrupt).await;
                    tracing::debug!(pod = pod::describe(&pod), elapsed = ?began.elapsed(), ?outcome, "synced");
                    let pause =
                        if outcome.again { Duration::ZERO } else { outcome.retry_after.unwrap_or(RESYNC) };
                    wake_at = Some(Instant::now() + pause.min(RESYNC));
                    worker.state.lock().synced(outcome.after);
                    continue;
                }
                Work::Terminate { grace } => {
                    let (pod, verdict) = (worker.pod(), worker.state.lock().verdict().cloned());
                    let stopping = self.syncer.terminate(&worker.uid, pod.as_ref(), grace, verdict.as_ref());
                    let stopped = tokio::select! {
                        stopped = stopping => stopped,
                        // A shorter grace: begin again with it.
                        () = interrupt.cancelled() => continue,
                    };
                    match stopped {
                        Ok(()) => {
                            worker.state.lock().terminated();
                            retry = FIRST_RETRY;
                            continue;
                        }
                        Err(error) => tracing::warn!(uid = worker.uid, %error, "stopping the pod failed"),
                    }
                }
                Work::CleanUp => match self.syncer.clean_up(&worker.uid, worker.pod().as_ref()).await {
                    Ok(()) => {
                        worker.state.lock().cleaned();
                        wake_at = None;
                        retry = FIRST_RETRY;
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(uid = worker.uid, %error, "cleaning up after the pod failed")
                    }
                },
                Work::Delete(pod) => match self.syncer.delete(&pod).await {
                    Ok(()) => {
                        worker.state.lock().deleted();
                        retry = FIRST_RETRY;
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(uid = worker.uid, %error, "deleting the pod's object failed")
                    }
                },
            }
            tokio::select! {
                () = tokio::time::sleep(retry) => {}
                () = interrupt.cancelled() => {}
            }
            retry = (retry * 2).min(LAST_RETRY);
        }
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
