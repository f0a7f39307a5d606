//! `knarr uninstall`: nothing of what knarr has made on this machine is left.

use super::progress::Progress;
use super::{leave, process, stop};
use crate::arguments::DATA_DIR;
use crate::arguments::tools::Uninstall;
use crate::cluster::facts::Facts;
use crate::paths::Paths;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use cri::containerd::config::default_run_dir;
use nix::mount::{MntFlags, umount2};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Configuration of the usual data directory; another one's is the business of who gave it.
const CONFIGURATION: &str = "/etc/knarr";

/// What containerd, runc and CNI plugins make wherever they run, and leave behind when it is empty.
const SHARED: [&str; 7] = [
    "/run/containerd/runc/k8s.io",
    "/run/containerd/runc",
    "/run/containerd/s",
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni/results",
    "/var/lib/cni",
];

/// Stops everything and removes links, rules, mounts, cgroups and files. The program itself stays.
///
/// # Errors
/// When something cannot be stopped or removed; a repetition goes on where this one ended.
pub async fn run(options: &Uninstall) -> Result<ExitCode> {
    let root = std::path::absolute(&options.location.data_dir)?;
    let paths = Paths::new(&root);
    if !is_ours(&paths) {
        bail!(
            "there is nothing of Knarr in {}; give the --data-dir that it was started with",
            root.display()
        );
    }
    if Facts::load(&paths)?.is_some() && !options.force && !super::join::is_last(&paths).await {
        bail!("this node is one of several: `knarr leave` first, or --force if the others are gone");
    }
    if Material::exists(&paths) && !options.force {
        bail!("this node is a worker: `knarr leave` first, or --force if its cluster is gone");
    }
    if !options.yes && !confirmed(&root)? {
        return Ok(ExitCode::FAILURE);
    }
    let mut progress = Progress::new();
    let state = process::state(&paths)?;
    stop::stop(&paths, &mut progress).await?;
    progress.step("Removing mounts and files");
    let run_dir = default_run_dir(&root);
    for folder in [&root, &run_dir] {
        unmount_below(folder).with_context(|| format!("cannot unmount all below {}", folder.display()))?;
    }
    let kubeconfig = state.and_then(|state| state.kubeconfig);
    let logs = kubelet::outside_logs(&root);
    for path in kubeconfig.iter().chain(&logs).chain([&root, &run_dir]) {
        leave::remove(path)?;
    }
    for folder in SHARED {
        // Somebody else uses it, or it is not there.
        let _ = std::fs::remove_dir(folder);
    }
    if root == Path::new(DATA_DIR) {
        leave::remove(Path::new(CONFIGURATION))?;
    }
    progress.done("Nothing of Knarr is left but the program itself:");
    println!("  {}", std::env::current_exe().unwrap_or_else(|_| PathBuf::from("knarr")).display());
    Ok(ExitCode::SUCCESS)
}

/// Whether a server ever made this directory: a wrong --data-dir must not cost somebody's files.
fn is_ours(paths: &Paths) -> bool {
    paths.state_file().exists() || paths.datastore().exists() || Material::exists(paths)
}

fn confirmed(root: &Path) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this removes the cluster and everything in {}; say --yes if that is meant", root.display());
    }
    print!("This removes the cluster, its volumes and everything in {}. Go on? [y/N] ", root.display());
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Unmounts everything at or below a folder, what was mounted last first.
fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    for point in mounted_below(&mounts, folder) {
        match umount2(&point, MntFlags::MNT_DETACH) {
            // It went with one that it was in.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", point.display())),
        }
    }
    Ok(())
}

/// The fifth field of a line is the mount point, with blanks as octal numbers (proc_pid_mountinfo(5)).
fn mounted_below(mountinfo: &str, folder: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(|point| PathBuf::from(point.replace("\\040", " ")));
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mounted_last_is_unmounted_first() {
        let mounts = "1 0 0:1 / / rw - x x rw\n2 1 0:2 / /d/a rw - x x rw\n3 2 0:3 / /d/a/b\\040c rw - x x rw\n4 1 \
                      0:4 / /data rw - x x rw\n";
        assert_eq!(
            mounted_below(mounts, Path::new("/d")),
            [PathBuf::from("/d/a/b c"), PathBuf::from("/d/a")]
        );
    }

    #[test]
    fn a_folder_that_knarr_did_not_make_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        assert!(!is_ours(&paths));
        std::fs::create_dir(paths.datastore()).unwrap();
        assert!(is_ours(&paths));
    }
}
