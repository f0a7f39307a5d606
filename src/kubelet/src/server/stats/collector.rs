//! Gathers usage from the kernel (the node) and from the runtime (the pods).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::v1;
use cri::{Images, Runtime};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::disk;
use super::host;
use super::types::{
    ContainerStatistics, CpuStatistics, FilesystemStatistics, InterfaceStatistics, MemoryStatistics,
    NetworkStatistics, NodeStatistics, PodStatistics,
};

/// How long a result is served again: scrapers that come together cost one collection. Upstream's
/// housekeeping interval is 10 s; half of it keeps a 15 s scraper from ever seeing the same sample twice.
const FRESH: Duration = Duration::from_secs(5);
/// Shortest window over which a CPU rate means something.
const SHORTEST_WINDOW_NANOS: i64 = 500_000_000;
/// The container label that carries the name in the pod's spec.
const CONTAINER_NAME_LABEL: &str = "io.kubernetes.container.name";

/// Collects [`NodeStatistics`] on demand; nothing runs while nobody asks.
///
/// CPU rates come from the difference to the last collection, so the first one has none (as upstream's
/// right after start).
pub struct Collector {
    node_name: String,
    runtime: Arc<dyn Runtime>,
    images: Arc<dyn Images>,
    root_dir: PathBuf,
    logs_dir: PathBuf,
    last: tokio::sync::Mutex<Option<(Instant, NodeStatistics)>>,
    samples: Mutex<HashMap<String, CpuSample>>,
}

/// A CPU counter as last seen, and the rate it gave.
#[derive(Clone, Copy)]
struct CpuSample {
    time_nanos: i64,
    usage: u64,
    rate: Option<u64>,
    seen: bool,
}

impl Collector {
    /// `root_dir` is the kubelet's directory (its file system is the node's `fs`; `pods/UID/volumes` below
    /// it holds emptyDirs), `logs_dir` the directory of pod logs (`NAMESPACE_NAME_UID/CONTAINER/`).
    pub fn new(
        node_name: &str,
        runtime: Arc<dyn Runtime>,
        images: Arc<dyn Images>,
        root_dir: &Path,
        logs_dir: &Path,
    ) -> Self {
        Self {
            node_name: node_name.to_owned(),
            runtime,
            images,
            root_dir: root_dir.to_owned(),
            logs_dir: logs_dir.to_owned(),
            last: tokio::sync::Mutex::new(None),
            samples: Mutex::new(HashMap::new()),
        }
    }

    /// Usage now, or a few seconds ago. What the runtime does not tell is missing, never invented.
    pub async fn collect(&self) -> NodeStatistics {
        let mut last = self.last.lock().await;
        if let Some((when, statistics)) = last.as_ref()
            && when.elapsed() < FRESH
        {
            return statistics.clone();
        }
        let statistics = self.collect_now().await;
        *last = Some((Instant::now(), statistics.clone()));
        statistics
    }

    async fn collect_now(&self) -> NodeStatistics {
        let now = Timestamp::now();
        let pods = self.pods(now).await;
        let image_fs = self.image_fs(now).await;
        let root_dir = self.root_dir.clone();
        let logs_dir = self.logs_dir.clone();
        let measured = tokio::task::spawn_blocking(move || {
            let pods = pods.into_iter().map(|pod| with_disk(pod, &root_dir, &logs_dir, now)).collect();
            (host::collect(now), disk::filesystem(&root_dir, None, now), pods)
        })
        .await;
        let (host, fs, pods) = measured.unwrap_or_default();
        let mut cpu = host.cpu;
        cpu.usage_nano_cores = self.rate("/", &cpu);
        self.forget_gone();
        NodeStatistics {
            node_name: self.node_name.clone(),
            start_time: host.start_time,
            cpu,
            memory: host.memory,
            network: host.network,
            fs,
            image_fs,
            max_pid: host.max_pid,
            process_count: host.process_count,
            pods,
        }
    }

    async fn image_fs(&self, now: Timestamp) -> Option<FilesystemStatistics> {
        let answer = self.images.image_fs_info().await.ok()?;
        let usage = answer.image_filesystems.into_iter().next()?;
        let mountpoint = usage.fs_id.map(|id| id.mountpoint).filter(|path| !path.is_empty())?;
        let used = usage.used_bytes.map(|value| value.value);
        let inodes_used = usage.inodes_used.map(|value| value.value);
        tokio::task::spawn_blocking(move || {
            let mut fs = disk::filesystem(Path::new(&mountpoint), used, now);
            fs.inodes_used = inodes_used;
            fs
        })
        .await
        .ok()
    }

