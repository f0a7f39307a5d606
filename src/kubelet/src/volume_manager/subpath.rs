//! `subPath`: showing a part of a volume, whatever links the pod's own processes plant in it.
//!
//! The path is opened one way only, below the volume's root (openat2 with RESOLVE_BENEATH), and what was
//! opened is bind-mounted to a place that no pod can reach; the runtime is given that place.

use super::mounts;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use thiserror::Error;

/// A subpath cannot be shown.
#[derive(Debug, Error)]
pub enum SubpathError {
    /// It is absolute or has `..`.
    #[error("subPath {0:?} must be a relative path without \"..\"")]
    Invalid(String),
    /// Opening or making it failed, or it leads out of the volume.
    #[error("subpath {path:?} of volume: {source}")]
    Open {
        /// The subpath.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Mounting failed.
    #[error("mounting subpath at {path}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Mounts `subpath` of the volume at `volume` onto `target` and returns `target`. What is missing is made as
/// directories, unless the volume is read-only. A mount from an earlier container is replaced.
///
/// # Errors
/// When the subpath leads out of the volume or cannot be mounted.
pub fn prepare_subpath(
    volume: &Path,
    subpath: &str,
    target: &Path,
    read_only: bool,
) -> Result<PathBuf, SubpathError> {
    let relative = Path::new(subpath);
    let parts: Option<Vec<&Path>> = relative
        .components()
        .map(|part| match part {
            Component::Normal(name) => Some(Some(Path::new(name))),
            Component::CurDir => Some(None),
            _ => None,
        })
        .collect::<Option<Vec<Option<&Path>>>>()
        .map(|parts| parts.into_iter().flatten().collect());
    let parts = parts.ok_or_else(|| SubpathError::Invalid(subpath.to_owned()))?;
    let opened = open_below(volume, &parts, !read_only)
        .map_err(|source| SubpathError::Open { path: subpath.to_owned(), source })?;
    let mounting = |source| SubpathError::Mount { path: target.to_owned(), source };
    show(&opened, target).map_err(mounting)?;
    Ok(target.to_owned())
}

fn open_below(volume: &Path, parts: &[&Path], make: bool) -> io::Result<OwnedFd> {
    // The volume's own path is the kubelet's and safe to follow; a hostPath volume may itself be a link.
    let root = open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let whole: PathBuf = parts.iter().collect();
    if parts.is_empty() {
        return Ok(root);
    }
    match open_beneath(&root, &whole) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && make => {}
        other => return other,
    }
    let mode = Mode::from_bits_truncate(fstat(&root)?.st_mode & 0o7777);
    let mut walked = PathBuf::new();
    let mut parent = root.try_clone()?;
    for part in parts {
        walked.push(part);
        parent = match open_beneath(&root, &walked) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(&parent, *part, mode)?;
                open_beneath(&root, &walked)?
            }
            Err(error) => return Err(error),
        };
    }
    Ok(parent)
}

fn open_beneath(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how).map_err(io::Error::from)
}

fn show(opened: &OwnedFd, target: &Path) -> io::Result<()> {
    // A running container has its own copy of an older mount: taking this one away does not touch it.
    mounts::unmount(target)?;
    let is_directory = fstat(opened)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() == is_directory => {}
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(target)?,
        Ok(_) => fs::remove_file(target)?,
        Err(_) => {}
    }
    if is_directory {
        fs::create_dir_all(target)?;
    } else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(target)?;
    }
    mounts::bind(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())), target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_cannot_lead_out_of_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("volume");
        fs::create_dir(&volume).unwrap();
        fs::create_dir(directory.path().join("secret")).unwrap();
        std::os::unix::fs::symlink("../secret", volume.join("out")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("abs")).unwrap();
        std::os::unix::fs::symlink("real", volume.join("in")).unwrap();
        fs::create_dir(volume.join("real")).unwrap();
        let opened = |path: &str| open_below(&volume, &[Path::new(path)], true).map(drop);
        assert!(opened("out").is_err());
        assert!(opened("abs").is_err());
        opened("in").unwrap();
        open_below(&volume, &[Path::new("new"), Path::new("deep")], true).unwrap();
        assert!(volume.join("new/deep").is_dir());
        assert!(open_below(&volume, &[Path::new("none")], false).is_err());
    }

    #[test]
    fn parents_are_refused() {
        let error = prepare_subpath(Path::new("/tmp"), "../etc", Path::new("/nowhere"), true).unwrap_err();
        assert!(matches!(error, SubpathError::Invalid(_)));
    }
}
