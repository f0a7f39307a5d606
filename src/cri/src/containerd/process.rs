//! A containerd process and its identity, which outlives us.

use std::fs::OpenOptions;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use super::config::Config;
use super::error::ContainerdError;
use super::service;

/// How long a containerd may take to end after SIGTERM; it only closes its database and sockets.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Who runs: written when a containerd was started, read by the next knarr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (proc(5), field 22 of stat): tells a reused pid apart.
    pub start_time: u64,
    /// Hash of configuration and version it was started with.
    pub fingerprint: String,
}

/// A running containerd, our child or adopted.
pub(super) struct Process {
    pub identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
    /// Kept to reap it and to know its exit status; None if adopted.
    child: Option<tokio::process::Child>,
}

impl Process {
    /// Starts containerd, as a child or as a service of its own.
    pub(super) async fn spawn(
        program: &Path,
        config: &Config,
        fingerprint: &str,
    ) -> Result<Self, ContainerdError> {
        let failed = |source| ContainerdError::Spawn { program: program.to_owned(), source };
        let (pid, child) = if config.own_service {
            (service::start(program, config).await.map_err(failed)?, None)
        } else {
            let child = Self::child(program, config)?;
            (child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default(), Some(child))
        };
        let identity = Identity {
            pid,
            start_time: start_time(pid).unwrap_or_default(),
            fingerprint: fingerprint.to_owned(),
        };
        let pidfd = open_pidfd(pid).map_err(failed)?;
        let process = Self { identity, pidfd, child };
        process.remember(&config.process_file())?;
        Ok(process)
    }

    /// In a process group of its own, so that a terminal's Ctrl-C reaches only us.
    fn child(program: &Path, config: &Config) -> Result<tokio::process::Child, ContainerdError> {
        let log_file = config.log_file();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_file)
            .map_err(ContainerdError::file(&log_file))?;
        let log_again = log.try_clone().map_err(ContainerdError::file(&log_file))?;
        let mut command = std::process::Command::new(program);
        command
            .arg("--config")
            .arg(config.config_file())
            .envs(&config.environment)
            .env("PATH", search_path())
            // What knarr tells the service manager is not containerd's to tell.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(log_again))
            .process_group(0);
        let failed = |source| ContainerdError::Spawn { program: program.to_owned(), source };
        // Never killed on drop: it must outlive us.
        tokio::process::Command::from(command).spawn().map_err(failed)
    }

    /// The containerd that an earlier knarr started for this configuration, if it still runs.
    pub(super) fn adopt(config: &Config) -> Option<Self> {
        let text = std::fs::read(config.process_file()).ok();
        let remembered = text.and_then(|text| serde_json::from_slice::<Identity>(&text).ok());
        let identity = remembered
            .filter(|identity| start_time(identity.pid) == Some(identity.start_time))
            .or_else(|| find(&config.config_file()))?;
        let pidfd = open_pidfd(identity.pid).ok()?;
        // It may have ended, and its pid been reused, before the descriptor held on to it.
        (start_time(identity.pid) == Some(identity.start_time)).then_some(Self {
            identity,
            pidfd,
            child: None,
        })
    }

    fn remember(&self, path: &Path) -> Result<(), ContainerdError> {
        let text = serde_json::to_vec(&self.identity).unwrap_or_default();
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, path))
            .map_err(ContainerdError::file(path))
    }

    /// Waits for its end; the text says how it ended.
    pub(super) async fn wait(&mut self) -> String {
        if let Some(child) = &mut self.child {
            return match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
        }
        // A pidfd becomes readable when the process ends.
        match self.pidfd.readable().await {
            Ok(_) => "its exit status is unknown: somebody else is its parent".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends it: SIGTERM, and SIGKILL when it does not listen.
    pub(super) async fn stop(&mut self) {
        let pid = Pid::from_raw(self.identity.pid);
        for (signal, patience) in [(Signal::SIGTERM, STOP_TIMEOUT), (Signal::SIGKILL, STOP_TIMEOUT)] {
            if start_time(self.identity.pid) != Some(self.identity.start_time) {
                return;
            }
            let _ = kill(pid, signal);
            if tokio::time::timeout(patience, self.wait()).await.is_ok() {
                return;
            }
        }
    }
}

/// Our PATH and the usual directories: containerd looks its shim, runc and mount helpers up there.
pub(super) fn search_path() -> String {
    let ours = std::env::var("PATH").unwrap_or_default();
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if ours.is_empty() { usual.to_owned() } else { format!("{ours}:{usual}") }
}

/// Start time of a process; None if there is none, or only its unreaped remains.
fn start_time(pid: i32) -> Option<u64> {
    if pid <= 0 {
        return None;
    }
    parse_start_time(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_start_time(stat: &str) -> Option<u64> {
    // The second field is the command in parentheses and may contain anything; count from behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Looks for a containerd that runs with our configuration file, in case its identity got lost.
fn find(config_file: &Path) -> Option<Identity> {
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let mut arguments = command.split(|byte| *byte == 0);
        let is_containerd = arguments.next().is_some_and(|program| program.ends_with(b"containerd"));
        let is_ours = arguments.next() == Some(b"--config".as_slice())
            && arguments.next() == Some(config_file.as_os_str().as_encoded_bytes());
        if is_containerd && is_ours {
            // No fingerprint: it will be restarted with the configuration of now.
            return Some(Identity { pid, start_time: start_time(pid)?, fingerprint: String::new() });
        }
    }
    None
}

#[allow(unsafe_code)]
fn open_pidfd(pid: i32) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: pidfd_open takes a pid and flags and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(result as i32) };
    // SAFETY: an OwnedFd stays open, and the same, for as long as the AsyncFd owns it.
    unsafe { AsyncFd::register(descriptor) }.map_err(std::io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_command_name() {
        let fields: Vec<String> =
            (3..=30).map(|field| if field == 3 { "S".into() } else { field.to_string() }).collect();
        let stat = format!("7 (a) b (c)) {}", fields.join(" "));
        assert_eq!(parse_start_time(&stat), Some(22));
        assert_eq!(parse_start_time(&stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn our_own_start_time_is_stable() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(pid).is_some());
        assert_eq!(start_time(pid), start_time(pid));
        assert_eq!(start_time(-1), None);
    }
}
