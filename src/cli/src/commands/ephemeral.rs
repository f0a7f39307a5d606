//! `knarr ephemeral -- COMMAND`: a control plane for one command, as tests want it.
//!
//! The server is a process of its own: nothing of it is left whatever becomes of the command, and its memory is free at
//! once. Its data lie in memory (tmpfs), where waiting for the disk costs nothing.

use super::process;
use crate::arguments::tools::Ephemeral;
use crate::paths::Paths;
use addons::catalog;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command as AsyncCommand};
use tokio::signal::unix::{SignalKind, signal};

/// Tells a server that it ends with the process that started it.
pub const EPHEMERAL: &str = "KNARR_EPHEMERAL";
/// Names of data directories.
const PREFIX: &str = "knarr-ephemeral-";
/// Where memory is a file system.
const MEMORY: &str = "/dev/shm";
/// Longest wait for the server; a tenth of a second is its bar.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at: a part of what its start takes.
const PERIOD: Duration = Duration::from_millis(1);

/// Runs the command and answers as it did.
///
/// # Errors
/// When the server does not start, with the end of its log, or the command cannot be run.
pub async fn run(options: &Ephemeral) -> Result<ExitCode> {
    let Some((program, arguments)) = options.command.split_first() else {
        bail!("say what to run: knarr ephemeral -- COMMAND");
    };
    let parent = place();
    remove_left(&parent);
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent);
    let folder = folder.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    let paths = Paths::new(folder.path());
    // Whoever presses ^C means the command, which is told by the terminal.
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut server = Server::start(&paths, &options.server_flag)?;
    let ready = tokio::select! {
        ready = server.wait(&paths) => ready,
        _ = interrupts.recv() => bail!("interrupted"),
        _ = terminations.recv() => bail!("ended"),
    };
    ready?;
    let mut command = AsyncCommand::new(program);
    command.args(arguments).env("KUBECONFIG", paths.kubeconfig()).kill_on_drop(true);
    let mut child =
        command.spawn().with_context(|| format!("cannot run {}", Path::new(program).display()))?;
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended?,
            _ = interrupts.recv() => {}
            _ = terminations.recv() => pass_on(&child, Signal::SIGTERM),
        }
    };
    server.end();
    close(folder)?;
    Ok(code(ended))
}

/// The server's process; it ends with this.
struct Server(std::process::Child);

impl Server {
    fn start(paths: &Paths, flags: &[String]) -> Result<Self> {
        let log = File::create(paths.log_file())?;
        let without: Vec<&str> =
            catalog::all().iter().filter(|addon| addon.default).map(|addon| addon.name.as_str()).collect();
        let mut command = Command::new(std::env::current_exe()?);
        // Variables and the configuration file are for the node of this machine, not for this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_own(name)) {
            command.env_remove(name);
        }
        command
            .args(["server", "--disable-agent", "--bind-address=127.0.0.1", "--https-listen-port=0"])
            .args(["--node-name=ephemeral", "--node-ip=127.0.0.1", "--disable", &without.join(",")])
            .arg("--data-dir")
            .arg(paths.root())
            .args(flags)
            .env("KNARR_CONFIG", paths.root().join("config.yaml"))
            .env(EPHEMERAL, "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // ^C in a terminal goes to a whole group of processes.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(Self(command.spawn().context("cannot start the server")?))
    }

    async fn wait(&mut self, paths: &Paths) -> Result<()> {
        let (ready, start) = (paths.ready_file(), Instant::now());
        while !ready.exists() {
            let told = || std::fs::read_to_string(paths.log_file()).unwrap_or_default();
            if let Some(status) = self.0.try_wait()? {
                bail!("the server ended ({status}):\n{}", told());
            }
            if start.elapsed() > PATIENCE {
                bail!("the server does not answer after {PATIENCE:?}:\n{}", told());
            }
            tokio::time::sleep(PERIOD).await;
        }
        Ok(())
    }

    /// At once: there is nothing to keep.
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_own(variable: &OsStr) -> bool {
    variable.to_str().is_some_and(|name| name.starts_with("KNARR_") && name != "KNARR_LOG")
}

/// In memory if there is room for that, else where temporary files lie.
fn place() -> PathBuf {
    let memory = Path::new(MEMORY);
    let usable = statfs(memory).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
        && nix::unistd::access(memory, nix::unistd::AccessFlags::W_OK).is_ok();
    if usable { memory.to_owned() } else { std::env::temp_dir() }
}

/// Removes what was left by those who were killed: nobody holds its lock.
fn remove_left(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let paths = Paths::new(&entry.path());
        let left = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && paths.pid_file().exists()
            && matches!(process::running(&paths), Ok(None));
        if left {
            // Somebody else's cannot be removed, and need not.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn close(folder: TempDir) -> Result<()> {
    let path = folder.path().to_owned();
    folder.close().with_context(|| format!("cannot remove {}", path.display()))
}

fn pass_on(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// The command's own exit code; as shells have it when a signal ended it.
fn code(ended: ExitStatus) -> ExitCode {
    let code = ended.code().or_else(|| Some(128 + ended.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_answers_for_itself() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), ExitCode::from(7));
        assert_eq!(code(ExitStatus::from_raw(0)), ExitCode::SUCCESS);
        assert_eq!(code(ExitStatus::from_raw(9)), ExitCode::from(137));
    }

    #[test]
    fn what_was_left_is_removed_and_what_is_used_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = parent.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            Paths::new(&folder)
        };
        let (left, used, young, other) =
            (make("knarr-ephemeral-a"), make("knarr-ephemeral-b"), make("knarr-ephemeral-c"), make("x"));
        for paths in [&left, &other] {
            std::fs::write(paths.pid_file(), "1\n").unwrap();
        }
        let _lock = process::lock(&used).unwrap();
        remove_left(parent.path());
        assert!(!left.root().exists());
        assert!(used.root().exists() && young.root().exists() && other.root().exists());
    }

    #[test]
    fn the_variables_of_a_node_are_not_for_it() {
        assert!(is_own(OsStr::new("KNARR_DATA_DIR")) && is_own(OsStr::new("KNARR_SECRETS_ENCRYPTION")));
        assert!(!is_own(OsStr::new("KNARR_LOG")) && !is_own(OsStr::new("KUBECONFIG")));
    }
}
