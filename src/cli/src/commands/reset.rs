//! `knarr reset`: everything of the cluster goes; certificates and the kubeconfig stay valid.

use super::progress::Progress;
use super::{process, start, stop};
use crate::arguments::Reset;
use crate::cluster::facts::Facts;
use crate::paths::Paths;
use anyhow::{Result, bail};
use std::process::ExitCode;

/// What a cluster leaves below the data directory.
const STATE: [&str; 5] = ["datastore", "kubelet", "cni/ipam", "cni/net.d", "cluster.json"];
/// What is kept unless it is to be destroyed: images, to be quick afterwards, and the data of volumes.
const STORAGE: [&str; 3] = ["containerd", "logs", "storage"];

/// Stops everything, removes the cluster's state and starts again if it ran.
///
/// # Errors
/// When something cannot be stopped or removed; a repetition goes on where this one ended.
pub async fn run(options: &Reset) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    if Facts::load(&paths)?.is_some() && !super::join::is_last(&paths).await {
        bail!(
            "this node is one of several: `knarr leave` makes it alone and empty, and `--force` if the others are gone"
        );
    }
    let ran = process::running(&paths)?.is_some();
    let arguments = process::state(&paths)?.map(|state| state.arguments).unwrap_or_default();
    let mut progress = Progress::new();
    stop::stop(&paths, &mut progress).await?;
    progress.step("Removing what the cluster held");
    let storage: &[&str] = if options.destroy_storage { &STORAGE } else { &[] };
    for name in STATE.iter().chain(storage) {
        super::leave::remove(&paths.root().join(name))?;
    }
    for logs in kubelet::outside_logs(paths.root()).iter().filter(|_| options.destroy_storage) {
        super::leave::remove(logs)?;
    }
    progress.done("The cluster is empty again.");
    if ran {
        start::again(&options.location, &arguments, &mut progress)?;
        progress.done("Started.");
    }
    Ok(ExitCode::SUCCESS)
}
