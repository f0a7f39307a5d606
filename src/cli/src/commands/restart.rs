//! Doing something to a node's files while its server is stopped. Pods go on meanwhile.

use super::process::{self, Lock};
use super::start;
use crate::arguments::{Location, Start};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Stops the server if it runs, does something, and starts it again as it was started before, also when that failed.
///
/// # Errors
/// What is done fails, or the server does not stop or start.
pub async fn while_stopped(location: &Location, action: impl FnOnce(&Paths) -> Result<()>) -> Result<()> {
    let paths = Paths::new(&location.data_dir);
    let Some(pid) = process::running(&paths)? else {
        let _lock = locked(&paths)?;
        return action(&paths);
    };
    let arguments = process::state(&paths)?.map(|state| state.arguments).unwrap_or_default();
    let unit = unit_of(pid);
    match &unit {
        Some(unit) => systemctl("stop", unit)?,
        None => _ = process::terminate(&paths).await?,
    }
    let done = locked(&paths).and_then(|_lock| action(&paths));
    match &unit {
        Some(unit) => systemctl("start", unit)?,
        None => _ = start::run(&Start { location: location.clone(), server: arguments })?,
    }
    done
}

fn locked(paths: &Paths) -> Result<Lock> {
    if !paths.root().is_dir() {
        bail!(
            "knarr never ran with the data directory {}; start it with `knarr start`",
            paths.root().display()
        );
    }
    process::lock(paths)
}

/// The unit of the service manager that a process belongs to; none if somebody started it by hand.
pub fn unit_of(pid: i32) -> Option<String> {
    unit(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// Out of the text of `/proc/PID/cgroup`: `0::/system.slice/knarr.service` (cgroups(7)).
fn unit(cgroups: &str) -> Option<String> {
    let last = cgroups.lines().filter_map(|line| line.rsplit('/').next());
    last.filter(|name| name.ends_with(".service") && name.contains("knarr")).map(str::to_owned).next()
}

fn systemctl(verb: &str, unit: &str) -> Result<()> {
    let ended = Command::new("systemctl").args([verb, unit]).stdin(Stdio::null()).status();
    let ended = ended.context("cannot run systemctl, which manages the server")?;
    if !ended.success() {
        bail!("`systemctl {verb} {unit}` ended with {ended}; `journalctl -u {unit}` tells more");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_of_knarr_is_managed() {
        assert_eq!(unit("0::/system.slice/knarr.service\n").as_deref(), Some("knarr.service"));
        let snap = "12:pids:/system.slice/snap.knarr.daemon.service\n0::/x\n";
        assert_eq!(unit(snap).as_deref(), Some("snap.knarr.daemon.service"));
        assert_eq!(unit("0::/user.slice/user-0.slice/session-1.scope\n"), None);
        assert_eq!(unit("0::/system.slice/ssh.service\n"), None);
    }
}
