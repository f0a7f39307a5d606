//! `knarr stop`: the server, then every pod, then the container runtime and the network around them.

use super::process::{self, State};
use super::progress::Progress;
use crate::arguments::Stop;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::process::ExitCode;
use std::time::Duration;

/// The most that a container gets to end by itself: a person waits for the command.
const GRACE: Duration = Duration::from_secs(10);

/// Stops everything.
///
/// # Errors
/// When something cannot be ended; a repetition goes on where this one ended.
pub async fn run(options: &Stop) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let mut progress = Progress::new();
    progress.step("Stopping the server, all pods and the container runtime");
    stop(&paths).await?;
    progress.done("Stopped.");
    Ok(ExitCode::SUCCESS)
}

/// Stops everything of a data directory; what does not run is passed over.
///
/// # Errors
/// See [`run`].
pub async fn stop(paths: &Paths) -> Result<()> {
    process::terminate(paths).await?;
    let Some(state) = process::state(paths)? else { return Ok(()) };
    if !state.agent {
        return Ok(());
    }
    let socket = state.runtime_socket(paths);
    if socket.exists() {
        let runtime = cri::Client::new(&socket)?;
        let options = kubelet::StopOptions { grace: GRACE, remove: true };
        kubelet::stop_all_pods(&runtime, paths.root(), options).await.context("cannot stop all pods")?;
    }
    if state.runtime_endpoint.is_none() {
        cri::containerd::supervisor::stop_running(&state.containerd(paths)).await;
    }
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
