//! `knarr reset`: everything of the cluster goes; certificates and the kubeconfig stay valid.

use super::process;
use super::stop;
use crate::arguments::{Reset, Start};
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
    stop::stop(&paths).await?;
    let storage: &[&str] = if options.destroy_storage { &STORAGE } else { &[] };
    for name in STATE.iter().chain(storage) {
        super::leave::remove(&paths.root().join(name))?;
    }
    println!("The cluster is empty again.");
    if !ran {
        return Ok(ExitCode::SUCCESS);
    }
    super::start::run(&Start { location: options.location.clone(), server: arguments })
}
