//! A disk that is slow for one process: the kernel lets it write only so often (blkio.throttle of cgroup v1).

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

/// Where the controller is mounted.
const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// For as long as it is held, the process's disk is slow.
#[derive(Debug)]
pub struct SlowDisk {
    group: PathBuf,
}

impl SlowDisk {
    /// Lets a process write `per_second` times a second to the disk that a folder is on. None where the kernel cannot.
    ///
    /// # Errors
    /// When the process or the folder is not there.
    pub fn new(process: Pid, folder: &Path, per_second: u32) -> Result<Option<Self>> {
        let limit = format!("{CONTROLLER}/blkio.throttle.write_iops_device");
        if !Path::new(&limit).exists() {
            return Ok(None);
        }
        let device = nix::sys::stat::stat(folder)?.st_dev;
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let slow = Self { group: Path::new(CONTROLLER).join(format!("knarr-slow-{process}")) };
        std::fs::create_dir_all(&slow.group)?;
        let limit = format!("{major}:{minor} {per_second}");
        if std::fs::write(slow.group.join("blkio.throttle.write_iops_device"), limit).is_err() {
            // No disk: memory, or a file system over several.
            return Ok(None);
        }
        let procs = slow.group.join("cgroup.procs");
        std::fs::write(procs, process.to_string()).context("moving the process")?;
        Ok(Some(slow))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        for process in std::fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = std::fs::write(format!("{CONTROLLER}/cgroup.procs"), process);
        }
        let _ = std::fs::remove_dir(&self.group);
    }
}
