//! Taking a pod's directory away: unmount all below it, then remove what is left, never across a mount.

use super::mounts;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A pod's directory could not be taken away; it is tried again.
#[derive(Debug, Error)]
pub enum CleanUpError {
    /// The mount table cannot be read.
    #[error("reading the mount table")]
    Table(#[source] io::Error),
    /// Something stays mounted.
    #[error("unmounting {path}")]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file stays.
    #[error("removing {path}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another file system is mounted here: its contents are not the pod's.
    #[error("{0} is on another file system")]
    OtherDevice(PathBuf),
}

/// Unmounts everything below `directory`.
///
/// # Errors
/// When something stays mounted.
pub fn unmount_below(directory: &Path) -> Result<(), CleanUpError> {
    for path in mounts::mounts_below(directory).map_err(CleanUpError::Table)? {
        mounts::unmount(&path).map_err(|source| CleanUpError::Unmount { path, source })?;
    }
    Ok(())
}

/// Unmounts and removes a pod's directory; one that is gone is success.
///
/// # Errors
/// When something stays; calling it again is safe.
pub fn remove_pod_directory(directory: &Path) -> Result<(), CleanUpError> {
    unmount_below(directory)?;
    match fs::symlink_metadata(directory) {
        Ok(metadata) => remove(directory, &metadata, metadata.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(CleanUpError::Remove { path: directory.to_owned(), source }),
    }
}

fn remove(path: &Path, metadata: &fs::Metadata, device: u64) -> Result<(), CleanUpError> {
    if metadata.dev() != device {
        return Err(CleanUpError::OtherDevice(path.to_owned()));
    }
    let failed = |source| CleanUpError::Remove { path: path.to_owned(), source };
    if !metadata.is_dir() {
        return gone_is_fine(fs::remove_file(path)).map_err(failed);
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let child = entry.path();
        let metadata = fs::symlink_metadata(&child)
            .map_err(|source| CleanUpError::Remove { path: child.clone(), source })?;
        remove(&child, &metadata, device)?;
    }
    gone_is_fine(fs::remove_dir(path)).map_err(failed)
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_but_not_what_its_links_point_at() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let pod = directory.path().join("pod");
        fs::create_dir_all(pod.join("volumes/a")).unwrap();
        fs::write(pod.join("volumes/a/file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, pod.join("volumes/link")).unwrap();
        remove_pod_directory(&pod).unwrap();
        remove_pod_directory(&pod).unwrap();
        assert!(!pod.exists());
        assert!(outside.join("kept").exists());
    }
}
