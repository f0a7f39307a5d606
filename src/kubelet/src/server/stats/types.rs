//! Plain numbers; rendering is elsewhere.

use jiff::Timestamp;

/// CPU usage at a point in time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuStatistics {
    /// When it was measured.
    pub time: Timestamp,
    /// Rate over the last sample window, in billionths of a core.
    pub usage_nano_cores: Option<u64>,
    /// Total since creation, in core nanoseconds.
    pub usage_core_nano_seconds: Option<u64>,
}

/// Memory usage at a point in time, in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryStatistics {
    /// When it was measured.
    pub time: Timestamp,
    /// Limit (or capacity) minus working set.
    pub available_bytes: Option<u64>,
    /// Everything charged, page cache included.
    pub usage_bytes: Option<u64>,
    /// Usage minus inactive file pages: what cannot be reclaimed easily.
    pub working_set_bytes: Option<u64>,
    /// Anonymous and swap cache.
    pub rss_bytes: Option<u64>,
    /// Page faults so far.
    pub page_faults: Option<u64>,
    /// Page faults that needed I/O.
    pub major_page_faults: Option<u64>,
}

/// A file system, or what one thing uses of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilesystemStatistics {
    /// When it was measured.
    pub time: Timestamp,
    /// Free for unprivileged use, of the whole file system.
    pub available_bytes: Option<u64>,
    /// Size of the whole file system.
    pub capacity_bytes: Option<u64>,
    /// Bytes that the thing measured uses.
    pub used_bytes: Option<u64>,
    /// Free inodes of the whole file system.
    pub inodes_free: Option<u64>,
    /// Inodes of the whole file system.
    pub inodes: Option<u64>,
    /// Inodes that the thing measured uses.
    pub inodes_used: Option<u64>,
}

/// Counters of one network interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InterfaceStatistics {
    /// Interface name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Send errors.
    pub tx_errors: u64,
}

/// Network counters; the first interface is the default one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkStatistics {
    /// When it was measured.
    pub time: Timestamp,
    /// The default interface first.
    pub interfaces: Vec<InterfaceStatistics>,
}

/// Usage of one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerStatistics {
    /// Name in the pod's spec.
    pub name: String,
    /// When it started.
    pub start_time: Timestamp,
    /// CPU.
    pub cpu: Option<CpuStatistics>,
    /// Memory.
    pub memory: Option<MemoryStatistics>,
    /// Writable layer.
    pub rootfs: Option<FilesystemStatistics>,
    /// Log files.
    pub logs: Option<FilesystemStatistics>,
}

/// Usage of one pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodStatistics {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// When its sandbox was created.
    pub start_time: Timestamp,
    /// The whole pod's cgroup.
    pub cpu: Option<CpuStatistics>,
    /// The whole pod's cgroup.
    pub memory: Option<MemoryStatistics>,
    /// The pod's network namespace; None with host network.
    pub network: Option<NetworkStatistics>,
    /// Writable layers, logs and emptyDir volumes together.
    pub ephemeral_storage: Option<FilesystemStatistics>,
    /// Processes in the pod.
    pub process_count: Option<u64>,
    /// Its running containers.
    pub containers: Vec<ContainerStatistics>,
}

/// Usage of the node and everything on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeStatistics {
    /// The node's name.
    pub node_name: String,
    /// When the machine booted.
    pub start_time: Timestamp,
    /// The root cgroup.
    pub cpu: CpuStatistics,
    /// The root cgroup.
    pub memory: MemoryStatistics,
    /// The host's network; the default route's interface first.
    pub network: NetworkStatistics,
    /// The file system with the kubelet's data.
    pub fs: FilesystemStatistics,
    /// The file system with images.
    pub image_fs: Option<FilesystemStatistics>,
    /// Highest process id the kernel gives.
    pub max_pid: u64,
    /// Processes and threads now.
    pub process_count: u64,
    /// The pods.
    pub pods: Vec<PodStatistics>,
}
