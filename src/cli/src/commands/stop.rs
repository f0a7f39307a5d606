//! `knarr stop`: the server, then every pod, then the container runtime and the network around them.

use super::process::{self, State};
use super::progress::Progress;
use crate::arguments::Stop;
use crate::paths::Paths;
use anyhow::{Context, Result};
use cri::containerd::Supervisor;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixStream;

/// The most that a container gets to end by itself: a person waits for the command.
const GRACE: Duration = Duration::from_secs(10);

/// Stops everything.
///
/// # Errors
/// When something cannot be ended; a repetition goes on where this one ended.
pub async fn run(options: &Stop) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let mut progress = Progress::new();
    stop(&paths, &mut progress).await?;
    progress.done("Stopped.");
    Ok(ExitCode::SUCCESS)
}

/// Stops everything of a data directory, and tells how far it is; what does not run is passed over.
///
/// # Errors
/// See [`run`].
pub async fn stop(paths: &Paths, progress: &mut Progress) -> Result<()> {
    progress.step("Stopping the server");
    process::terminate(paths).await?;
    // One that was killed has left it behind.
    let _ = std::fs::remove_file(paths.ready_file());
    let Some(state) = process::state(paths)? else { return Ok(()) };
    if !state.agent {
        return Ok(());
    }
    let socket = state.runtime_socket(paths);
    if socket.exists() {
        progress.step("Stopping all pods");
        // Pods outlive a runtime that was killed with the server, and only a runtime can end them.
        let dead = state.runtime_endpoint.is_none() && UnixStream::connect(&socket).await.is_err();
        let revived = if dead { Some(Supervisor::start(state.containerd(paths)).await?) } else { None };
        let runtime = cri::Client::new(&socket)?;
        let options = kubelet::StopOptions { grace: GRACE, remove: true };
        kubelet::stop_all_pods(&runtime, paths.root(), options).await.context("cannot stop all pods")?;
        if let Some(revived) = revived {
            revived.stop().await;
        }
    }
    if state.runtime_endpoint.is_none() {
        progress.step("Stopping the container runtime");
        cri::containerd::supervisor::stop_running(&state.containerd(paths)).await;
    }
    kubelet::end_pod_cgroups(paths.root()).await?;
    progress.step("Removing rules and links of the network");
    network(&state).await
}

/// Removes rules and links of pods and Services.
async fn network(state: &State) -> Result<()> {
    proxy::cleanup().await?;
    if state.own_network {
        tokio::task::spawn_blocking(cni::cleanup).await?.context("cannot remove the pod network")?;
    }
    Ok(())
}
