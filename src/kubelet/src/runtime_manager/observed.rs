//! What the runtime says about one pod, in the kubelet's own types. Pure.

use super::labels;
use k8s_cri::v1;
use std::collections::HashMap;

/// The sandboxes and containers that the runtime has for one pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedPod {
    /// Uid from the labels.
    pub uid: String,
    /// Name from the labels.
    pub name: String,
    /// Namespace from the labels.
    pub namespace: String,
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<ObservedContainer>,
}

/// One sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Whether it is up.
    pub ready: bool,
    /// How many sandboxes the pod had before it.
    pub attempt: u32,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Addresses, the primary one first; empty on the host's network.
    pub ips: Vec<String>,
    /// Whether it shares the host's network.
    pub host_network: bool,
    /// The runtime handler that it was made with.
    pub runtime_handler: String,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
    /// The runtime does not know.
    #[default]
    Unknown,
}

impl From<i32> for State {
    fn from(state: i32) -> Self {
        match v1::ContainerState::try_from(state) {
            Ok(v1::ContainerState::ContainerCreated) => Self::Created,
            Ok(v1::ContainerState::ContainerRunning) => Self::Running,
            Ok(v1::ContainerState::ContainerExited) => Self::Exited,
            _ => Self::Unknown,
        }
    }
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedContainer {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it is in.
    pub sandbox_id: String,
    /// Its name in the pod.
    pub name: String,
    /// State.
    pub state: State,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Nanoseconds since the epoch, 0 when it never started.
    pub started_at: i64,
    /// Nanoseconds since the epoch, 0 while it runs.
    pub finished_at: i64,
    /// Exit code of an ended container.
    pub exit_code: i32,
    /// The image as it was asked for.
    pub image: String,
    /// The image that it runs, by digest where known.
    pub image_id: String,
    /// The runtime's one word: `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
    /// The container's last words, or the runtime's.
    pub message: String,
    /// How often the container was started before.
    pub restart_count: u32,
    /// [`labels::container_hash`] at its creation.
    pub hash: String,
    /// The log file.
    pub log_path: String,
    /// The runtime's annotations.
    pub annotations: HashMap<String, String>,
    /// The cgroup limits in force, where the runtime tells.
    pub resources: Option<v1::LinuxContainerResources>,
    /// Mounts, as pairs of container path and host path.
    pub mounts: Vec<(String, String)>,
    /// User and groups of the first process, where the runtime tells.
    pub user: Option<v1::LinuxContainerUser>,
}

impl ObservedPod {
    /// The sandbox in use: the newest, if it is up.
    pub fn active_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of a name.
    pub fn container(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// Whether anything of the pod may still be executing.
    pub fn anything_running(&self) -> bool {
        self.sandboxes.iter().any(|sandbox| sandbox.ready)
            || self
                .containers
                .iter()
                .any(|container| matches!(container.state, State::Running | State::Unknown))
    }

    /// Whether the runtime knows nothing of the pod.
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// Restores the order that the fields promise.
    pub fn sort(&mut self) {
        self.sandboxes
            .sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.attempt.cmp(&a.attempt)));
        self.containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    }
}

impl Sandbox {
    /// From a sandbox's status.
    pub fn from_status(status: &v1::PodSandboxStatus) -> Self {
        let network = status.network.as_ref();
        let first = network.map(|network| network.ip.clone()).filter(|ip| !ip.is_empty());
        let more = network.into_iter().flat_map(|network| &network.additional_ips).map(|ip| ip.ip.clone());
        let options = status.linux.as_ref().and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
        Self {
            id: status.id.clone(),
            ready: status.state == v1::PodSandboxState::SandboxReady as i32,
            attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            created_at: status.created_at,
            ips: first.into_iter().chain(more).collect(),
            host_network: options.is_some_and(|options| options.network == v1::NamespaceMode::Node as i32),
            runtime_handler: status.runtime_handler.clone(),
        }
    }
}

impl ObservedContainer {
    /// From a container's status.
    pub fn from_status(status: &v1::ContainerStatus, sandbox_id: &str) -> Self {
        let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
        let attempt = status.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
        let image_id = if status.image_ref.is_empty() { &status.image_id } else { &status.image_ref };
        let image = status.image.as_ref();
        let asked = image.map(|image| image.user_specified_image.clone()).filter(|image| !image.is_empty());
        Self {
            id: status.id.clone(),
            sandbox_id: sandbox_id.to_owned(),
            name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
            state: State::from(status.state),
            created_at: status.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            image: asked.or_else(|| image.map(|image| image.image.clone())).unwrap_or_default(),
            image_id: image_id.clone(),
            reason: status.reason.clone(),
            message: status.message.clone(),
            restart_count: annotation(labels::RESTART_COUNT).parse().unwrap_or(attempt),
            hash: annotation(labels::CONTAINER_HASH),
            log_path: status.log_path.clone(),
            annotations: status.annotations.clone(),
            resources: status.resources.as_ref().and_then(|resources| resources.linux.clone()),
            mounts: status
                .mounts
                .iter()
                .map(|mount| (mount.container_path.clone(), mount.host_path.clone()))
                .collect(),
            user: status.user.as_ref().and_then(|user| user.linux.clone()),
        }
    }

    /// Where the file with the container's last words is on this machine, if it has one.
    pub fn termination_file(&self) -> Option<&str> {
        let path = self.annotations.get(labels::TERMINATION_MESSAGE_PATH)?;
        self.mounts.iter().find(|(container_path, _)| container_path == path).map(|(_, host)| host.as_str())
    }
}
