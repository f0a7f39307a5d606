//! `knarr remove-node`: the cluster forgets another node.

use super::process;
use crate::arguments::cluster::RemoveNode;
use crate::cluster::local::{Answer, Ask, ask};
use crate::paths::Paths;
use anyhow::{Result, bail};
use client::rest::DeleteOptions;
use client::{ObjectKey, Rest};
use k8s_openapi::api::core::v1::Node;
use std::process::ExitCode;
use std::time::Duration;

/// How long the datastore may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Removes a node from the datastore and from the API.
///
/// # Errors
/// When there is none, it is alive (without `--force`), or too few nodes are alive to change anything.
pub async fn run(options: &RemoveNode) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let name = &options.name;
    let was_member = match ask(&paths, &Ask::Status, PATIENCE).await? {
        Answer::Report(report) => report.members.iter().any(|member| member.name == *name),
        _ => false,
    };
    match ask(&paths, &Ask::Remove { name: name.clone(), force: options.force }, PATIENCE).await? {
        Answer::Done => {}
        Answer::Refused(why) => bail!("{why}"),
        Answer::Report(_) => bail!("the server's answer is not understood; run the same version"),
    }
    let (rest, key) = (Rest::new(process::client(&paths).await?), ObjectKey::cluster(name));
    let was_node = rest.get::<Node>(&key).await?.is_some();
    if !was_member && !was_node {
        bail!("there is no node {name}; `knarr kubectl get nodes` and `knarr status` tell which there are");
    }
    rest.delete::<Node>(&key, &DeleteOptions::default()).await?;
    println!("Node {name} is removed.");
    Ok(ExitCode::SUCCESS)
}
