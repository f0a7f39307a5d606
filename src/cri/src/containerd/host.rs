//! What the machine allows.

use std::path::{Path, PathBuf};

use super::error::ContainerdError;
use super::version::find_program;

/// Bit of CAP_SYS_RESOURCE (linux/capability.h).
const CAP_SYS_RESOURCE: u32 = 24;
/// Every container's shim, the log readers and many applications take an inotify instance each, and the
/// kernel's default of 128 per user fails them with "too many open files".
const INOTIFY_INSTANCES: u64 = 8192;
/// Watches: as other distributions set it; memory is taken only for watches in use.
const INOTIFY_WATCHES: u64 = 524_288;

/// An OCI runtime for containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciRuntime {
    /// Its executable.
    pub binary: PathBuf,
}

/// True if processes may be given a lower OOM score than ours. Without the capability, runc's attempt
/// kills every container at birth, and containerd has to be told not to ask.
pub fn can_lower_oom_score() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Unreadable: assume an ordinary root.
    effective_capabilities(&status).is_none_or(|set| set & (1 << CAP_SYS_RESOURCE) != 0)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// True if the kernel has overlayfs (as a module that is not loaded yet, too: mounting loads it).
pub fn has_overlayfs() -> bool {
    let listed = std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|list| list.lines().any(|line| line.split_whitespace().last() == Some("overlay")));
    if listed {
        return true;
    }
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let overlay = Path::new("/lib/modules").join(release).join("kernel/fs/overlayfs");
    std::fs::read_dir(overlay).is_ok_and(|mut entries| entries.next().is_some())
}

/// Finds runc, or crun where there is no runc.
pub fn oci_runtime() -> Result<OciRuntime, ContainerdError> {
    find_program("runc")
        .or_else(|| find_program("crun"))
        .map(|binary| OciRuntime { binary })
        .ok_or(ContainerdError::NotInstalled { program: "runc" })
}

/// Raises the kernel's inotify limits; never lowers them. A machine that forbids it is warned about once.
pub fn raise_inotify_limits() {
    for (name, wanted) in [("max_user_instances", INOTIFY_INSTANCES), ("max_user_watches", INOTIFY_WATCHES)] {
        let path = format!("/proc/sys/fs/inotify/{name}");
        let current = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        if current.is_some_and(|current| current < wanted)
            && let Err(error) = std::fs::write(&path, wanted.to_string())
        {
            tracing::warn!(%error, limit = name, "cannot raise an inotify limit; many pods may exhaust it");
        }
    }
}

/// Whether anything is mounted at or below a folder; true where that cannot be told.
pub fn has_mounts_below(folder: &Path) -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").map_or(true, |mounts| mounted_below(&mounts, folder))
}

/// The fifth field of a line is the mount point (proc_pid_mountinfo(5)).
fn mounted_below(mountinfo: &str, folder: &Path) -> bool {
    let mut points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.any(|point| Path::new(point).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_by_whole_path_segments() {
        let mounts = "1 2 0:1 / /run/knarr-1/a/rootfs rw - overlay overlay rw\n";
        assert!(mounted_below(mounts, Path::new("/run/knarr-1")));
        assert!(!mounted_below(mounts, Path::new("/run/knarr")));
    }

    #[test]
    fn the_capability_is_bit_24_of_the_effective_set() {
        let set = effective_capabilities("CapInh:\t0\nCapEff:\t000001fffeffffff\n").unwrap();
        assert_eq!(set & (1 << CAP_SYS_RESOURCE), 0);
        let set = effective_capabilities("CapEff:\t000001ffffffffff\n").unwrap();
        assert_ne!(set & (1 << CAP_SYS_RESOURCE), 0);
    }
}
