//! CRI over gRPC on a unix socket.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::error::{CriError, Result};
use crate::runtime::{ExecOutput, Images, Runtime};

/// Largest message the kubelet accepts from a runtime: lists on a node full of containers pass 4 MiB,
/// which is gRPC's default.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Deadline of an ordinary call: `runtimeRequestTimeout` of the kubelet's configuration.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Creating a sandbox runs CNI plugins: the kubelet allows twice the ordinary time.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);
/// Calls that only read memory of the runtime; a runtime that cannot answer in this time is unhealthy.
const STATUS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection attempt may take; a unix socket either answers at once or nobody listens.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Client of a CRI v1 runtime and image service on one unix socket.
///
/// Cheap to clone; connects on first use and anew when the runtime was restarted.
#[derive(Clone, Debug)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    socket: PathBuf,
}

impl Client {
    /// Makes a client for `socket` (a path or a `unix://` URL) and checks that a v1 runtime answers.
    pub async fn connect(socket: impl AsRef<Path>) -> Result<Self> {
        let client = Self::new(socket)?;
        client.version().await?;
        Ok(client)
    }

    /// Makes a client without connecting; the first call does.
    pub fn new(socket: impl AsRef<Path>) -> Result<Self> {
        let socket = socket_path(socket.as_ref());
        let channel = channel(&socket)?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            socket,
        })
    }

    /// Path of the socket this client talks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// `unix:///run/x.sock` or `/run/x.sock` as a path.
fn socket_path(socket: &Path) -> PathBuf {
    match socket.to_str().and_then(|text| text.strip_prefix("unix://")) {
        Some(path) => PathBuf::from(path),
        None => socket.to_owned(),
    }
}

/// A lazy gRPC channel over a unix socket; it reconnects by itself.
pub(crate) fn channel(socket: &Path) -> Result<Channel> {
    let socket = socket.to_owned();
    let endpoint = Endpoint::try_from("http://localhost")
        .map_err(|error| CriError::Unavailable { message: error.to_string() })?
        .connect_timeout(CONNECT_TIMEOUT);
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    })))
}

/// A request with a deadline that both sides know (`grpc-timeout`).
fn request<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Success for something that is already gone.
fn gone_is_fine<T: Default>(result: std::result::Result<T, tonic::Status>) -> Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(T::default()),
        Err(status) => Err(status.into()),
    }
}

