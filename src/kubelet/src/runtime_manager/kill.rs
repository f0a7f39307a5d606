//! Stopping containers and pods.

use super::hooks::run_hook;
use super::labels;
use super::manager::RuntimeManager;
use super::observed::{ObservedContainer, ObservedPod, State};
use crate::pod;
use cri::CriError;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// What a container gets between SIGTERM and SIGKILL even when its preStop hook has used all its grace.
pub(super) const LEAST_GRACE: Duration = Duration::from_secs(2);

/// How a container is to be stopped.
pub(super) struct Stop<'a> {
    pub(super) grace: Duration,
    /// What the event says; empty for the usual words.
    pub(super) message: &'a str,
    /// What the container gets at least, when its hook or others have used up `grace`.
    pub(super) least: Duration,
}

impl RuntimeManager {
    /// Stops everything that the runtime has of a pod: containers with hooks and grace, sidecars after the
    /// others and in reverse order (KEP-753), then the sandboxes with their network.
    ///
    /// `pod` is absent when its object is gone; what is needed is then read from annotations.
    ///
    /// # Errors
    /// The first call that the runtime refused; calling it again is safe.
    ///
    /// # Cancel safety
    /// Dropping it leaves what was not stopped yet running; a later call, perhaps with less grace, goes on.
    pub async fn kill_pod(
        &self,
        pod: Option<&Pod>,
        observed: &ObservedPod,
        grace: Option<Duration>,
    ) -> Result<(), CriError> {
        let began = Instant::now();
        let of_pod = |container: &ObservedContainer| match (grace, pod) {
            (Some(grace), _) => grace,
            (None, Some(pod)) => pod::spec_grace(pod),
            (None, None) => annotated_grace(container),
        };
        let alive = |container: &&ObservedContainer| {
            matches!(container.state, State::Running | State::Unknown | State::Created)
        };
        let sidecar_names: Vec<&str> = pod
            .map(|pod| {
                pod::init_containers(pod)
                    .iter()
                    .filter(|c| pod::is_sidecar(c))
                    .map(|c| c.name.as_str())
                    .collect()
            })
            .unwrap_or_default();
        let is_sidecar = |container: &&ObservedContainer| sidecar_names.contains(&container.name.as_str());
        let stop_of = |container: &ObservedContainer, spent: Duration| Stop {
            grace: of_pod(container).saturating_sub(spent),
            message: "",
            least: of_pod(container).min(LEAST_GRACE),
        };
        let ip = observed.active_sandbox().and_then(|sandbox| sandbox.ips.first()?.parse().ok());
        let others = observed.containers.iter().filter(alive).filter(|container| !is_sidecar(container));
        let stopped =
            join_all(others.map(|container| {
                self.kill_container(pod, container, ip, stop_of(container, Duration::ZERO))
            }));
        let mut result: Result<(), CriError> = stopped.await.into_iter().collect();
        for name in sidecar_names.iter().rev() {
            for container in
                observed.containers.iter().filter(alive).filter(|container| container.name == *name)
            {
                let stop = stop_of(container, began.elapsed());
                result = result.and(self.kill_container(pod, container, ip, stop).await);
            }
        }
        // A sandbox that is not ready may still hold its address: stopping it again gives that back.
        for sandbox in &observed.sandboxes {
            result = result.and(self.runtime.stop_pod_sandbox(&sandbox.id).await);
        }
        result
    }

    /// Removes every container and sandbox of a pod, running or not.
    ///
    /// # Errors
    /// The first call that the runtime refused; calling it again is safe.
    pub async fn remove_pod(&self, observed: &ObservedPod) -> Result<(), CriError> {
        for container in &observed.containers {
            self.runtime.remove_container(&container.id).await?;
            self.applied.lock().remove(&container.id);
            self.unlink_log(&container.id);
        }
        for sandbox in &observed.sandboxes {
            self.runtime.stop_pod_sandbox(&sandbox.id).await?;
            self.runtime.remove_pod_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    /// Removes one dead container and its log.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub async fn remove_dead_container(&self, container: &ObservedContainer) -> Result<(), CriError> {
        let status = self.runtime.container_status(&container.id, false).await;
        self.runtime.remove_container(&container.id).await?;
        self.applied.lock().remove(&container.id);
        self.unlink_log(&container.id);
        if let Some(path) = status.ok().and_then(|answer| answer.status).map(|status| status.log_path) {
            crate::log_rotation::remove_logs(std::path::Path::new(&path));
        }
        Ok(())
    }

    /// Stops one container: event, preStop hook, signal.
    pub(super) async fn kill_container(
        &self,
        pod: Option<&Pod>,
        observed: &ObservedContainer,
        pod_ip: Option<IpAddr>,
        stop: Stop<'_>,
    ) -> Result<(), CriError> {
        let began = Instant::now();
        let spec = pod.and_then(|pod| pod::container(pod, &observed.name));
        if let Some(pod) = pod {
            let usual = format!("Stopping container {}", observed.name);
            let message = if stop.message.is_empty() { &usual } else { stop.message };
            self.events.container(pod, &observed.name, false, "Killing", message);
        }
        let hook = match &spec {
            Some(spec) => spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone()),
            None => annotated_hook(&observed.annotations),
        };
        if let Some(hook) = hook.filter(|_| observed.state == State::Running && !stop.grace.is_zero()) {
            let bare = Container { name: observed.name.clone(), ..Container::default() };
            let container = spec.as_deref().unwrap_or(&bare);
            let run = run_hook(self.runtime.as_ref(), &hook, container, &observed.id, pod_ip);
            let failure = match tokio::time::timeout(stop.grace, run).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some("the hook did not end within the grace period".to_owned()),
            };
            if let (Some(error), Some(pod)) = (failure, pod) {
                tracing::warn!(
                    pod = pod::describe(pod),
                    container = observed.name,
                    error,
                    "preStop hook failed"
                );
                self.events.container(pod, &observed.name, true, "FailedPreStopHook", "PreStopHook failed");
            }
        }
        // CRI counts whole seconds; the time that the way here took must not cost one.
        let left = stop.grace.saturating_sub(began.elapsed()).max(stop.least);
        let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        match self.runtime.stop_container(&observed.id, left).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

fn annotated_grace(container: &ObservedContainer) -> Duration {
    let text = container.annotations.get(labels::GRACE).map(String::as_str).unwrap_or("");
    text.parse().map_or(pod::DEFAULT_GRACE, Duration::from_secs)
}

fn annotated_hook(annotations: &HashMap<String, String>) -> Option<LifecycleHandler> {
    serde_json::from_str(annotations.get(labels::PRE_STOP)?).ok()
}
