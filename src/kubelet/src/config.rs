//! What the kubelet is told from outside.

use crate::eviction::Thresholds;
use crate::images::ImageGcPolicy;
use client::SharedInformers;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The most pods a node takes, upstream's default: what its address range and process limits are cut for.
pub const MAX_PODS: u32 = 110;
/// Image pulls at a time: more only compete for the same line and disk.
const PARALLEL_PULLS: usize = 5;
/// Bytes after which a container's log file is rotated, and how many are kept (upstream's defaults).
const LOG_MAX_BYTES: u64 = 10 * 1024 * 1024;
const LOG_MAX_FILES: usize = 5;
/// The kubelet's port.
const PORT: u16 = 10250;
/// Where log collectors look for pods' logs.
const POD_LOGS: &str = "/var/log/pods";
/// Where older log collectors look.
const CONTAINER_LOGS: &str = "/var/log/containers";
/// The data directory of an ordinary installation. Another one is a second node on the same machine: it must
/// keep its logs and cgroups apart.
const DATA_DIRECTORY: &str = "/var/lib/knarr";
/// The data directory of stock kubelets, whose pods log into the same folders.
const STOCK_DIRECTORY: &str = "/var/lib/kubelet";

/// Folders outside of a data directory in which the logs of its pods lie, and nobody else's.
pub fn outside_logs(data_dir: &Path) -> Vec<PathBuf> {
    let alone = data_dir == Path::new(DATA_DIRECTORY) && !Path::new(STOCK_DIRECTORY).exists();
    [POD_LOGS, CONTAINER_LOGS].into_iter().filter(|_| alone).map(PathBuf::from).collect()
}

/// The kubelet's configuration.
#[derive(Clone)]
pub struct Config {
    /// The API server, as `system:node:NODE`.
    pub client: kube::Client,
    /// Shared caches: Services for environment variables.
    pub informers: SharedInformers,
    /// `metadata.name` of the Node.
    pub node_name: String,
    /// The node's addresses, the primary one first. Empty: the address of the default route, followed when it
    /// changes.
    pub node_ips: Vec<IpAddr>,
    /// Networks of pods, the primary one first: where they have IPv6 addresses, a node's own of IPv6 is told, too.
    pub pod_networks: Vec<IpNet>,
    /// Whether a node that lacks an address of a family that its pods have tells the first of theirs, too, as knarr's pod
    /// network gives it: pods without another family reach it there.
    pub address_among_pods: bool,
    /// Labels that the Node carries besides the well-known ones, such as `node-role.kubernetes.io/control-plane`.
    pub node_labels: BTreeMap<String, String>,
    /// Taints that a new Node gets.
    pub node_taints: Vec<Taint>,
    /// Knarr's data directory; the kubelet's is `kubelet` in it.
    pub data_dir: PathBuf,
    /// The runtime's CRI socket. For containerd the same socket gives its events.
    pub runtime_endpoint: PathBuf,
    /// Addresses of the cluster's DNS service.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The node's `resolv.conf`, inherited by pods.
    pub resolv_conf: PathBuf,
    /// Pods' logs.
    pub pod_logs_dir: PathBuf,
    /// Links to pods' logs by container, if any.
    pub container_logs_dir: Option<PathBuf>,
    /// The top cgroup of pods.
    pub cgroup_root: String,
    /// The most pods.
    pub max_pods: u32,
    /// Processes per pod, unlimited when absent.
    pub pod_pids_limit: Option<i64>,
    /// What is kept for the system, by resource (`cpu`, `memory`, `ephemeral-storage`), as quantities.
    pub system_reserved: BTreeMap<String, String>,
    /// When pods are evicted.
    pub eviction: Thresholds,
    /// When images are removed.
    pub image_gc: ImageGcPolicy,
    /// Image pulls at a time.
    pub parallel_pulls: usize,
    /// Bytes after which a container's log is rotated.
    pub log_max_bytes: u64,
    /// Files of a container's log that are kept.
    pub log_max_files: usize,
    /// The port of the kubelet's server, as the Node tells it.
    pub port: u16,
    /// `kubeletVersion`: a Kubernetes version with Knarr's as build metadata.
    pub version: String,
}

impl Config {
    /// Whether all logs of pods where this node's are kept are its own.
    pub(crate) fn owns_logs(&self) -> bool {
        self.pod_logs_dir.starts_with(&self.data_dir)
            || outside_logs(&self.data_dir).contains(&self.pod_logs_dir)
    }

    /// Everything at its default.
    pub fn new(
        client: kube::Client,
        informers: SharedInformers,
        node_name: &str,
        data_dir: &Path,
        runtime_endpoint: &Path,
    ) -> Self {
        let ordinary = data_dir == Path::new(DATA_DIRECTORY);
        Self {
            client,
            informers,
            node_name: node_name.to_owned(),
            node_ips: Vec::new(),
            pod_networks: Vec::new(),
            address_among_pods: false,
            node_labels: BTreeMap::new(),
            node_taints: Vec::new(),
            data_dir: data_dir.to_owned(),
            runtime_endpoint: runtime_endpoint.to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: default_resolv_conf(),
            pod_logs_dir: if ordinary { PathBuf::from(POD_LOGS) } else { data_dir.join("logs/pods") },
            container_logs_dir: ordinary.then(|| PathBuf::from(CONTAINER_LOGS)),
            cgroup_root: cgroup_root(data_dir),
            max_pods: MAX_PODS,
            pod_pids_limit: None,
            system_reserved: BTreeMap::new(),
            eviction: Thresholds::default(),
            image_gc: ImageGcPolicy::default(),
            parallel_pulls: PARALLEL_PULLS,
            log_max_bytes: LOG_MAX_BYTES,
            log_max_files: LOG_MAX_FILES,
            port: PORT,
            version: format!("v1.36.0+knarr{}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// The kubelet's own directory.
    pub fn root_dir(&self) -> PathBuf {
        root_dir(&self.data_dir)
    }
}

/// The kubelet's own directory within a data directory.
pub fn root_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("kubelet")
}

/// The top cgroup of the pods of a data directory.
pub fn cgroup_root(data_dir: &Path) -> String {
    if data_dir == Path::new(DATA_DIRECTORY) {
        return "kubepods".to_owned();
    }
    let path = data_dir.to_string_lossy();
    let hash =
        path.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("kubepods-{hash:08x}")
}

/// systemd-resolved keeps the real servers in a file of its own; the stub on 127.0.0.53 is of no use to pods.
fn default_resolv_conf() -> PathBuf {
    let resolved = Path::new("/run/systemd/resolve/resolv.conf");
    let default = Path::new("/etc/resolv.conf");
    let stub = std::fs::read_to_string(default).is_ok_and(|text| text.contains("127.0.0.53"));
    if stub && resolved.exists() { resolved.to_owned() } else { default.to_owned() }
}
