//! Why the kubelet cannot start.

use crate::cm::CgroupError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The kubelet cannot start, or cannot stop what it started.
#[derive(Debug, Error)]
pub enum KubeletError {
    /// A directory cannot be made.
    #[error("making directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cgroups of pods cannot be made.
    #[error("setting up the cgroups of pods")]
    Cgroups(#[from] CgroupError),
    /// A process of a pod does not end.
    #[error("a process in the cgroup pod{uid} does not end: see cgroup.procs below /sys/fs/cgroup")]
    StillRunning {
        /// The pod's.
        uid: String,
    },
    /// The container runtime.
    #[error("container runtime: {0}")]
    Runtime(#[from] cri::CriError),
    /// Volumes of pods stay mounted.
    #[error("unmounting the volumes of pods")]
    Unmount(#[source] Box<dyn std::error::Error + Send + Sync>),
}
