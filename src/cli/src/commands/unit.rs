//! The service manager's part: a node that a package has installed is a unit, and is started and stopped as one.
//!
//! Whoever starts such a server beside its unit gets one that nobody restarts, and that the next boot knows nothing of.

use crate::arguments::DATA_DIR;
use crate::paths::Paths;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// The units of packages, for a node with a control plane and for a worker. Which of them acts is a condition of both.
const SERVER: &str = "knarr.service";
const AGENT: &str = "knarr-agent.service";
/// There when systemd is the service manager (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Where units lie (systemd.unit(5)).
const FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The unit that a process belongs to; none if somebody started it by hand.
pub fn of_process(pid: i32) -> Option<String> {
    unit(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The unit that this process belongs to.
pub fn own() -> Option<String> {
    unit(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// Whether this process is a unit of systemd, which may restrict it in what containers must be free to do. A snap's may
/// not start others.
pub fn restricts() -> bool {
    Path::new(BOOTED).is_dir() && own().is_some() && std::env::var_os("SNAP").is_none()
}

/// The unit that runs the node of a data directory: the one that did last, or a package's.
///
/// # Errors
/// When what the server wrote down cannot be read.
pub fn of_node(paths: &Paths) -> Result<Option<String>> {
    if !Path::new(BOOTED).is_dir() {
        return Ok(None);
    }
    let recorded = super::process::state(paths)?.and_then(|state| state.unit);
    let usual = paths.root() == Path::new(DATA_DIR);
    let unit = chosen(recorded, usual, Material::exists(paths));
    Ok(unit.filter(|unit| snap_service(unit).is_some() || installed(unit)))
}

/// A node that becomes a worker, or ceases to be one, changes between the units of a package.
fn chosen(recorded: Option<String>, usual: bool, worker: bool) -> Option<String> {
    let packaged = if worker { AGENT } else { SERVER };
    match recorded {
        Some(unit) if unit == SERVER || unit == AGENT => Some(packaged.to_owned()),
        Some(unit) => Some(unit),
        None => usual.then(|| packaged.to_owned()),
    }
}

fn installed(unit: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(unit).exists())
}

/// Out of the text of `/proc/PID/cgroup`: `0::/system.slice/knarr.service` (cgroups(7)).
fn unit(cgroups: &str) -> Option<String> {
    let last = cgroups.lines().filter_map(|line| line.rsplit('/').next());
    last.filter(|name| name.ends_with(".service") && name.contains("knarr")).map(str::to_owned).next()
}

/// A snap's unit in the words of snapctl, which alone may act on it from within: `knarr.daemon`.
fn snap_service(unit: &str) -> Option<&str> {
    std::env::var_os("SNAP")?;
    unit.strip_prefix("snap.")?.strip_suffix(".service")
}

/// The command that has the service manager do something to a unit.
pub fn command(verb: &str, unit: &str) -> Command {
    let mut command = match snap_service(unit) {
        Some(service) => {
            let mut command = Command::new("snapctl");
            command.args([verb, service]);
            command
        }
        None => {
            let mut command = Command::new("systemctl");
            command.args([verb, unit]);
            command
        }
    };
    command.stdin(Stdio::null());
    command
}

/// Stops a unit, and waits until it is.
///
/// # Errors
/// When it does not stop.
pub fn stop(unit: &str) -> Result<()> {
    let ended = command("stop", unit).status().context("cannot run systemctl, which manages the server")?;
    if !ended.success() {
        bail!("`systemctl stop {unit}` ended with {ended}; `journalctl -u {unit}` tells more");
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

    #[test]
    fn a_node_has_the_unit_that_ran_it_last_or_that_of_its_package() {
        let recorded = |unit: &str| Some(unit.to_owned());
        assert_eq!(chosen(None, true, false).as_deref(), Some(SERVER));
        assert_eq!(chosen(None, true, true).as_deref(), Some(AGENT));
        assert_eq!(chosen(None, false, false), None, "another data directory is nobody's");
        assert_eq!(chosen(recorded(SERVER), true, true).as_deref(), Some(AGENT), "it has joined as a worker");
        assert_eq!(chosen(recorded(AGENT), false, false).as_deref(), Some(SERVER), "it has left");
        let own = "knarr-two.service";
        assert_eq!(chosen(recorded(own), false, true).as_deref(), Some(own));
    }

    #[test]
    fn units_that_are_not_there_are_not_started() {
        assert!(!installed("knarr-no-such.service"));
    }
}
