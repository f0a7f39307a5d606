//! The relist loop.

use super::changes::{Snapshot, changed_pods};
use crate::runtime_manager::observed_pods;
use cri::Runtime;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The net under events: how often everything is listed although nothing was heard.
const PERIOD: Duration = Duration::from_secs(10);
/// Events come in bursts (every container of a pod, then its sandbox): one relist for each burst.
const BURST: Duration = Duration::from_millis(25);
/// Without a relist for this long the kubelet is not healthy (upstream's threshold).
const HEALTHY_WITHIN: Duration = Duration::from_secs(180);

/// CRI learns of an exit by the same event as the kubelet and takes a moment to show it: how soon and for how
/// long the list is looked at again for an exit that it does not show yet.
const FIRST_LOOK: Duration = Duration::from_millis(25);
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Asks for relists. Cloning shares it.
#[derive(Clone, Default)]
pub struct RelistRequest {
    wake: Arc<Notify>,
    /// Containers and sandboxes that have exited, until a list shows it.
    exited: Arc<Mutex<BTreeSet<String>>>,
}

impl RelistRequest {
    /// Something may have changed.
    pub fn changed(&self) {
        self.wake.notify_one();
    }

    /// The container or sandbox of this id has exited.
    pub fn exited(&self, id: &str) {
        self.exited.lock().insert(id.to_owned());
        self.wake.notify_one();
    }
}

/// Compares what the runtime has with what it had.
pub struct Pleg {
    runtime: Arc<dyn Runtime>,
    request: RelistRequest,
    last: Mutex<(Snapshot, Option<Instant>)>,
    started: Instant,
}

impl Pleg {
    /// Nothing listed yet.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, request: RelistRequest::default(), last: Mutex::default(), started: Instant::now() }
    }

    /// By which others ask for relists.
    pub fn request(&self) -> RelistRequest {
        self.request.clone()
    }

    /// Relists until cancelled; `changed` gets the uids of pods that changed, and what there is.
    pub async fn run(
        &self,
        cancel: &CancellationToken,
        mut changed: impl FnMut(&BTreeSet<String>, &Snapshot),
    ) {
        let mut look = FIRST_LOOK;
        let mut pause = PERIOD;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.request.wake.notified() => {
                    look = FIRST_LOOK;
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = tokio::time::sleep(BURST) => {}
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
            if let Some((uids, snapshot)) = self.relist().await {
                changed(&uids, &snapshot);
                let mut exited = self.request.exited.lock();
                exited.retain(|id| snapshot.is_running(id));
                if exited.is_empty() || look > LAST_LOOK {
                    exited.clear();
                    pause = PERIOD;
                } else {
                    pause = look;
                    look *= 2;
                }
            }
        }
    }

    /// Lists once; the pods that changed since the last time.
    pub async fn relist(&self) -> Option<(BTreeSet<String>, Snapshot)> {
        let pods = match observed_pods(self.runtime.as_ref()).await {
            Ok(pods) => pods,
            Err(error) => {
                tracing::debug!(%error, "listing pods failed");
                return None;
            }
        };
        let snapshot = Snapshot::new(&pods);
        let mut last = self.last.lock();
        let changed = changed_pods(&last.0, &snapshot);
        *last = (snapshot.clone(), Some(Instant::now()));
        Some((changed, snapshot))
    }

    /// Whether relists succeed.
    ///
    /// # Errors
    /// What `/healthz` says when they do not.
    pub fn healthy(&self) -> Result<(), String> {
        let last = self.last.lock().1.unwrap_or(self.started);
        let elapsed = last.elapsed();
        if elapsed <= HEALTHY_WITHIN {
            return Ok(());
        }
        Err(format!(
            "PLEG is not healthy: pleg was last seen active {} ago; threshold is {}",
            crate::backoff::show(elapsed),
            crate::backoff::show(HEALTHY_WITHIN)
        ))
    }
}
