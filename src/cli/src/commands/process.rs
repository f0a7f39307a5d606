//! The server process as other commands see it: a lock that it holds, and what it wrote about itself.

use super::unit;
use crate::paths::Paths;
use crate::server::agent;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a process is looked at while waiting for it.
const PERIOD: Duration = Duration::from_millis(20);

/// How long a server may take to drain before it is killed; nothing is lost then, the datastore is safe at
/// any instant.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server writes down for the commands that act on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Name of its node.
    pub node_name: String,
    /// Address that others reach it at.
    pub address: String,
    /// Port of the API server.
    pub port: u16,
    /// Whether it runs pods.
    pub agent: bool,
    /// Socket of a foreign CRI runtime; none when knarr runs containerd.
    pub runtime_endpoint: Option<PathBuf>,
    /// Whether knarr makes the pod network.
    pub own_network: bool,
    /// Flags it was started with, after `server`.
    pub arguments: Vec<String>,
    /// Files of its configuration, which belong into a backup.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// The further kubeconfig that it wrote.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The unit of the service manager that it runs as.
    #[serde(default)]
    pub unit: Option<String>,
}

impl State {
    /// How containerd runs here.
    pub fn containerd(&self, paths: &Paths) -> cri::containerd::Config {
        agent::containerd_config(paths.root(), Path::new(""), self.own_network)
    }

    /// The socket of the runtime: somebody else's, or that of knarr's containerd.
    pub fn runtime_socket(&self, paths: &Paths) -> PathBuf {
        self.runtime_endpoint.clone().unwrap_or_else(|| self.containerd(paths).socket())
    }
}

/// Held by the server for as long as it runs.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Takes the lock of a data directory and writes this process's id into it.
///
/// # Errors
/// When another server runs there, with its process id.
pub fn lock(paths: &Paths) -> Result<Lock> {
    let path = paths.pid_file();
    let file = open(&path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Lock { _file: file })
        }
        Err((_, Errno::EWOULDBLOCK)) => {
            let pid = running(paths)?.map_or_else(String::new, |pid| format!(" (process {pid})"));
            bail!(
                "another knarr server{pid} uses {}; stop it with `knarr stop`, or give this one its own --data-dir",
                paths.root().display()
            )
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn open(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .with_context(|| format!("cannot open {}; run this as root", path.display()))
}

/// The process id of the running server, if there is one.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn running(paths: &Paths) -> Result<Option<i32>> {
    let path = paths.pid_file();
    // Who may not look must not be told that there is none.
    if !path.try_exists().with_context(|| format!("cannot look at {}", path.display()))? {
        return Ok(None);
    }
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(None),
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text.trim().parse().ok())
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// What the server wrote down; `None` before its first start.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn state(paths: &Paths) -> Result<Option<State>> {
    let path = paths.state_file();
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(
            serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; start knarr again", path.display()))?,
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes down what the commands need to know.
///
/// # Errors
/// When the file cannot be written.
pub fn write_state(paths: &Paths, state: &State) -> Result<()> {
    let path = paths.state_file();
    // Flags may hold secrets.
    pki::write_private(&path, &serde_json::to_vec_pretty(state)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The socket of the runtime of this node's pods.
///
/// # Errors
/// When no pods ever ran here.
pub fn runtime_socket(paths: &Paths) -> Result<PathBuf> {
    match state(paths)? {
        Some(state) if state.agent => Ok(state.runtime_socket(paths)),
        Some(_) => bail!("this node runs no pods (--disable-agent): it has no container runtime"),
        None => bail!("knarr is not running here yet; start it with `knarr start`"),
    }
}

/// Workers hold no administrator's credentials.
///
/// # Errors
/// When this node is one, with where to go.
pub fn not_a_worker(paths: &Paths) -> Result<()> {
    if Material::exists(paths) {
        bail!("this node is a worker of a cluster; run this on one of its control-plane nodes");
    }
    Ok(())
}

/// A client as the administrator.
///
/// # Errors
/// When no server ever ran here or the kubeconfig cannot be read.
pub async fn client(paths: &Paths) -> Result<kube::Client> {
    not_a_worker(paths)?;
    let path = paths.kubeconfig();
    if !path.exists() {
        bail!("knarr is not running here yet; start it with `knarr start`");
    }
    // Every command is a process of its own: none chose a crypto provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    client::from_kubeconfig(&path, "knarr")
        .await
        .with_context(|| format!("cannot use {}; run this as root", path.display()))
}

/// Ends the server politely, then by force; answers whether one was running. One that a service manager looks after is
/// ended by that.
///
/// # Errors
/// When it cannot be signalled.
pub async fn terminate(paths: &Paths) -> Result<bool> {
    let Some(pid) = running(paths)? else { return Ok(false) };
    if let Some(unit) = unit::of_process(pid) {
        unit::stop(&unit)?;
        if running(paths)? != Some(pid) {
            return Ok(true);
        }
    }
    let start = Instant::now();
    signal(pid, Signal::SIGTERM)?;
    while running(paths)? == Some(pid) {
        if start.elapsed() > PATIENCE {
            signal(pid, Signal::SIGKILL)?;
        }
        tokio::time::sleep(PERIOD).await;
    }
    Ok(true)
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("cannot send {signal} to process {pid}; run this as root"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_in_one_folder_is_refused_with_the_first_ones_process() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        assert_eq!(running(&paths).unwrap(), None);
        let held = lock(&paths).unwrap();
        let error = lock(&paths).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        assert_eq!(running(&paths).unwrap(), None);
        lock(&paths).unwrap();
    }
}
