//! What evictions need of the kubelet.

use crate::eviction::{EvictionTarget, LocalUsage, PodUsage, is_limited, limited_volumes, over_limit};
use crate::kubelet::Kubelet;
use crate::pod;
use crate::pod_workers::Update;
use crate::status::Override;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[async_trait]
impl EvictionTarget for Kubelet {
    async fn usage(&self) -> Vec<PodUsage> {
        let statistics = self.collector().collect().await;
        let by_uid: BTreeMap<&str, _> = statistics.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
        let active = self.workers().pods().into_iter().filter(|(_, active)| *active);
        active
            .map(|(pod, _)| {
                let found = by_uid.get(pod::uid(&pod));
                PodUsage {
                    memory: found.and_then(|pod| pod.memory.as_ref()?.working_set_bytes).unwrap_or(0),
                    disk: found.and_then(|pod| pod.ephemeral_storage.as_ref()?.used_bytes).unwrap_or(0),
                    processes: found.and_then(|pod| pod.process_count).unwrap_or(0),
                    pod,
                }
            })
            .collect()
    }

    async fn reclaim_disk(&self) -> bool {
        let containers = self.collect_containers().await;
        self.parts().image_gc.delete_unused().await > 0 || containers
    }

    async fn over_limit(&self) -> Vec<(Arc<Pod>, Override)> {
        let active = self.workers().pods().into_iter().filter(|(pod, active)| *active && is_limited(pod));
        let limited: Vec<Arc<Pod>> = active.map(|(pod, _)| pod).collect();
        if limited.is_empty() {
            return Vec::new();
        }
        let statistics = self.collector().collect().await;
        let mut over = Vec::new();
        for pod in limited {
            let directory = self.workers().syncer().parts().volumes.pod_directory(pod::uid(&pod));
            let names: Vec<String> = limited_volumes(&pod).into_keys().collect();
            let volumes = tokio::task::spawn_blocking(move || volume_sizes(&directory, names))
                .await
                .unwrap_or_default();
            let found = statistics.pods.iter().find(|found| found.uid == pod::uid(&pod));
            let containers = found.into_iter().flat_map(|found| &found.containers).map(|container| {
                let parts = [&container.rootfs, &container.logs];
                let used = parts.into_iter().flatten().filter_map(|part| part.used_bytes).sum();
                (container.name.clone(), used)
            });
            let usage = LocalUsage { volumes, containers: containers.collect() };
            over.extend(over_limit(&pod, &usage).map(|verdict| (pod, verdict)));
        }
        over
    }

    fn evict(&self, pod: &Pod, verdict: Override) {
        self.events().pod(pod, true, "Evicted", &verdict.message);
        // Hard thresholds leave no time for grace.
        let update = Update::Kill { verdict, grace: Some(Duration::ZERO) };
        self.workers().update(pod::uid(pod), update);
    }

    fn pressure_changed(&self, memory: bool, disk: bool, pids: bool) {
        self.node_status().set_pressure(memory, disk, pids);
    }
}

fn volume_sizes(pod_directory: &Path, names: Vec<String>) -> BTreeMap<String, u64> {
    let size = |name: &str| disk_use(&pod_directory.join("volumes/kubernetes.io~empty-dir").join(name));
    names.into_iter().map(|name| (name.clone(), size(&name))).collect()
}

/// Bytes that a tree takes on its disk; mounts below are not entered.
fn disk_use(root: &Path) -> u64 {
    let Ok(top) = std::fs::symlink_metadata(root) else { return 0 };
    let mut pending: Vec<PathBuf> = vec![root.to_owned()];
    let mut bytes = 0_u64;
    while let Some(path) = pending.pop() {
        // What vanishes meanwhile takes no space.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != top.dev() {
            continue;
        }
        bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
        if metadata.is_dir() {
            pending
                .extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    bytes
}
