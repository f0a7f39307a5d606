//! Stopping every pod of a node, for `knarr stop` and `knarr reset`: no API server is needed.

use crate::cm::Cgroups;
use crate::config::{cgroup_root, root_dir};
use crate::error::KubeletError;
use crate::runtime_manager::{ObservedPod, State, labels, observed_pods};
use crate::volume_manager::unmount_below;
use cri::{CriError, Runtime};
use futures::future::join_all;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long it is tried: a container that was being started or removed a moment ago is refused.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// How to stop.
#[derive(Debug, Clone, Copy)]
pub struct StopOptions {
    /// The most that a container gets between SIGTERM and SIGKILL, whatever its pod asks for.
    pub grace: Duration,
    /// Also remove containers, sandboxes and cgroups, so that nothing of the pods is left.
    pub remove: bool,
}

/// Stops all pods that the runtime has, all at the same time, and unmounts their volumes below `data_dir`.
///
/// # Errors
/// The first thing that failed, after everything was tried. Calling it again is safe.
pub async fn stop_all_pods(
    runtime: &dyn Runtime,
    data_dir: &Path,
    options: StopOptions,
) -> Result<(), KubeletError> {
    let begin = Instant::now();
    let result = loop {
        let pods = observed_pods(runtime).await?;
        let stopped = join_all(pods.values().map(|pod| stop_pod(runtime, pod, options))).await;
        let result: Result<(), CriError> = stopped.into_iter().collect();
        match &result {
            Err(error) if begin.elapsed() < PATIENCE => tracing::info!(%error, "stopping the pods again"),
            _ => break result,
        }
        tokio::time::sleep(PAUSE).await;
    };
    if options.remove {
        Cgroups::new(&cgroup_root(data_dir)).remove_all();
    }
    let pods_dir = root_dir(data_dir).join("pods");
    let unmounted = tokio::task::spawn_blocking(move || unmount_below(&pods_dir)).await;
    result?;
    match unmounted {
        Ok(result) => result.map_err(|error| KubeletError::Unmount(Box::new(error))),
        Err(error) => Err(KubeletError::Unmount(Box::new(error))),
    }
}

async fn stop_pod(runtime: &dyn Runtime, pod: &ObservedPod, options: StopOptions) -> Result<(), CriError> {
    let alive =
        pod.containers.iter().filter(|container| matches!(container.state, State::Running | State::Unknown));
    let stopped = join_all(alive.map(|container| {
        let own = container.annotations.get(labels::GRACE).and_then(|text| text.parse().ok());
        let grace = own.map_or(options.grace, |seconds| Duration::from_secs(seconds).min(options.grace));
        async move { runtime.stop_container(&container.id, grace).await }
    }));
    let mut result: Result<(), CriError> = stopped.await.into_iter().collect();
    for sandbox in &pod.sandboxes {
        result = result.and(runtime.stop_pod_sandbox(&sandbox.id).await);
        if options.remove {
            result = result.and(runtime.remove_pod_sandbox(&sandbox.id).await);
        }
    }
    result
}