    async fn pods(&self, now: Timestamp) -> Vec<PodStatistics> {
        let sandboxes = match self.runtime.list_pod_sandbox_stats(None).await {
            Ok(sandboxes) => sandboxes,
            Err(error) => {
                tracing::debug!(%error, "the runtime does not give the statistics of all pods at once");
                self.stats_of_each().await
            }
        };
        let started = self.start_times().await;
        let mut pods: Vec<PodStatistics> =
            sandboxes.into_iter().filter_map(|sandbox| self.pod(sandbox, &started, now)).collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        pods
    }

    /// One sandbox after the other: containerd 1.6 lists nothing at all when the cgroup of one sandbox is gone,
    /// as that of a finished pod is.
    async fn stats_of_each(&self) -> Vec<v1::PodSandboxStats> {
        let ready = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady as i32 };
        let filter = v1::PodSandboxFilter { state: Some(ready), ..v1::PodSandboxFilter::default() };
        let mut found = Vec::new();
        for sandbox in self.runtime.list_pod_sandbox(Some(filter)).await.unwrap_or_default() {
            match self.runtime.pod_sandbox_stats(&sandbox.id).await {
                Ok(stats) => found.push(stats),
                Err(error) => {
                    tracing::debug!(%error, sandbox = sandbox.id, "the runtime gives no statistics of a pod")
                }
            }
        }
        found
    }

    /// Creation times of sandboxes and containers by id, in nanoseconds since 1970.
    async fn start_times(&self) -> HashMap<String, i64> {
        let mut times = HashMap::new();
        if let Ok(sandboxes) = self.runtime.list_pod_sandbox(None).await {
            times.extend(sandboxes.into_iter().map(|sandbox| (sandbox.id, sandbox.created_at)));
        }
        if let Ok(containers) = self.runtime.list_containers(None).await {
            times.extend(containers.into_iter().map(|container| (container.id, container.created_at)));
        }
        times
    }

    fn pod(
        &self,
        sandbox: v1::PodSandboxStats,
        started: &HashMap<String, i64>,
        now: Timestamp,
    ) -> Option<PodStatistics> {
        let attributes = sandbox.attributes?;
        let metadata = attributes.metadata?;
        let linux = sandbox.linux.unwrap_or_default();
        let containers: Vec<ContainerStatistics> = linux
            .containers
            .into_iter()
            .filter_map(|container| self.container(container, started, now))
            .collect();
        Some(PodStatistics {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            start_time: time_of(started.get(&attributes.id).copied().unwrap_or_default()),
            cpu: linux.cpu.map(|cpu| self.cpu(&attributes.id, cpu)),
            memory: linux.memory.map(memory),
            network: linux.network.map(network),
            ephemeral_storage: None,
            process_count: linux.process.and_then(|process| process.process_count).map(|count| count.value),
            containers,
        })
    }

    fn container(
        &self,
        stats: v1::ContainerStats,
        started: &HashMap<String, i64>,
        now: Timestamp,
    ) -> Option<ContainerStatistics> {
        let attributes = stats.attributes?;
        let name = attributes
            .labels
            .get(CONTAINER_NAME_LABEL)
            .cloned()
            .or_else(|| attributes.metadata.map(|metadata| metadata.name))?;
        let rootfs = stats.writable_layer.map(|layer| {
            let mountpoint = layer.fs_id.map(|id| id.mountpoint).unwrap_or_default();
            let mut fs =
                disk::filesystem(Path::new(&mountpoint), layer.used_bytes.map(|value| value.value), now);
            fs.inodes_used = layer.inodes_used.map(|value| value.value);
            fs
        });
        Some(ContainerStatistics {
            name,
            start_time: time_of(started.get(&attributes.id).copied().unwrap_or_default()),
            cpu: stats.cpu.map(|cpu| self.cpu(&attributes.id, cpu)),
            memory: stats.memory.map(memory),
            rootfs,
            logs: None,
        })
    }

    fn cpu(&self, id: &str, usage: v1::CpuUsage) -> CpuStatistics {
        let mut cpu = CpuStatistics {
            time: time_of(usage.timestamp),
            usage_nano_cores: usage.usage_nano_cores.map(|value| value.value).filter(|value| *value > 0),
            usage_core_nano_seconds: usage.usage_core_nano_seconds.map(|value| value.value),
        };
        // Also when the runtime gives a rate: the sample must not be forgotten.
        let rate = self.rate(id, &cpu);
        cpu.usage_nano_cores = cpu.usage_nano_cores.or(rate);
        cpu
    }

    /// The rate since the last sample of `id`; the older rate while the window is too short.
    fn rate(&self, id: &str, cpu: &CpuStatistics) -> Option<u64> {
        let usage = cpu.usage_core_nano_seconds?;
        let time_nanos = i64::try_from(cpu.time.as_nanosecond()).ok()?;
        let mut samples = self.samples.lock();
        let Some(last) = samples.get_mut(id) else {
            samples.insert(id.to_owned(), CpuSample { time_nanos, usage, rate: None, seen: true });
            return None;
        };
        last.seen = true;
        let window = time_nanos - last.time_nanos;
        if window < SHORTEST_WINDOW_NANOS {
            return last.rate;
        }
        let used = u128::from(usage.saturating_sub(last.usage));
        last.rate = u64::try_from(used * 1_000_000_000 / u128::from(window.unsigned_abs())).ok();
        last.usage = usage;
        last.time_nanos = time_nanos;
        last.rate
    }

    /// Drops samples of what this collection did not see.
    fn forget_gone(&self) {
        self.samples.lock().retain(|_, sample| std::mem::take(&mut sample.seen));
    }
}

