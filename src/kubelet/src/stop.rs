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

/// How long it is tried after the first attempt, in which containers may have taken all their time: what was being started
/// or removed a moment ago is refused.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// How to stop.
#[derive(Debug, Clone, Copy)]
pub struct StopOptions {
    /// The most that a container gets between SIGTERM and SIGKILL, whatever its pod asks for.
    pub grace: Duration,
    /// Also remove containers and sandboxes, so that the runtime knows no pods any more.
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
    let mut until = None;
    let result = loop {
        let pods = observed_pods(runtime).await?;
        let stopped = join_all(pods.values().map(|pod| stop_pod(runtime, pod, options))).await;
        let result: Result<(), CriError> = stopped.into_iter().collect();
        let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
        match &result {
            Err(error) if Instant::now() < until => tracing::info!(%error, "stopping the pods again"),
            _ => break result,
        }
        tokio::time::sleep(PAUSE).await;
    };
    let pods_dir = root_dir(data_dir).join("pods");
    let unmounted = tokio::task::spawn_blocking(move || unmount_below(&pods_dir)).await;
    result?;
    match unmounted {
        Ok(result) => result.map_err(|error| KubeletError::Unmount(Box::new(error))),
        Err(error) => Err(KubeletError::Unmount(Box::new(error))),
    }
}

/// Removes the cgroups of a node's pods, and kills what the runtime has lost of them ([`Cgroups::end_pod`]). For when it has
/// ended, or has no pods any more: until then it starts and ends processes itself.
///
/// # Errors
/// When a process does not end. Calling it again is safe.
pub async fn end_pod_cgroups(data_dir: &Path) -> Result<(), KubeletError> {
    let cgroups = Cgroups::new(&cgroup_root(data_dir));
    let pods_dir = root_dir(data_dir).join("pods");
    let until = Instant::now() + PATIENCE;
    loop {
        // A machine may have pods of another kubelet in a group of the same name.
        let ours = cgroups.pods().into_iter().filter(|uid| pods_dir.join(uid).exists());
        let left: Vec<String> = ours.filter(|uid| !cgroups.end_pod(uid)).collect();
        match left.first() {
            None => break,
            Some(uid) if Instant::now() >= until => {
                return Err(KubeletError::StillRunning { uid: uid.clone() });
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    cgroups.remove_all();
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Behaviour, FakeRuntime};
    use cri::v1;

    #[tokio::test(start_paused = true)]
    async fn a_container_that_takes_its_time_does_not_use_up_the_patience_for_others() {
        let runtime = FakeRuntime::default();
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let uid = label(labels::POD_UID, "u");
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "p".into(),
                uid: "u".into(),
                ..Default::default()
            }),
            labels: [uid.clone()].into(),
            ..Default::default()
        };
        let sandbox = runtime.run_pod_sandbox(config.clone(), "").await.unwrap();
        let container = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "a".into(), attempt: 0 }),
            labels: [uid, label(labels::CONTAINER_NAME, "a")].into(),
            ..Default::default()
        };
        let container = runtime.create_container(&sandbox, container, config).await.unwrap();
        runtime.start_container(&container).await.unwrap();
        runtime.behave("a", Behaviour::Stubborn);
        runtime.refuse_to_stop("p", 1);
        let directory = tempfile::tempdir().unwrap();
        let options = StopOptions { grace: PATIENCE, remove: true };
        stop_all_pods(&runtime, directory.path(), options).await.unwrap();
        assert!(runtime.is_empty());
        // One that is never stopped is told of.
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "q".into(),
                uid: "v".into(),
                ..Default::default()
            }),
            labels: [label(labels::POD_UID, "v")].into(),
            ..Default::default()
        };
        runtime.run_pod_sandbox(config, "").await.unwrap();
        runtime.refuse_to_stop("q", u32::MAX);
        let options = StopOptions { remove: false, ..options };
        assert!(stop_all_pods(&runtime, directory.path(), options).await.is_err());
    }
}
