//! Rotates the log files of containers. Deciding is pure.

use cri::Runtime;
use jiff::Timestamp;
use k8s_cri::v1;
use std::fs;
use std::path::{Path, PathBuf};

/// How much and how many files to keep.
#[derive(Debug, Clone, Copy)]
pub struct LogPolicy {
    /// A file larger than this is rotated, in bytes.
    pub max_bytes: u64,
    /// Files kept, the one in use included.
    pub max_files: usize,
}

/// Rotates the logs of all running containers that have grown too large.
pub async fn rotate_logs(runtime: &dyn Runtime, policy: LogPolicy, log_root: &Path, now: Timestamp) {
    let running = v1::ContainerFilter {
        state: Some(v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 }),
        ..v1::ContainerFilter::default()
    };
    // Looking at the files first saves asking the runtime for each container's log path.
    let large = tokio::task::spawn_blocking({
        let root = log_root.to_owned();
        move || large_logs(&root, policy.max_bytes)
    });
    let Ok(large) = large.await else { return };
    if large.is_empty() {
        return;
    }
    let containers = match runtime.list_containers(Some(running)).await {
        Ok(containers) => containers,
        Err(error) => {
            tracing::debug!(%error, "listing containers for log rotation failed");
            return;
        }
    };
    for container in containers {
        let Ok(answer) = runtime.container_status(&container.id, false).await else { continue };
        let Some(path) = answer.status.map(|status| PathBuf::from(status.log_path)) else { continue };
        if !large.contains(&path) {
            continue;
        }
        let rotated = rotated_name(&path, now);
        if let Err(error) = fs::rename(&path, &rotated) {
            tracing::warn!(path = %path.display(), %error, "rotating log failed");
            continue;
        }
        if let Err(error) = runtime.reopen_container_log(&container.id).await {
            // Without a new file the container would go on writing into the old one under its new name.
            tracing::warn!(path = %path.display(), %error, "reopening log failed");
            let _ = fs::rename(&rotated, &path);
            continue;
        }
        for old in surplus(&rotated_logs(&path), policy.max_files) {
            let _ = fs::remove_file(old);
        }
    }
}

/// Removes a log with everything that was rotated away from it.
pub fn remove_logs(path: &Path) {
    for old in rotated_logs(path) {
        let _ = fs::remove_file(old);
    }
    let _ = fs::remove_file(path);
    // The container's directory goes with its last log.
    if let Some(parent) = path.parent() {
        let _ = fs::remove_dir(parent);
    }
}

fn rotated_name(path: &Path, now: Timestamp) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(now.strftime(".%Y%m%d-%H%M%S").to_string());
    name.into()
}

/// The files rotated away from a log, the oldest first: their names end in the time of their rotation.
fn rotated_logs(path: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut rotated: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    rotated.sort();
    rotated
}

/// The oldest files beyond what is kept beside the one in use.
fn surplus(rotated: &[PathBuf], max_files: usize) -> &[PathBuf] {
    let keep = max_files.saturating_sub(1);
    rotated.get(..rotated.len().saturating_sub(keep)).unwrap_or(&[])
}

/// Log files in use below `root` (`<pod>/<container>/<n>.log`) that are larger than `max_bytes`.
fn large_logs(root: &Path, max_bytes: u64) -> Vec<PathBuf> {
    let children = |path: &Path| {
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    children(root)
        .iter()
        .flat_map(|pod| children(pod))
        .flat_map(|container| children(&container))
        .filter(|file| file.extension().is_some_and(|extension| extension == "log"))
        .filter(|file| fs::metadata(file).is_ok_and(|metadata| metadata.len() > max_bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_files_in_use_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let container = directory.path().join("pod/container");
        fs::create_dir_all(&container).unwrap();
        fs::write(container.join("0.log"), "12345").unwrap();
        fs::write(container.join("0.log.20260101-000000"), "1234567").unwrap();
        fs::write(container.join("1.log"), "1").unwrap();
        assert_eq!(large_logs(directory.path(), 4), [container.join("0.log")]);
        assert_eq!(rotated_logs(&container.join("0.log")).len(), 1);
        remove_logs(&container.join("0.log"));
        assert_eq!(fs::read_dir(&container).unwrap().count(), 1);
    }

    #[test]
    fn the_oldest_go_first() {
        let files: Vec<PathBuf> = (1..=6).map(|n| PathBuf::from(format!("0.log.{n}"))).collect();
        assert_eq!(surplus(&files, 5), [PathBuf::from("0.log.1"), PathBuf::from("0.log.2")]);
    }
}
