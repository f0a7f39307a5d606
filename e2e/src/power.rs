//! What a machine loses with its power. Machines of tests are network namespaces, so the kernel, its mounts and its
//! processes have to be taken away one by one.

use crate::node::PATIENCE;
use crate::wait;
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Where network namespaces have names.
const NAMESPACES: &str = "/run/netns";

/// Kills all processes that name one of the folders, and what they have started; then their pods' network namespaces,
/// what is mounted below the folders, and all of `run` are gone.
///
/// # Errors
/// When something does not end.
pub(crate) fn cut(folder: &Path, run: &Path) -> Result<()> {
    let mut inodes = BTreeSet::new();
    wait::until("all processes to be gone", PATIENCE, || {
        let all = processes(&[folder, run])?;
        for pid in &all {
            // It may have ended by itself.
            inodes.extend(inode(format!("/proc/{pid}/ns/net")));
            let _ = kill(*pid, Signal::SIGKILL);
        }
        if all.is_empty() { Ok(()) } else { bail!("{all:?}") }
    })?;
    unmount_below(run);
    unmount_below(folder);
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let pods = entry.file_name().to_str().is_some_and(|name| name.starts_with("cni-"));
        let path = entry.path();
        if pods && inode(&path).is_some_and(|inode| inodes.contains(&inode)) {
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            // A killed runtime still ends the call that it is in, which may be this very one.
            gone(std::fs::remove_file(&path)).with_context(|| path.display().to_string())?;
        }
    }
    gone(std::fs::remove_dir_all(run)).with_context(|| run.display().to_string())
}

/// What came of removing something that may not be there.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn inode(path: impl AsRef<Path>) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// All processes whose arguments name one of the folders, and all that they have started.
fn processes(folders: &[&Path]) -> Result<Vec<Pid>> {
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let mut parents = Vec::new();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) else {
            continue;
        };
        // Those that have ended meanwhile are passed over.
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        let mut fields = stat.rsplit_once(')').context("stat")?.1.split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|parent| parent.parse::<i32>().ok()));
        if state == Some("Z") {
            continue;
        }
        parents.push((pid, parent));
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if folders.iter().any(|folder| line.contains(folder)) {
            found.insert(pid);
        }
    }
    loop {
        let before = found.len();
        let children = parents.iter().filter_map(|(pid, parent)| found.contains(&(*parent)?).then_some(*pid));
        let children: Vec<_> = children.collect();
        found.extend(children);
        if found.len() == before {
            return Ok(found.into_iter().map(Pid::from_raw).collect());
        }
    }
}

/// Unmounts what is still mounted below a folder, the deepest first.
fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut below: Vec<&str> = mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(1))
        .filter(|p| Path::new(p).starts_with(folder))
        .collect();
    below.sort_unstable_by_key(|p| std::cmp::Reverse(p.len()));
    for path in below {
        let _ = umount2(path, MntFlags::MNT_DETACH);
    }
}
