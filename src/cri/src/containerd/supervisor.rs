//! Starts or adopts containerd, keeps it running, and stops it when told to.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::error::ContainerdError;
use super::host;
use super::process::Process;
use super::registries::Registries;
use super::shims;
use super::toml::{self, Facts};
use super::version::{Version, find_program};
use crate::{Client, CriError, Runtime};

/// How often the socket is tried while containerd starts; a start takes 100 to 300 ms.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// A containerd with thousands of containers to recover needs its time; after this it is stuck.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an adopted containerd may take to answer before it is replaced: on a machine that is busy with an upgrade,
/// one that is well was seen to need more than five seconds, and replacing it costs more than waiting.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Wait before the first restart.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest wait between restarts: the node is down meanwhile.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A containerd that lived this long did not die of its start.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// Size at which the log is moved aside; with the older part, twice that on disk.
const LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// How often the log's size is looked at.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// What of the log goes into an error.
const LOG_TAIL_BYTES: u64 = 2048;
/// sun_path has 108 bytes with its final NUL; containerd appends ".ttrpc".
const LONGEST_SOCKET_PATH: usize = 107 - ".ttrpc".len();
/// Names under which the container runtime calls this executable as a CNI plugin.
const PLUGIN_NAMES: [&str; 2] = ["knarr-cni", "loopback"];

/// A containerd under Knarr's care.
///
/// Dropping it leaves containerd and all pods running: that is how a restart of knarr leaves them alone.
/// Only [`Supervisor::stop`] ends containerd (containers and their shims stay even then: stop the pods
/// first to stop those).
pub struct Supervisor {
    config: Config,
    client: Client,
    cancel: CancellationToken,
    watcher: Mutex<Option<JoinHandle<Process>>>,
}

/// Everything needed to start containerd again.
struct Launch {
    config: Config,
    program: PathBuf,
    fingerprint: String,
    client: Client,
}

impl Supervisor {
    /// Writes the configuration, adopts the containerd that runs with it or starts one, and returns when
    /// its CRI service answers.
    pub async fn start(config: Config) -> Result<Self, ContainerdError> {
        let launch = prepare(&config).await?;
        let client = launch.client.clone();
        let process = match adopt(&launch).await {
            Some(process) => process,
            None => {
                remove_stale_socket(&config);
                let mut process = Process::spawn(&launch.program, &config, &launch.fingerprint).await?;
                if let Err(error) = wait_ready(&launch, &mut process).await {
                    process.stop().await;
                    return Err(error);
                }
                process
            }
        };
        tracing::info!(pid = process.identity.pid, socket = %config.socket().display(), "containerd is ready");
        let cancel = CancellationToken::new();
        let watcher = tokio::spawn(watch(launch, process, cancel.clone()));
        Ok(Self { config, client, cancel, watcher: Mutex::new(Some(watcher)) })
    }

