//! A Debian 12 with its service manager, in a network namespace of its own: what packages are installed on.
//!
//! It boots from a copy of the tree that `e2e/tools.sh` makes, which has the packages that knarr's depends on in apt's
//! cache: no network is needed, and there is none.

use crate::machine::{Machine, text_of};
use crate::node::{PATIENCE, tool};
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running machine; ends with everything on it when dropped.
pub struct Debian {
    /// Its network.
    pub machine: Machine,
    folder: tempfile::TempDir,
    child: Child,
    init: Pid,
}

impl Debian {
    /// Boots a machine, and waits until all that is to run does.
    ///
    /// # Errors
    /// Without the tree of `e2e/tools.sh`, or when something does not start.
    pub fn boot(name: &str) -> Result<Self> {
        let tree = tool("debian-12");
        ensure!(tree.is_dir(), "{} is missing; e2e/tools.sh makes it (debootstrap)", tree.display());
        // Not on /tmp if that is a tmpfs: overlay file systems are made in it.
        let folder = tempfile::Builder::new().prefix("knarr-debian-").tempdir_in("/var/tmp")?;
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(tree.join("."))
            .arg(folder.path())
            .output()?;
        text_of("cp", copied)?;
        let machine = Machine::new(name, "10.77.0.2")?;
        let log = std::fs::File::create(folder.path().join("boot.log"))?;
        let child = machine
            .command(concat!(env!("CARGO_MANIFEST_DIR"), "/boot.sh"))
            .arg(folder.path())
            .arg(machine.name())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        // nsenter and the script become the process whose child is the machine's first.
        let parent = child.id();
        let mut booting = Self { machine, folder, child, init: Pid::from_raw(0) };
        booting.init = wait::until("the machine's first process", PATIENCE, || {
            let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
            let init = children.split_whitespace().next().context("none yet")?;
            let runs = std::fs::read_to_string(format!("/proc/{init}/comm"))?;
            ensure!(runs.trim() == "systemd", "{}", booting.log());
            Ok(Pid::from_raw(init.parse()?))
        })?;
        wait::until("the machine to be up", PATIENCE, || {
            match booting.shell("systemctl is-system-running") {
                Ok(_) => Ok(()),
                Err(error) => bail!("{error:#}\n{}", booting.log()),
            }
        })?;
        Ok(booting)
    }

    /// A file or folder of the machine, as it is seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// Puts a file onto the machine, and answers where it is there.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn put(&self, file: &Path) -> Result<String> {
        let name = file.file_name().and_then(|name| name.to_str()).context("a name")?;
        let place = format!("/root/{name}");
        std::fs::copy(file, self.path(&place)).with_context(|| format!("copying {}", file.display()))?;
        Ok(place)
    }

    /// Runs a shell script on the machine as root and answers its output.
    ///
    /// # Errors
    /// When it exits non-zero, with all it printed.
    pub fn shell(&self, script: &str) -> Result<String> {
        let output = Command::new("nsenter")
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--"])
            .args([
                "/usr/bin/env",
                "-i",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root",
            ])
            .args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "/bin/bash", "-ec", script])
            .stdin(Stdio::null())
            .output()?;
        text_of(script, output)
    }

    /// Waits until a script succeeds.
    ///
    /// # Errors
    /// After [`PATIENCE`], with the last reason and the journal of knarr's unit.
    pub fn eventually(&self, what: &str, script: &str) -> Result<String> {
        wait::until(what, PATIENCE, || self.shell(script)).with_context(|| self.journal())
    }

    /// What knarr's units had to say last.
    pub fn journal(&self) -> String {
        self.shell("journalctl --no-pager --lines 40 --unit 'knarr*' || true").unwrap_or_default()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("boot.log")).unwrap_or_default()
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the units' journal ends with:\n{}", self.journal());
        }
        // All other processes of the machine, and its mounts, end with the first.
        let _ = kill(self.init, Signal::SIGKILL);
        let _ = self.child.wait();
        let roots =
            std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
            remove_cgroups(&root.join(self.machine.name()));
        }
    }
}

/// Removes a cgroup and all below; processes in them have ended.
fn remove_cgroups(cgroup: &Path) {
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(cgroup);
}
