//! `knarr datastore`: one file for each thing that can be done.
//!
//! A running server is asked at `/knarr/v1/datastore`; what needs the server stopped works on the files.

mod backup;
mod maintenance;
mod recover;
mod restore;
mod snapshots;

use super::process;
use crate::arguments::Location;
use crate::arguments::datastore::{Datastore, Recover};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use http::{Method, Request};
use nix::unistd::geteuid;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

/// Where the server serves what these commands ask.
pub const ROOT: &str = "/knarr/v1/datastore";

/// Does one of them.
///
/// # Errors
/// With what to do, when it cannot be done.
pub async fn run(what: &Datastore) -> Result<ExitCode> {
    match what {
        Datastore::Backup(options) => backup::run(options),
        Datastore::Restore(options) => restore::run(options).await,
        Datastore::Status(options) => maintenance::status(options).await,
        Datastore::Compact(options) => maintenance::compact(options).await,
        Datastore::Defrag(options) => maintenance::defrag(options).await,
        Datastore::History(options) => maintenance::history(options).await,
        Datastore::Snapshots(what) => snapshots::run(what).await,
        Datastore::Recover(options) => recover::run(options),
    }
}

/// `knarr server --cluster-reset`: k3s' way to say `knarr datastore recover --yes`.
///
/// # Errors
/// As for that.
pub fn reset_cluster(location: &Location) -> Result<ExitCode> {
    recover::run(&Recover { location: location.clone(), yes: true })
}

/// Asks the running server.
async fn ask<T: serde::de::DeserializeOwned>(paths: &Paths, method: Method, path: &str) -> Result<T> {
    if process::running(paths)?.is_none() {
        bail!("knarr is not running, try knarr start");
    }
    let client = process::client(paths).await?;
    Ok(client.request(request(method, path)?).await?)
}

fn request(method: Method, path: &str) -> Result<Request<Vec<u8>>> {
    Ok(Request::builder().method(method).uri(format!("{ROOT}{path}")).body(Vec::new())?)
}

/// Makes sure that whoever calls may change a node's files.
fn privileged(paths: &Paths) -> Result<()> {
    let root = paths.root();
    let own = |path: &Path| path.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
    if geteuid().is_root() || own(root) {
        return Ok(());
    }
    if root.exists() {
        bail!("{} belongs to somebody else; run this as root", root.display());
    }
    std::fs::create_dir_all(root).with_context(|| format!("cannot make {}; run this as root", root.display()))
}

/// Takes the lock that the server holds while it runs.
fn stopped(paths: &Paths, what: &str) -> Result<process::Lock> {
    std::fs::create_dir_all(paths.root())
        .with_context(|| format!("cannot make {}; run this as root", paths.root().display()))?;
    if let Some(pid) = process::running(paths)? {
        bail!(
            "knarr is running (process {pid}); stop it with `knarr stop` to {what}, and start it afterwards"
        );
    }
    process::lock(paths)
}

/// Where a node remembers which place it was given in a cluster, and its name there.
const TICKET: &str = "ticket";
const NODE_NAME: &str = "nodeName";

/// Forgets some of what a node remembers of a cluster: it is of another one now. What all nodes of that had in common
/// stays true.
fn forget(paths: &Paths, fields: &[&str]) -> Result<()> {
    let path = paths.cluster_facts();
    let Ok(bytes) = std::fs::read(&path) else { return Ok(()) };
    let facts = serde_json::from_slice::<serde_json::Value>(&bytes);
    let mut facts = facts.with_context(|| format!("{} is damaged; move it away", path.display()))?;
    if let Some(facts) = facts.as_object_mut() {
        facts.retain(|field, _| !fields.contains(&field.as_str()));
    }
    pki::write_private(&path, &serde_json::to_vec_pretty(&facts)?)?;
    Ok(())
}

/// Milliseconds since 1970.
fn now_millis() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
