//! The end of a pod: stop, clean up, delete, remove what is left.

use super::syncer::PodSyncer;
use crate::pod;
use crate::pod_logs;
use crate::status::Override;
use crate::volume_manager::CleanUpError;
use client::ObjectKey;
use client::rest::{self, DeleteOptions};
use cri::CriError;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// How long the final delete waits for the last status to be posted.
const LAST_STATUS: Duration = Duration::from_secs(10);

/// A step of a pod's end failed; it is tried again.
#[derive(Debug, Error)]
pub enum EndError {
    /// The runtime.
    #[error("container runtime: {0}")]
    Runtime(#[from] CriError),
    /// Something still runs although everything was stopped.
    #[error("containers are still running")]
    StillRunning,
    /// Volumes.
    #[error("volumes: {0}")]
    Volumes(#[from] CleanUpError),
    /// The API server.
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
}

impl PodSyncer {
    /// Stops everything of a pod and posts its last status.
    pub(super) async fn terminate(
        &self,
        uid: &str,
        pod: Option<&Arc<Pod>>,
        grace: Option<Duration>,
        verdict: Option<&Override>,
    ) -> Result<(), EndError> {
        let parts = &self.parts;
        parts.probes.stop_liveness_and_startup(uid);
        let observed = parts.runtime.observe(uid).await?;
        // A pod that was refused keeps the status that says so.
        let publishes = pod.filter(|pod| {
            self.is_admitted(uid)
                || !observed.is_empty()
                || pod::status(pod).start_time.is_some() && verdict.is_none()
        });
        if let (Some(pod), Some(_)) = (publishes, verdict) {
            self.publish(pod, &observed, verdict, false);
        }
        parts.runtime.kill_pod(pod.map(AsRef::as_ref), &observed, grace).await?;
        let stopped = parts.runtime.observe(uid).await?;
        if stopped.anything_running() {
            return Err(EndError::StillRunning);
        }
        if let Some(pod) = publishes {
            self.publish(pod, &stopped, verdict, true);
        }
        parts.probes.remove_pod(uid);
        Ok(())
    }

    /// Takes volumes and cgroup of a stopped pod away.
    pub(super) async fn clean_up(&self, uid: &str, _pod: Option<&Arc<Pod>>) -> Result<(), EndError> {
        if !self.parts.cgroups.end_pod(uid) {
            return Err(EndError::StillRunning);
        }
        self.parts.volumes.tear_down(uid).await?;
        self.weigh();
        Ok(())
    }

    /// Deletes the object of a pod of which nothing is left but its logs.
    pub(super) async fn delete(&self, pod: &Pod) -> Result<(), EndError> {
        let uid = pod::uid(pod);
        // Whoever waits for the pod's end wants to know how it ended.
        let _ = tokio::time::timeout(LAST_STATUS, self.parts.status.flushed(uid)).await;
        let key = ObjectKey::new(pod::namespace(pod), pod::name(pod));
        match self.parts.rest.delete::<Pod>(&key, &DeleteOptions::uid(uid).grace(0)).await {
            // Another pod of that name: ours is gone.
            Err(error) if rest::is_conflict(&error) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes containers, sandboxes and logs of a pod whose object is gone.
    pub(super) async fn remove(&self, uid: &str, pod: Option<&Arc<Pod>>) -> Result<(), EndError> {
        let parts = &self.parts;
        let observed = parts.runtime.observe(uid).await?;
        parts.runtime.remove_pod(&observed).await?;
        if let Some(pod) = pod {
            let _ = std::fs::remove_dir_all(parts.runtime.log_directory(pod));
        } else {
            pod_logs::remove(&parts.runtime.settings().pod_logs_dir, uid);
        }
        Ok(())
    }

    /// Forgets a pod.
    pub(super) fn forget(&self, uid: &str) {
        let parts = &self.parts;
        parts.probes.remove_pod(uid);
        parts.volumes.forget(uid);
        parts.runtime.forget(uid);
        parts.status.forget(uid);
        self.memory.lock().remove(uid);
    }
}
