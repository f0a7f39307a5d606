//! Calls to the runtime that change something, seen through to their end even if whoever made them has gone.
//!
//! A call that is dropped is broken off, and the runtime begins to take back what it has done so far. At the end of the
//! kubelet that is no use: `knarr stop` ends the runtime a moment later, and what was not taken back by then, such as a
//! sandbox's network namespace, belongs to nobody. A sandbox that was made to the end is in the runtime's list instead,
//! where `knarr stop` and the next kubelet find it.

use async_trait::async_trait;
use cri::v1;
use cri::{CriError, ExecOutput, Result, Runtime};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// A runtime whose changes are tasks of a tracker: dropping the future of one lets it go on.
///
/// StopContainer is none of them. It lasts for as long as the container's grace, a shorter grace has to be able to take
/// its place, and broken off it leaves nothing behind: the container has had its signal, and whoever comes next asks again.
pub struct SeenThrough {
    runtime: Arc<dyn Runtime>,
    under_way: TaskTracker,
}

impl SeenThrough {
    /// Changes of `runtime` are among `under_way` until they have ended.
    pub fn new(runtime: Arc<dyn Runtime>, under_way: TaskTracker) -> Self {
        Self { runtime, under_way }
    }

    async fn see_through<T, F>(&self, change: impl FnOnce(Arc<dyn Runtime>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let ended = self.under_way.spawn(change(self.runtime.clone())).await;
        // A task ends without an answer only when it panics, or with the whole process.
        ended.unwrap_or_else(|error| Err(CriError::Unavailable { message: error.to_string() }))
    }
}

#[async_trait]
impl Runtime for SeenThrough {
    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, runtime_handler: &str) -> Result<String> {
        let handler = runtime_handler.to_owned();
        self.see_through(|runtime| async move { runtime.run_pod_sandbox(config, &handler).await }).await
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.see_through(|runtime| async move { runtime.stop_pod_sandbox(&id).await }).await
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.see_through(|runtime| async move { runtime.remove_pod_sandbox(&id).await }).await
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let id = sandbox_id.to_owned();
        self.see_through(|runtime| async move { runtime.create_container(&id, config, sandbox_config).await })
            .await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.see_through(|runtime| async move { runtime.start_container(&id).await }).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.see_through(|runtime| async move { runtime.remove_container(&id).await }).await
    }

    async fn update_container_resources(
        &self,
        id: &str,
        linux: v1::LinuxContainerResources,
        annotations: HashMap<String, String>,
    ) -> Result<()> {
        let id = id.to_owned();
        self.see_through(|runtime| async move {
            runtime.update_container_resources(&id, linux, annotations).await
        })
        .await
    }

    // The rest is the runtime's own.

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        self.runtime.stop_container(id, grace).await
    }

    async fn version(&self) -> Result<v1::VersionResponse> {
        self.runtime.version().await
    }

    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse> {
        self.runtime.status(verbose).await
    }

    async fn pod_sandbox_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse> {
        self.runtime.pod_sandbox_status(id, verbose).await
    }

    async fn list_pod_sandbox(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>> {
        self.runtime.list_pod_sandbox(filter).await
    }

    async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>> {
        self.runtime.list_containers(filter).await
    }

    async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse> {
        self.runtime.container_status(id, verbose).await
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        self.runtime.reopen_container_log(id).await
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        self.runtime.exec_sync(id, command, timeout).await
    }

    async fn exec_url(&self, request: v1::ExecRequest) -> Result<String> {
        self.runtime.exec_url(request).await
    }

    async fn attach_url(&self, request: v1::AttachRequest) -> Result<String> {
        self.runtime.attach_url(request).await
    }

    async fn port_forward_url(&self, request: v1::PortForwardRequest) -> Result<String> {
        self.runtime.port_forward_url(request).await
    }

    async fn container_stats(&self, id: &str) -> Result<v1::ContainerStats> {
        self.runtime.container_stats(id).await
    }

    async fn list_container_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>> {
        self.runtime.list_container_stats(filter).await
    }

    async fn pod_sandbox_stats(&self, id: &str) -> Result<v1::PodSandboxStats> {
        self.runtime.pod_sandbox_stats(id).await
    }

    async fn list_pod_sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>> {
        self.runtime.list_pod_sandbox_stats(filter).await
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()> {
        self.runtime.update_runtime_config(pod_cidr).await
    }
}
