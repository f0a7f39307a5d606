//! The node's part of the pod network: its configuration for the runtime, rules that others may have flushed, and
//! what lost sandboxes left behind.

use anyhow::{Context, Result};
use client::Informer;
use cri::Runtime as _;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause between looks after the rules and leaked addresses. A firewall's reload that flushed the rules is mended
/// within it, as upstream's proxies do.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// The pod network of one node.
pub struct PodNetwork {
    /// The node.
    pub node_name: String,
    /// Addresses of all pods of the cluster.
    pub cluster_cidr: IpNet,
    /// Where the plugin keeps given addresses.
    pub data_dir: PathBuf,
    /// Where the runtime looks for network configurations.
    pub directory: PathBuf,
}

impl PodNetwork {
    /// Gives the runtime its configuration as soon as the node has a pod CIDR, and when that changes; then looks
    /// after it until stopped.
    ///
    /// # Errors
    /// When the network cannot be set up; failures of the housekeeping are only logged.
    pub async fn run(
        self,
        nodes: Informer<Node>,
        runtime: cri::Client,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut events = nodes.subscribe();
        let mut known = Vec::new();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = housekeeping.tick(), if !known.is_empty() => {
                    if let Err(error) = self.keep(&runtime).await {
                        tracing::warn!("cannot look after the pod network, trying again: {error:#}");
                    }
                    continue;
                }
                event = events.recv() => event.context("the watch of nodes ended")?,
            };
            let node = event.object();
            if node.metadata.name.as_deref() != Some(self.node_name.as_str()) {
                continue;
            }
            let cidrs = pod_cidrs(node);
            if cidrs.is_empty() || cidrs == known {
                continue;
            }
            self.set_up(&cidrs).await.context("cannot set up the pod network")?;
            tracing::info!(?cidrs, "the pod network is ready");
            known = cidrs;
            housekeeping.reset();
        }
    }

    // nft and files: not for the threads that answer requests.
    async fn set_up(&self, cidrs: &[IpNet]) -> Result<()> {
        let (cluster, directory, data_dir, given) =
            (self.cluster_cidr, self.directory.clone(), self.data_dir.clone(), cidrs.to_vec());
        tokio::task::spawn_blocking(move || {
            cni::host::ensure(&[cluster])?;
            cni::configuration::write(&directory, &data_dir, &given, None)
        })
        .await??;
        Ok(())
    }

    async fn keep(&self, runtime: &cri::Client) -> Result<()> {
        let sandboxes = runtime.list_pod_sandbox(None).await?;
        let alive: BTreeSet<String> = sandboxes.into_iter().map(|sandbox| sandbox.id).collect();
        let (cluster, data_dir) = (self.cluster_cidr, self.data_dir.clone());
        let leaked = tokio::task::spawn_blocking(move || {
            cni::host::ensure(&[cluster])?;
            anyhow::Ok(cni::garbage::collect(&data_dir, &alive)?)
        })
        .await??;
        if leaked > 0 {
            tracing::info!(leaked, "took back addresses of sandboxes that are gone");
        }
        Ok(())
    }
}

fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let cidrs = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_ref());
    cidrs.into_iter().flatten().filter_map(|cidr| cidr.parse().ok()).collect()
}