    /// CRI client of this containerd.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The socket of this containerd.
    pub fn socket(&self) -> PathBuf {
        self.config.socket()
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Ends containerd. Running containers are not touched.
    pub async fn stop(&self) {
        self.cancel.cancel();
        let Some(watcher) = self.watcher.lock().await.take() else { return };
        if let Ok(mut process) = watcher.await {
            process.stop().await;
        }
        let _ = std::fs::remove_file(self.config.process_file());
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Ends the containerd of this configuration, if one runs, and shims that it has lost: for `stop` and `reset` without a supervisor.
/// Returns whether there was one.
pub async fn stop_running(config: &Config) -> bool {
    let process = Process::adopt(config);
    let ran = process.is_some();
    if let Some(mut process) = process {
        process.stop().await;
        let _ = std::fs::remove_file(config.process_file());
    }
    shims::end(&config.socket());
    // A container's root that is still mounted must not be emptied.
    if !host::has_mounts_below(&config.run_dir) {
        let _ = std::fs::remove_dir_all(&config.run_dir);
    }
    ran
}

/// Directories, registry hosts, plugin links and `config.toml`.
async fn prepare(config: &Config) -> Result<Launch, ContainerdError> {
    let program = config
        .containerd
        .clone()
        .or_else(|| find_program("containerd"))
        .ok_or(ContainerdError::NotInstalled { program: "containerd" })?;
    let socket = config.socket();
    if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
        return Err(ContainerdError::SocketPath { path: socket });
    }
    let version = Version::of(&program).await?;
    let registries = Registries::load(&config.registries)?;
    for directory in [config.root_dir(), config.state_dir(), config.cni_bin_dir(), config.cni_conf_dir()] {
        std::fs::create_dir_all(&directory).map_err(ContainerdError::file(&directory))?;
    }
    registries.write_hosts(&config.certs_dir())?;
    link_plugins(config)?;
    host::raise_inotify_limits();
    let facts = Facts {
        version,
        runtime: host::oci_runtime()?,
        snapshotter: config.snapshotter_name(),
        restrict_oom_score: !host::can_lower_oom_score(),
    };
    let text = toml::render(config, &registries, &facts);
    toml::write_if_changed(&config.config_file(), &text)?;
    let mut fingerprint = digest::Context::new(&digest::SHA256);
    fingerprint.update(text.as_bytes());
    fingerprint.update(format!("{}\0{version:?}", program.display()).as_bytes());
    for (name, value) in &config.environment {
        fingerprint.update(format!("\0{name}={value}").as_bytes());
    }
    let fingerprint: String =
        fingerprint.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let client = Client::new(&socket).map_err(|last| ContainerdError::NotReady {
        after: Duration::ZERO,
        last,
        log: config.log_file(),
    })?;
    Ok(Launch { config: config.clone(), program, fingerprint, client })
}

/// The running containerd of an earlier knarr, if it has today's configuration and answers. One that does
/// not is ended; its containers live on.
async fn adopt(launch: &Launch) -> Option<Process> {
    let mut process = Process::adopt(&launch.config)?;
    if process.identity.fingerprint != launch.fingerprint {
        tracing::info!(pid = process.identity.pid, "restarting containerd: its configuration changed");
        process.stop().await;
        return None;
    }
    match tokio::time::timeout(ADOPT_TIMEOUT, poll_version(&launch.client)).await {
        Ok(()) => Some(process),
        Err(_) => {
            tracing::warn!(pid = process.identity.pid, "restarting containerd: it does not answer");
            process.stop().await;
            None
        }
    }
}

async fn poll_version(client: &Client) {
    while client.version().await.is_err() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until the CRI service answers, or the process ends.
async fn wait_ready(launch: &Launch, process: &mut Process) -> Result<(), ContainerdError> {
    let started = Instant::now();
    let log = launch.config.log_file();
    let mut last = CriError::Unavailable { message: "not asked yet".into() };
    let answered = async {
        while started.elapsed() < READY_TIMEOUT {
            // Before the socket exists there is nothing to ask, and a failed dial would cost a back-off.
            if launch.config.socket().exists() {
                match launch.client.version().await {
                    Ok(_) => return true,
                    Err(error) => last = error,
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        false
    };
    tokio::select! {
        ready = answered => {
            if ready {
                return Ok(());
            }
        }
        status = process.wait() => {
            return Err(ContainerdError::Died { status, tail: tail(&log), log });
        }
    }
    Err(ContainerdError::NotReady { after: READY_TIMEOUT, last, log })
}

/// Restarts containerd whenever it ends, and bounds its log; returns the process when cancelled.
async fn watch(launch: Launch, mut process: Process, cancel: CancellationToken) -> Process {
    let mut backoff = FIRST_BACKOFF;
    let mut since = Instant::now();
    let mut log_check = tokio::time::interval(LOG_CHECK_INTERVAL);
    log_check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let status = tokio::select! {
            () = cancel.cancelled() => return process,
            status = process.wait() => status,
            _ = log_check.tick() => {
                let log = launch.config.log_file();
                let _ = tokio::task::spawn_blocking(move || bound_log(&log)).await;
                continue;
            }
        };
        if since.elapsed() > STABLE_AFTER {
            backoff = FIRST_BACKOFF;
        }
        let log = launch.config.log_file();
        tracing::error!(status, tail = tail(&log), "containerd ended; restarting it after {backoff:?}");
        tokio::select! {
            () = cancel.cancelled() => return process,
            () = tokio::time::sleep(backoff) => {}
        }
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
        since = Instant::now();
        remove_stale_socket(&launch.config);
        match Process::spawn(&launch.program, &launch.config, &launch.fingerprint).await {
            Ok(started) => process = started,
            Err(error) => {
                tracing::error!(%error, "cannot restart containerd");
                continue;
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return process,
            ready = wait_ready(&launch, &mut process) => match ready {
                Ok(()) => tracing::info!(pid = process.identity.pid, "containerd is ready again"),
                Err(error) => {
                    tracing::error!(%error, "containerd did not come back");
                    process.stop().await;
                }
            }
        }
    }
}

/// A socket left by a killed containerd would be taken for a living one.
fn remove_stale_socket(config: &Config) {
    let _ = std::fs::remove_file(config.socket());
}

/// Gives this executable its plugin names: hard links, which a replaced executable does not break while
/// pods still run; symbolic ones on another file system.
fn link_plugins(config: &Config) -> Result<(), ContainerdError> {
    use std::os::unix::fs::MetadataExt;
    let executable = match &config.executable {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(ContainerdError::file("/proc/self/exe"))?,
    };
    let ours = std::fs::metadata(&executable).map_err(ContainerdError::file(&executable))?;
    for name in PLUGIN_NAMES {
        let path = config.cni_bin_dir().join(name);
        if std::fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        {
            continue;
        }
        let temporary = path.with_extension("new");
        let _ = std::fs::remove_file(&temporary);
        std::fs::hard_link(&executable, &temporary)
            .or_else(|_| std::os::unix::fs::symlink(&executable, &temporary))
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(ContainerdError::file(&path))?;
    }
    Ok(())
}

/// Moves the log's content aside when it has become too long. containerd appends, so cutting the file
/// under its feet is safe.
fn bound_log(path: &Path) {
    let too_long = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES);
    if !too_long {
        return;
    }
    let older = path.with_extension("log.1");
    let moved = std::fs::copy(path, older)
        .and_then(|_| std::fs::OpenOptions::new().write(true).open(path))
        .and_then(|mut file| {
            file.set_len(0)?;
            file.flush()
        });
    if let Err(error) = moved {
        tracing::warn!(%error, "cannot bound containerd's log");
    }
}

/// The end of the log.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("containerd.log");
        let file = std::fs::File::create(&log).unwrap();
        file.set_len(LOG_LIMIT_BYTES + 1).unwrap();
        bound_log(&log);
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        assert_eq!(
            std::fs::metadata(directory.path().join("containerd.log.1")).unwrap().len(),
            LOG_LIMIT_BYTES + 1
        );
    }

    #[test]
    fn plugins_are_links_to_the_executable_and_renewed_when_it_changes() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let executable = directory.path().join("knarr");
        let mut config = Config::new(directory.path(), "image");
        config.executable = Some(executable.clone());
        std::fs::create_dir_all(config.cni_bin_dir()).unwrap();
        for content in ["one", "two"] {
            let _ = std::fs::remove_file(&executable);
            std::fs::write(&executable, content).unwrap();
            link_plugins(&config).unwrap();
            link_plugins(&config).unwrap();
            let plugin = config.cni_bin_dir().join("knarr-cni");
            assert_eq!(
                std::fs::metadata(&plugin).unwrap().ino(),
                std::fs::metadata(&executable).unwrap().ino()
            );
            assert_eq!(std::fs::read_to_string(plugin).unwrap(), content);
        }
    }
}
