//! A file system's project quotas as far as they matter here. The unit tests share it.

use super::quota::{CheckError, ProjectQuotas, Usage};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file system with projects.
#[derive(Default)]
pub struct Disk {
    /// Whether limits are looked at.
    pub enforces: AtomicBool,
    /// The projects of directories.
    pub projects: Mutex<BTreeMap<PathBuf, u32>>,
    /// What is said of projects.
    pub usage: Mutex<BTreeMap<u32, Usage>>,
}

impl ProjectQuotas for Disk {
    fn check(&self, _: &Path) -> std::result::Result<(), CheckError> {
        if self.enforces.load(Ordering::Relaxed) { Ok(()) } else { Err(CheckError::OnlyCounted) }
    }

    fn project(&self, directory: &Path) -> Result<Option<u32>> {
        directory.metadata()?;
        Ok(self.projects.lock().get(directory).copied())
    }

    fn set_project(&self, directory: &Path, project: u32) -> Result<()> {
        self.projects.lock().insert(directory.to_owned(), project);
        Ok(())
    }

    fn usage(&self, _: &Path, project: u32) -> Result<Usage> {
        Ok(self.usage.lock().get(&project).copied().unwrap_or_default())
    }

    fn set_limit(&self, _: &Path, project: u32, bytes: u64) -> Result<()> {
        self.usage.lock().entry(project).or_default().limit_bytes = bytes;
        Ok(())
    }
}
