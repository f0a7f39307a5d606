//! Housekeeping: dead containers and sandboxes, what pods left behind, logs, images.

use crate::eviction::disk;
use crate::images::{DiskUse, ImageGc};
use crate::kubelet::Kubelet;
use crate::log_rotation::{LogPolicy, rotate_logs};
use crate::pod_logs;
use crate::runtime_manager::{observed_pods, removable_containers, removable_sandboxes};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often dead containers are looked for (upstream's period).
const CONTAINERS_EVERY: Duration = Duration::from_secs(60);
/// How often the disk of images is looked at (upstream's period).
const IMAGES_EVERY: Duration = Duration::from_secs(300);
/// How often the sizes of logs are looked at (upstream's period).
const LOGS_EVERY: Duration = Duration::from_secs(10);

impl Kubelet {
    /// Does all housekeeping until cancelled.
    pub(crate) async fn housekeeping(&self, cancel: &CancellationToken) {
        let mut containers_at = Instant::now() + CONTAINERS_EVERY;
        let mut images_at = Instant::now() + IMAGES_EVERY;
        let mut suspects = BTreeSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOGS_EVERY) => {}
            }
            let config = self.config();
            let policy = LogPolicy { max_bytes: config.log_max_bytes, max_files: config.log_max_files };
            rotate_logs(self.runtime().as_ref(), policy, &config.pod_logs_dir, Timestamp::now()).await;
            let now = Instant::now();
            if now >= containers_at {
                containers_at = now + CONTAINERS_EVERY;
                self.collect_containers().await;
                suspects = self.collect_orphans(&suspects).await;
                self.collect_links();
            }
            if now >= images_at {
                images_at = now + IMAGES_EVERY;
                self.collect_images().await;
            }
        }
    }

    /// Removes dead containers and sandboxes beyond what is kept; true when something went.
    pub(crate) async fn collect_containers(&self) -> bool {
        let Ok(pods) = observed_pods(self.runtime().as_ref()).await else { return false };
        let mut removed = false;
        for (uid, pod) in pods {
            // A pod without a worker is an orphan: it gets one, which removes everything.
            if !self.workers().is_known(&uid) {
                continue;
            }
            let manager = &self.workers().syncer().parts().runtime;
            for id in removable_containers(&pod, true) {
                let Some(container) = pod.containers.iter().find(|container| container.id == id) else {
                    continue;
                };
                match manager.remove_dead_container(container).await {
                    Ok(()) => removed = true,
                    Err(error) => tracing::debug!(container = id, %error, "removing dead container failed"),
                }
            }
            for id in removable_sandboxes(&pod, true) {
                let stopped = self.runtime().stop_pod_sandbox(&id).await;
                match stopped.and(self.runtime().remove_pod_sandbox(&id).await) {
                    Ok(()) => removed = true,
                    Err(error) => tracing::debug!(sandbox = id, %error, "removing dead sandbox failed"),
                }
            }
        }
        removed
    }

    /// The uids of pods that have volumes, cgroups or logs, where those are this node's own.
    pub(crate) fn pods_with_remains(&self) -> BTreeSet<String> {
        let parts = self.workers().syncer().parts();
        let mut uids = parts.volumes.pods_on_disk();
        uids.extend(parts.cgroups.pods());
        let config = self.config();
        if config.owns_logs() {
            uids.extend(pod_logs::folders(&config.pod_logs_dir).into_iter().map(|(uid, _)| uid));
        }
        uids
    }

    /// Removes links to logs that are gone.
    fn collect_links(&self) {
        let config = self.config();
        if let Some(links) = config.container_logs_dir.as_ref().filter(|_| config.owns_logs()) {
            pod_logs::remove_links(&config.pod_logs_dir, links);
        }
    }

    /// Finds pods that only runtime, disk or cgroups know. One that was suspected the last time as well gets a
    /// worker that cleans up; the others are returned as suspects, as their objects may only be late.
    pub(crate) async fn collect_orphans(&self, suspects: &BTreeSet<String>) -> BTreeSet<String> {
        // Before all pods of the node are known, one without a worker may be anybody's.
        if !self.bound_pods().has_synced() {
            return BTreeSet::new();
        }
        let Ok(pods) = observed_pods(self.runtime().as_ref()).await else { return BTreeSet::new() };
        let mut uids: BTreeSet<String> = pods.into_keys().collect();
        uids.extend(self.pods_with_remains());
        uids.retain(|uid| !self.workers().is_known(uid));
        let (known, fresh): (BTreeSet<String>, BTreeSet<String>) =
            uids.into_iter().partition(|uid| suspects.contains(uid));
        for uid in known {
            tracing::info!(uid, "cleaning up after a pod that is gone");
            self.workers().orphan_found(&uid);
        }
        fresh
    }

    /// Removes unused images when their disk is full; true when something went.
    async fn collect_images(&self) -> bool {
        let Some(root) = self.image_root().await else { return false };
        let Some((bytes, _)) = disk(&root) else { return false };
        let used = DiskUse { capacity: bytes.capacity, available: bytes.available };
        self.image_gc().collect(used).await > 0
    }

    /// The directory on whose disk images are.
    pub(crate) async fn image_root(&self) -> Option<PathBuf> {
        let info = self.images().image_fs_info().await.ok()?;
        let mount = info.image_filesystems.into_iter().next()?.fs_id?.mountpoint;
        (!mount.is_empty()).then(|| PathBuf::from(mount))
    }

    fn image_gc(&self) -> &ImageGc {
        &self.parts().image_gc
    }
}