#[async_trait]
impl Runtime for Client {
    async fn version(&self) -> Result<v1::VersionResponse> {
        let message = v1::VersionRequest { version: "v1".into() };
        Ok(self.runtime.clone().version(request(message, STATUS_TIMEOUT)).await?.into_inner())
    }

    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse> {
        let message = v1::StatusRequest { verbose };
        Ok(self.runtime.clone().status(request(message, STATUS_TIMEOUT)).await?.into_inner())
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, runtime_handler: &str) -> Result<String> {
        let message =
            v1::RunPodSandboxRequest { config: Some(config), runtime_handler: runtime_handler.to_owned() };
        let answer = self.runtime.clone().run_pod_sandbox(request(message, SANDBOX_TIMEOUT)).await?;
        non_empty(answer.into_inner().pod_sandbox_id, "RunPodSandbox", "pod_sandbox_id")
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let message = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let answer = self.runtime.clone().stop_pod_sandbox(request(message, CALL_TIMEOUT)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let message = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let answer = self.runtime.clone().remove_pod_sandbox(request(message, CALL_TIMEOUT)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn pod_sandbox_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse> {
        let message = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose };
        let answer =
            self.runtime.clone().pod_sandbox_status(request(message, CALL_TIMEOUT)).await?.into_inner();
        match answer.status {
            Some(_) => Ok(answer),
            None => Err(CriError::Incomplete { call: "PodSandboxStatus", what: "status" }),
        }
    }

    async fn list_pod_sandbox(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>> {
        let message = v1::ListPodSandboxRequest { filter };
        let answer = self.runtime.clone().list_pod_sandbox(request(message, CALL_TIMEOUT)).await?;
        Ok(answer.into_inner().items)
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let message = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = self.runtime.clone().create_container(request(message, CALL_TIMEOUT)).await?;
        non_empty(answer.into_inner().container_id, "CreateContainer", "container_id")
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let message = v1::StartContainerRequest { container_id: id.to_owned() };
        self.runtime.clone().start_container(request(message, CALL_TIMEOUT)).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let seconds = grace.as_secs();
        let message = v1::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: i64::try_from(seconds).unwrap_or(i64::MAX),
        };
        let deadline = Duration::from_secs(seconds).saturating_add(CALL_TIMEOUT);
        let answer = self.runtime.clone().stop_container(request(message, deadline)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let message = v1::RemoveContainerRequest { container_id: id.to_owned() };
        let answer = self.runtime.clone().remove_container(request(message, CALL_TIMEOUT)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>> {
        let message = v1::ListContainersRequest { filter };
        let answer = self.runtime.clone().list_containers(request(message, CALL_TIMEOUT)).await?;
        Ok(answer.into_inner().containers)
    }

    async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse> {
        let message = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose };
        let answer =
            self.runtime.clone().container_status(request(message, CALL_TIMEOUT)).await?.into_inner();
        match answer.status {
            Some(_) => Ok(answer),
            None => Err(CriError::Incomplete { call: "ContainerStatus", what: "status" }),
        }
    }

    async fn update_container_resources(
        &self,
        id: &str,
        linux: v1::LinuxContainerResources,
        annotations: HashMap<String, String>,
    ) -> Result<()> {
        let message = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(linux),
            windows: None,
            annotations,
        };
        self.runtime.clone().update_container_resources(request(message, CALL_TIMEOUT)).await?;
        Ok(())
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let message = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.runtime.clone().reopen_container_log(request(message, CALL_TIMEOUT)).await?;
        Ok(())
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        // CRI counts whole seconds and reads 0 as "no timeout": a shorter one must not become none.
        let seconds = if timeout.is_zero() { 0 } else { timeout.as_secs().max(1) };
        let message = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: i64::try_from(seconds).unwrap_or(i64::MAX),
        };
        let message = if timeout.is_zero() {
            tonic::Request::new(message)
        } else {
            // The runtime's own timeout comes first; ours catches a runtime that hangs.
            request(message, timeout.saturating_add(CALL_TIMEOUT))
        };
        let answer = self.runtime.clone().exec_sync(message).await?.into_inner();
        Ok(ExecOutput { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
    }

    async fn exec_url(&self, message: v1::ExecRequest) -> Result<String> {
        let answer = self.runtime.clone().exec(request(message, CALL_TIMEOUT)).await?;
        non_empty(answer.into_inner().url, "Exec", "url")
    }

    async fn attach_url(&self, message: v1::AttachRequest) -> Result<String> {
        let answer = self.runtime.clone().attach(request(message, CALL_TIMEOUT)).await?;
        non_empty(answer.into_inner().url, "Attach", "url")
    }

    async fn port_forward_url(&self, message: v1::PortForwardRequest) -> Result<String> {
        let answer = self.runtime.clone().port_forward(request(message, CALL_TIMEOUT)).await?;
        non_empty(answer.into_inner().url, "PortForward", "url")
    }

    async fn container_stats(&self, id: &str) -> Result<v1::ContainerStats> {
        let message = v1::ContainerStatsRequest { container_id: id.to_owned() };
        let answer = self.runtime.clone().container_stats(request(message, CALL_TIMEOUT)).await?;
        answer.into_inner().stats.ok_or(CriError::Incomplete { call: "ContainerStats", what: "stats" })
    }

    async fn list_container_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>> {
        let message = v1::ListContainerStatsRequest { filter };
        let answer = self.runtime.clone().list_container_stats(request(message, CALL_TIMEOUT)).await?;
        Ok(answer.into_inner().stats)
    }

    async fn pod_sandbox_stats(&self, id: &str) -> Result<v1::PodSandboxStats> {
        let message = v1::PodSandboxStatsRequest { pod_sandbox_id: id.to_owned() };
        let answer = self.runtime.clone().pod_sandbox_stats(request(message, CALL_TIMEOUT)).await?;
        answer.into_inner().stats.ok_or(CriError::Incomplete { call: "PodSandboxStats", what: "stats" })
    }

    async fn list_pod_sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>> {
        let message = v1::ListPodSandboxStatsRequest { filter };
        let answer = self.runtime.clone().list_pod_sandbox_stats(request(message, CALL_TIMEOUT)).await?;
        Ok(answer.into_inner().stats)
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: pod_cidr.to_owned() });
        let message =
            v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
        self.runtime.clone().update_runtime_config(request(message, CALL_TIMEOUT)).await?;
        Ok(())
    }
}

#[async_trait]
impl Images for Client {
    async fn list_images(&self, filter: Option<&str>) -> Result<Vec<v1::Image>> {
        let filter = filter.map(|image| v1::ImageFilter { image: Some(image_spec(image)) });
        let message = v1::ListImagesRequest { filter };
        let answer = self.images.clone().list_images(request(message, CALL_TIMEOUT)).await?;
        Ok(answer.into_inner().images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        let message = v1::ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        let answer = self.images.clone().image_status(request(message, CALL_TIMEOUT)).await?;
        Ok(answer.into_inner().image)
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        let message = v1::PullImageRequest { image: Some(image_spec(image)), auth, sandbox_config };
        let answer = self.images.clone().pull_image(tonic::Request::new(message)).await?;
        non_empty(answer.into_inner().image_ref, "PullImage", "image_ref")
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let message = v1::RemoveImageRequest { image: Some(image_spec(image)) };
        let answer = self.images.clone().remove_image(request(message, CALL_TIMEOUT)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        let message = v1::ImageFsInfoRequest {};
        Ok(self.images.clone().image_fs_info(request(message, CALL_TIMEOUT)).await?.into_inner())
    }
}

fn image_spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), ..Default::default() }
}

fn non_empty(value: String, call: &'static str, what: &'static str) -> Result<String> {
    if value.is_empty() { Err(CriError::Incomplete { call, what }) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_a_unix_url() {
        assert_eq!(socket_path(Path::new("unix:///run/a.sock")), PathBuf::from("/run/a.sock"));
        assert_eq!(socket_path(Path::new("/run/a.sock")), PathBuf::from("/run/a.sock"));
    }

    #[tokio::test]
    async fn a_missing_socket_is_unavailable() {
        let error = Client::connect("/nonexistent/cri.sock").await.unwrap_err();
        assert!(matches!(error, CriError::Unavailable { .. }), "{error:?}");
    }
}
