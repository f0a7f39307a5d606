//! `knarr leave`: this node is alone again.

use super::progress::Progress;
use super::{process, start, stop};
use crate::arguments::cluster::Leave;
use crate::cluster::facts::Facts;
use crate::cluster::local::{Answer, Ask, ask};
use crate::paths::Paths;
use crate::server::join::addresses;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use client::rest::DeleteOptions;
use client::{ObjectKey, Rest};
use k8s_openapi::api::core::v1::{Endpoints, Node};
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What belongs to a cluster, below the data directory.
pub const STATE: [&str; 9] = [
    "datastore",
    "pki",
    "certs-backup",
    "kubelet",
    "cni/ipam",
    "cni/net.d",
    "cluster.json",
    "admin.kubeconfig",
    "agent",
];
/// How long the cluster may take to let the node go.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long another node may take to forget it.
const FORGET: Duration = Duration::from_secs(10);

/// Has the node leave its cluster, and starts it anew if it ran.
///
/// # Errors
/// When the cluster does not let it go; nothing has changed then.
pub async fn run(options: &Leave) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let Some(state) = process::state(&paths)? else {
        bail!("knarr never ran here; there is nothing to leave")
    };
    if Material::exists(&paths) {
        return leave_as_worker(options, &paths, &state.node_name).await;
    }
    if Facts::load(&paths)?.is_none() {
        bail!("this node is alone: there is no cluster to leave");
    }
    let ran = process::running(&paths)?.is_some();
    let mut progress = Progress::new();
    let mut others = Vec::new();
    if ran {
        // Who can be told afterwards.
        let known = tokio::time::timeout(FORGET, servers(&paths)).await;
        let own = crate::cluster::target::place(&state.address, state.port);
        others = known.ok().and_then(Result::ok).unwrap_or_default();
        others.retain(|server| *server != own);
    }
    if !options.force {
        if !ran {
            bail!("knarr is not running: start it first with `knarr start`, so that the cluster knows of it");
        }
        progress.step("Telling the cluster that this node leaves");
        match ask(&paths, &Ask::Leave, PATIENCE).await? {
            Answer::Done => {}
            Answer::Refused(why) => bail!("{why}"),
            Answer::Report(_) => bail!("the server's answer is not understood; run the same version"),
        }
    }
    stop::stop(&paths, &mut progress).await?;
    progress.step("Removing what the cluster held");
    if state.agent && !forget(&paths, &state.node_name, &others).await {
        progress.done(&format!(
            "The cluster still lists the node: run `knarr remove-node {} --force` on one of the others.",
            state.node_name
        ));
    }
    for name in STATE {
        remove(&paths.root().join(name))?;
    }
    progress.done("This node has left the cluster.");
    if ran {
        start::again(&options.location, &state.arguments, &mut progress)?;
        progress.done("Started.");
    }
    Ok(ExitCode::SUCCESS)
}

/// A worker's credentials do not let it remove itself from the API.
async fn leave_as_worker(options: &Leave, paths: &Paths, name: &str) -> Result<ExitCode> {
    let ran = process::running(paths)?.is_some();
    let mut progress = Progress::new();
    stop::stop(paths, &mut progress).await?;
    for name in STATE {
        remove(&paths.root().join(name))?;
    }
    progress.done(&format!(
        "This node has left the cluster. Run `knarr remove-node {name}` on a node of the control plane."
    ));
    if ran {
        start::again(&options.location, &[], &mut progress)?;
        progress.done("Started.");
    }
    Ok(ExitCode::SUCCESS)
}

async fn servers(paths: &Paths) -> Result<Vec<String>> {
    let rest = Rest::new(process::client(paths).await?);
    let endpoints = rest.get::<Endpoints>(&ObjectKey::new("default", "kubernetes")).await?;
    Ok(endpoints.map(|endpoints| addresses(&endpoints)).unwrap_or_default())
}

/// Has one of the other API servers delete the Node.
async fn forget(paths: &Paths, name: &str, servers: &[String]) -> bool {
    let read = |file: &str| std::fs::read(paths.pki().join(file));
    let (Ok(authority), Ok(certificate), Ok(key)) = (read("ca.crt"), read("admin.crt"), read("admin.key"))
    else {
        return false;
    };
    for server in servers {
        let url = format!("https://{server}");
        let Ok(client) = client::mtls(&url, &authority, &certificate, &key, "knarr") else { continue };
        let (rest, key) = (Rest::new(client), ObjectKey::cluster(name));
        let options = DeleteOptions::default();
        let deleted = tokio::time::timeout(FORGET, rest.delete::<Node>(&key, &options)).await;
        if matches!(deleted, Ok(Ok(()))) {
            return true;
        }
    }
    servers.is_empty()
}

/// Removes a file or folder, if it is there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => std::fs::remove_file(path),
        other => other,
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
