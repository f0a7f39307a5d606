//! `emptyDir`: a directory that lives as long as its pod, on disk or in memory.

use super::{mounts, ownership};
use crate::resources;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes the volume at `path`.
///
/// # Errors
/// Any I/O error.
pub fn set_up(path: &Path, source: &EmptyDirVolumeSource, pod: &Pod, group: Option<u32>) -> io::Result<()> {
    let fresh = !path.exists();
    fs::create_dir_all(path)?;
    let medium = source.medium.as_deref().unwrap_or("");
    if !medium.is_empty() && !mounts::is_mount_point(path) {
        match medium.strip_prefix("HugePages") {
            Some(size) => mounts::mount_hugetlbfs(path, &page_size(size, pod)?)?,
            None => mounts::mount_tmpfs(path, memory_size(source, pod))?,
        }
    } else if !fresh {
        return Ok(());
    }
    // Containers run as any user; who may do what in here is the pod's business.
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    match group {
        Some(group) => ownership::set_group(path, group, false),
        None => Ok(()),
    }
}

/// The smaller of the volume's own limit and what the pod may use at all: memory in the volume is charged to it.
fn memory_size(source: &EmptyDirVolumeSource, pod: &Pod) -> Option<u64> {
    let own = source.size_limit.as_ref().map(resources::value).filter(|size| *size > 0);
    let of_pod = resources::is_limited(pod, "memory").then(|| resources::pod_limit(pod, "memory"));
    let size = match (own, of_pod) {
        (Some(own), Some(of_pod)) => own.min(of_pod),
        (own, of_pod) => own.or(of_pod)?,
    };
    u64::try_from(size).ok()
}

/// `HugePages-2Mi` names its size; plain `HugePages` means the one size that the pod asks for.
fn page_size(suffix: &str, pod: &Pod) -> io::Result<String> {
    let named = suffix.strip_prefix('-').map(str::to_owned);
    let asked = || {
        let limits = crate::pod::containers(pod).iter().filter_map(resources::limits).flatten();
        let mut sizes: Vec<String> =
            limits.filter_map(|(name, _)| name.strip_prefix("hugepages-").map(str::to_owned)).collect();
        sizes.dedup();
        if sizes.len() == 1 { sizes.pop() } else { None }
    };
    let size = named.or_else(asked).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "medium HugePages needs hugepages of one size in the pod's limits",
        )
    })?;
    Ok(size.trim_end_matches('i').to_owned())
}
