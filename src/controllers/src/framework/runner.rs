//! Running one controller.

use std::{panic::AssertUnwindSafe, sync::Arc};

use client::{ObjectKey, WorkQueue};
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    controller::{Action, Controller},
    watches::{Keys, Watches},
};

/// Controllers whose queues have other names than themselves.
const QUEUE_NAMES: [(&str, &str); 27] = [
    ("bootstrap-signer-controller", "bootstrap_signer_queue"),
    ("certificatesigningrequest-approving-controller", "certificate"),
    ("clusterrole-aggregation-controller", "ClusterRoleAggregator"),
    ("cronjob-controller", "cronjob"),
    ("daemonset-controller", "daemonset"),
    ("deployment-controller", "deployment"),
    ("disruption-controller", "disruption"),
    ("endpoint-controller", "endpoint"),
    ("endpoint-slice-controller", "endpoint_slice"),
    ("endpoint-slice-mirroring-controller", "endpoint_slice_mirroring"),
    ("ephemeral-volume-controller", "ephemeral_volume"),
    ("garbage-collector-controller", "garbage_collector_attempt_to_delete"),
    ("horizontal-pod-autoscaler", "horizontalpodautoscaler"),
    ("job-controller", "job"),
    ("namespace-controller", "namespace"),
    ("persistentvolume-controller", "claims"),
    ("persistentvolume-protection-controller", "pvprotection"),
    ("persistentvolumeclaim-protection-controller", "pvcprotection"),
    ("replicaset-controller", "replicaset"),
    ("replication-controller", "replicationmanager"),
    ("resourcequota-controller", "resourcequota_primary"),
    ("root-ca-certificate-publisher-controller", "root_ca_cert_publisher"),
    ("serviceaccount-controller", "serviceaccount"),
    ("serviceaccount-token-controller", "serviceaccount_tokens_secret"),
    ("statefulset-controller", "statefulset"),
    ("token-cleaner-controller", "token_cleaner"),
    ("ttl-after-finished-controller", "ttl_jobs_to_delete"),
];

/// Runs a controller until `stop`; what is being reconciled then is finished first.
pub async fn run(controller: Arc<dyn Controller>, stop: CancellationToken) {
    let queue = WorkQueue::named(queue_name(controller.name()));
    let keys = Keys::new(queue.clone());
    let mut watches = Watches::new(keys.clone());
    controller.clone().watches(&mut watches);
    let synced = futures::future::join_all(std::mem::take(&mut watches.synced));
    tokio::select! {
        () = stop.cancelled() => return,
        _ = synced => {}
    }
    tracing::debug!(controller = controller.name(), "started");
    let mut tasks = JoinSet::new();
    for _ in 0..controller.workers() {
        tasks.spawn(work(controller.clone(), queue.clone()));
    }
    let background = controller.clone();
    let background_stop = stop.clone();
    tasks.spawn(async move { background.background(keys, background_stop).await });
    stop.cancelled().await;
    queue.close();
    while tasks.join_next().await.is_some() {}
    tracing::debug!(controller = controller.name(), "stopped");
}

/// The name under which metrics tell of a controller's queue: upstream's, where it has another.
fn queue_name(controller: &'static str) -> &'static str {
    let known = QUEUE_NAMES.iter().find(|(name, _)| *name == controller);
    known.map_or(controller, |(_, queue)| queue)
}

async fn work(controller: Arc<dyn Controller>, queue: WorkQueue<ObjectKey>) {
    while let Some(key) = queue.get().await {
        reconcile(&*controller, &queue, &key).await;
        queue.done(&key);
    }
}

async fn reconcile(controller: &dyn Controller, queue: &WorkQueue<ObjectKey>, key: &ObjectKey) {
    let name = controller.name();
    // A panic over one object must not stop the controller for all others.
    match AssertUnwindSafe(controller.reconcile(key)).catch_unwind().await {
        Ok(Ok(Action::Done)) => queue.forget(key),
        Ok(Ok(Action::RequeueAfter(delay))) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Ok(Err(error)) => {
            if error.is_conflict() {
                tracing::debug!(controller = name, %key, "stale cache: {error}");
            } else {
                tracing::warn!(controller = name, %key, failures = queue.failures(key), "cannot reconcile: {error}");
            }
            queue.add_rate_limited(key.clone());
        }
        Err(_) => {
            tracing::error!(controller = name, %key, "reconcile panicked");
            queue.add_rate_limited(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::framework::ReconcileError;

    #[derive(Default)]
    struct Flaky {
        calls: AtomicUsize,
        at: Mutex<Vec<tokio::time::Instant>>,
    }

    #[async_trait]
    impl Controller for Flaky {
        fn name(&self) -> &'static str {
            "flaky"
        }

        fn watches(self: Arc<Self>, watches: &mut Watches) {
            watches.singleton();
        }

        async fn reconcile(&self, _key: &ObjectKey) -> Result<Action, ReconcileError> {
            self.at.lock().push(tokio::time::Instant::now());
            match self.calls.fetch_add(1, Ordering::SeqCst) {
                0 => Err(ReconcileError::Retry("not yet".into())),
                1 => panic!("a bug"),
                2 => Ok(Action::RequeueAfter(Duration::from_secs(60))),
                _ => Ok(Action::Done),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_panics_are_retried_and_requeues_are_kept() {
        let controller = Arc::new(Flaky::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(controller.clone(), stop.clone()));
        tokio::time::sleep(Duration::from_secs(100)).await;
        stop.cancel();
        task.await.unwrap();
        let at = controller.at.lock();
        assert_eq!(at.len(), 4);
        assert!((at[3] - at[2]).as_secs() == 60);
    }
}
