//! What the kubelet's server asks of the kubelet.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::stats::NodeStatistics;

/// The pod side of the kubelet as its server sees it.
#[async_trait]
pub trait PodSource: Send + Sync + 'static {
    /// The pods bound to this node, as `/pods` lists them.
    fn pods(&self) -> Vec<Arc<Pod>>;

    /// The pods the container runtime knows, whether or not the API server still does (`/runningpods`):
    /// name, namespace, uid and per container name and image are enough.
    async fn running_pods(&self) -> Vec<Pod>;

    /// Looks a pod up. With `uid`, a pod of that name but another uid is not found.
    async fn lookup(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<PodHandle>;

    /// The control group of a pod, such as `/kubepods/burstable/podUID`; empty where it is not known.
    fn cgroup(&self, _pod: &Pod) -> String {
        String::new()
    }

    /// Usage of the node and its pods, for `/stats/summary`, `/metrics/cadvisor` and `/metrics/resource`.
    /// [`super::stats::Collector`] gathers it from the runtime and the kernel.
    async fn statistics(&self) -> NodeStatistics;

    /// The running configuration as a `KubeletConfiguration` object, for `/configz`.
    fn configuration(&self) -> Value;

    /// Whether the sync loop moves and the runtime answers; the error is shown by `/healthz`.
    fn healthy(&self) -> Result<(), String>;

    /// The kubelet's own metrics in the Prometheus text format, for `/metrics`.
    fn metrics(&self) -> String {
        String::new()
    }

    /// What the probes of containers came to, for `/metrics/probes`.
    fn probe_metrics(&self) -> String {
        String::new()
    }
}

/// A pod on this node, with what is needed to reach into it.
#[derive(Debug, Clone, Default)]
pub struct PodHandle {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The sandbox that is ready, if one is.
    pub sandbox_id: Option<String>,
    /// Init, regular and ephemeral containers, in the order of the spec.
    pub containers: Vec<ContainerHandle>,
}

impl PodHandle {
    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerHandle> {
        self.containers.iter().find(|container| container.name == name)
    }
}

/// One container of a pod's spec and its instances at the runtime.
#[derive(Debug, Clone, Default)]
pub struct ContainerHandle {
    /// Name in the pod's spec.
    pub name: String,
    /// `tty` of the spec (attach must ask for what the container has).
    pub tty: bool,
    /// `stdin` of the spec.
    pub stdin: bool,
    /// The newest instance, running or not. None while none was created.
    pub current: Option<ContainerInstance>,
    /// The terminated instance before that one, if the runtime still has it.
    pub previous: Option<ContainerInstance>,
    /// `state.waiting.reason` while it waits ("ContainerCreating", "CrashLoopBackOff", ...).
    pub waiting_reason: Option<String>,
}

/// One instance of a container at the runtime.
#[derive(Debug, Clone, Default)]
pub struct ContainerInstance {
    /// The runtime's id, without a scheme.
    pub id: String,
    /// Its log in the CRI format. Rotated files lie beside it as `NAME.TIMESTAMP[.gz]`.
    pub log_path: PathBuf,
    /// True while its process runs.
    pub running: bool,
}