/// Adds what the pod's logs and emptyDirs use, and sums up its ephemeral storage.
fn with_disk(mut pod: PodStatistics, root_dir: &Path, logs_dir: &Path, now: Timestamp) -> PodStatistics {
    let pod_logs = logs_dir.join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid));
    let volumes = root_dir.join("pods").join(&pod.uid).join("volumes/kubernetes.io~empty-dir");
    let mut total = disk::filesystem(root_dir, Some(0), now);
    let (mut used, mut inodes) = disk::usage(&volumes);
    for container in &mut pod.containers {
        let (log_bytes, log_inodes) = disk::usage(&pod_logs.join(&container.name));
        let mut logs = disk::filesystem(logs_dir, Some(log_bytes), now);
        logs.inodes_used = Some(log_inodes);
        container.logs = Some(logs);
        used += log_bytes + container.rootfs.as_ref().and_then(|fs| fs.used_bytes).unwrap_or(0);
        inodes += log_inodes + container.rootfs.as_ref().and_then(|fs| fs.inodes_used).unwrap_or(0);
    }
    total.used_bytes = Some(used);
    total.inodes_used = Some(inodes);
    pod.ephemeral_storage = Some(total);
    pod
}

fn memory(usage: v1::MemoryUsage) -> MemoryStatistics {
    let value = |field: Option<v1::UInt64Value>| field.map(|value| value.value);
    MemoryStatistics {
        time: time_of(usage.timestamp),
        // Runtimes say 0 when there is no limit; upstream leaves the field out then.
        available_bytes: value(usage.available_bytes).filter(|bytes| *bytes > 0),
        usage_bytes: value(usage.usage_bytes),
        working_set_bytes: value(usage.working_set_bytes),
        rss_bytes: value(usage.rss_bytes),
        page_faults: value(usage.page_faults),
        major_page_faults: value(usage.major_page_faults),
    }
}

fn network(usage: v1::NetworkUsage) -> NetworkStatistics {
    let value = |field: Option<v1::UInt64Value>| field.map_or(0, |value| value.value);
    let interfaces = usage
        .default_interface
        .into_iter()
        .chain(usage.interfaces)
        .map(|interface| InterfaceStatistics {
            name: interface.name,
            rx_bytes: value(interface.rx_bytes),
            rx_errors: value(interface.rx_errors),
            tx_bytes: value(interface.tx_bytes),
            tx_errors: value(interface.tx_errors),
        })
        .collect();
    NetworkStatistics { time: time_of(usage.timestamp), interfaces }
}

fn time_of(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default()
}
