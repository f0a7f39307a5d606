//! The CRI as traits, so that the kubelet can run against a simulated runtime.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_cri::v1;

use crate::error::Result;

/// What a finished `exec_sync` produced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Everything the command wrote to standard output (runtimes cut it at 16 MiB).
    pub stdout: Vec<u8>,
    /// Everything the command wrote to standard error.
    pub stderr: Vec<u8>,
    /// The command's exit code.
    pub exit_code: i32,
}

/// CRI v1 `RuntimeService`.
///
/// Every call has its own deadline; dropping the future cancels the rpc. Stop and remove calls are
/// idempotent, as CRI demands: a sandbox or container that is gone already is success.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Name and versions of the runtime.
    async fn version(&self) -> Result<v1::VersionResponse>;
    /// Conditions RuntimeReady and NetworkReady; with `verbose` also the runtime's own configuration.
    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse>;
    /// Creates and starts a sandbox; returns its id. The empty handler is the default runtime.
    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, runtime_handler: &str) -> Result<String>;
    /// Stops the sandbox and everything in it, and takes its network down.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Removes the sandbox and its containers, killing what still runs.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Status of one sandbox; NotFound if there is none.
    async fn pod_sandbox_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse>;
    /// Sandboxes that match the filter (None = all).
    async fn list_pod_sandbox(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>>;
    /// Creates a container in a sandbox; returns its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Stops a container: its stop signal, then SIGKILL after `grace` (whole seconds).
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    /// Removes a container, killing it if it runs.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// Containers that match the filter (None = all).
    async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>>;
    /// Status of one container; NotFound if there is none.
    async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse>;
    /// Changes cgroup limits of a running container.
    async fn update_container_resources(
        &self,
        id: &str,
        linux: v1::LinuxContainerResources,
        annotations: HashMap<String, String>,
    ) -> Result<()>;
    /// Makes the runtime open the container's log file anew, after it was renamed for rotation.
    async fn reopen_container_log(&self, id: &str) -> Result<()>;
    /// Runs a command and waits for it. `timeout` zero = none; running into it is DeadlineExceeded.
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput>;
    /// URL of the runtime's streaming server for an exec, valid once and for a minute.
    async fn exec_url(&self, request: v1::ExecRequest) -> Result<String>;
    /// URL of the runtime's streaming server for an attach.
    async fn attach_url(&self, request: v1::AttachRequest) -> Result<String>;
    /// URL of the runtime's streaming server for port-forwarding to a sandbox.
    async fn port_forward_url(&self, request: v1::PortForwardRequest) -> Result<String>;
    /// Usage of one container.
    async fn container_stats(&self, id: &str) -> Result<v1::ContainerStats>;
    /// Usage of the containers that match the filter (None = all running).
    async fn list_container_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>>;
    /// Usage of one sandbox with its containers and network.
    async fn pod_sandbox_stats(&self, id: &str) -> Result<v1::PodSandboxStats>;
    /// Usage of the sandboxes that match the filter (None = all).
    async fn list_pod_sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>>;
    /// Tells the runtime the node's pod CIDR (runtimes that template their own CNI configuration use it).
    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()>;
}

/// CRI v1 `ImageService`.
#[async_trait]
pub trait Images: Send + Sync {
    /// Images the runtime has, all or those of one reference.
    async fn list_images(&self, filter: Option<&str>) -> Result<Vec<v1::Image>>;
    /// The image of a reference or id; None if it is not present.
    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>>;
    /// Pulls an image and returns the reference to run it by (its digest or id). No deadline of its own:
    /// drop the future to cancel.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String>;
    /// Removes an image with all its tags. One that is gone already is success.
    async fn remove_image(&self, image: &str) -> Result<()>;
    /// Usage of the file systems that hold images and container layers.
    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse>;
}
