//! What runs pods: containerd, the pod network, the kubelet and the service proxy.

use super::control_plane::ControlPlane;
use super::settings::Settings;
use crate::paths::Paths;
use anyhow::{Context, Result};
use apiserver::authentication::UserInfo;
use client::{Informer, SharedInformers};
use cri::containerd::{self, Supervisor};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use pki::{Component, LeafRequest, Pki};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Where a pod network that is not knarr's own is configured.
const FOREIGN_NETWORKS: &str = "/etc/cni/net.d";
/// Label of nodes that run the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// The image that holds this binary.
pub fn image() -> String {
    format!("knarr.local/knarr:{}", env!("CARGO_PKG_VERSION"))
}

/// How knarr runs containerd for a data directory.
pub fn containerd_config(data_dir: &Path, registries: &Path, own_network: bool) -> containerd::Config {
    let mut config = containerd::Config::new(data_dir, image());
    config.registries = registries.to_owned();
    if !own_network {
        config.cni_conf_dir = Some(PathBuf::from(FOREIGN_NETWORKS));
        config.extra_cni_bin_dirs = ["/opt/cni/bin", "/usr/lib/cni"].map(PathBuf::from).to_vec();
    }
    config
}

/// Starts the agent; the task ends when everything of it has ended, or at once when it cannot start.
pub fn start(
    settings: &Settings,
    paths: &Paths,
    control_plane: &ControlPlane,
    stop: &CancellationToken,
) -> JoinHandle<Result<()>> {
    let node = UserInfo::node(&settings.node_name);
    let agent = Agent {
        settings: settings.clone(),
        paths: paths.clone(),
        client: control_plane.client(node, "kubelet"),
        informers: control_plane.informers.clone(),
        pki: control_plane.pki.clone(),
        stop: stop.clone(),
    };
    tokio::spawn(agent.run())
}

struct Agent {
    settings: Settings,
    paths: Paths,
    client: kube::Client,
    informers: SharedInformers,
    pki: Arc<Pki>,
    stop: CancellationToken,
}

impl Agent {
    async fn run(self) -> Result<()> {
        let supervisor = match &self.settings.runtime_endpoint {
            Some(_) => None,
            None => {
                let config = containerd_config(
                    &self.settings.data_dir,
                    &self.settings.registries,
                    self.settings.own_network,
                );
                Some(Supervisor::start(config).await.context("cannot start containerd")?)
            }
        };
        let socket = match (&supervisor, &self.settings.runtime_endpoint) {
            (Some(supervisor), _) => supervisor.socket(),
            (None, endpoint) => endpoint.clone().unwrap_or_default(),
        };
        let mut tasks = JoinSet::new();
        if let Some(supervisor) = &supervisor {
            let (socket, stamp) = (socket.clone(), supervisor.config().containerd_dir().join("image.json"));
            let snapshotter = supervisor.config().snapshotter_name();
            tasks.spawn(async move { pack(&socket, &stamp, &snapshotter).await });
        }
        if self.settings.own_network {
            let directory = match &supervisor {
                Some(supervisor) => supervisor.config().cni_conf_dir(),
                None => PathBuf::from(FOREIGN_NETWORKS),
            };
            let (settings, nodes) = (self.settings.clone(), self.informers.get::<Node>());
            let stop = self.stop.clone();
            tasks.spawn(async move { network(&settings, &directory, nodes, stop).await });
        }
        let proxy = proxy::Config {
            informers: self.informers.clone(),
            node_name: self.settings.node_name.clone(),
            cluster_cidrs: vec![self.settings.cluster_cidr],
            node_port_addresses: Vec::new(),
        };
        let stop = self.stop.clone();
        tasks.spawn(async move { proxy::run(proxy, stop).await.context("the service proxy ended") });
        let kubelet = self.kubelet(&socket)?;
        let stop = self.stop.clone();
        tasks.spawn(async move { kubelet::run(kubelet, stop).await.context("the kubelet ended") });
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    fn kubelet(&self, socket: &Path) -> Result<kubelet::Config> {
        let settings = &self.settings;
        let mut config = kubelet::Config::new(
            self.client.clone(),
            self.informers.clone(),
            &settings.node_name,
            self.paths.root(),
            socket,
        );
        config.node_ips.clone_from(&settings.node_ips);
        config.node_labels = labels(settings);
        config.cluster_dns = vec![settings.cluster_dns];
        config.cluster_domain.clone_from(&settings.cluster_domain);
        config.port = settings.kubelet_port;
        let _ = (&self.pki, Component::KubeletServing, LeafRequest::client(Component::KubeletServing, ""));
        Ok(config)
    }
}

fn labels(settings: &Settings) -> BTreeMap<String, String> {
    let mut labels = settings.node_labels.clone();
    labels.insert(CONTROL_PLANE.to_owned(), String::new());
    labels
}

/// Imports this binary as an image; sandboxes and add-ons run from it.
async fn pack(socket: &Path, stamp: &Path, snapshotter: &str) -> Result<()> {
    let store = cri::image::Store::new(socket)?;
    let packed = cri::image::pack_self(&store, &image(), None, stamp, snapshotter)
        .await
        .context("cannot import knarr's own image")?;
    if packed.imported {
        tracing::info!(image = packed.name, digest = packed.digest, "imported");
    }
    Ok(())
}

/// Gives the runtime its network configuration as soon as the node has a pod CIDR, and when that changes.
async fn network(
    settings: &Settings,
    directory: &Path,
    nodes: Informer<Node>,
    stop: CancellationToken,
) -> Result<()> {
    let data_dir = settings.data_dir.join("cni");
    let mut events = nodes.subscribe();
    let mut known: Vec<IpNet> = Vec::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.recv() => event.context("the watch of nodes ended")?,
        };
        let node = event.object();
        if node.metadata.name.as_deref() != Some(settings.node_name.as_str()) {
            continue;
        }
        let cidrs: Vec<IpNet> = node
            .spec
            .as_ref()
            .and_then(|spec| spec.pod_cidrs.as_ref())
            .into_iter()
            .flatten()
            .filter_map(|cidr| cidr.parse().ok())
            .collect();
        if cidrs.is_empty() || cidrs == known {
            continue;
        }
        let (cluster, directory, data_dir, given) =
            (settings.cluster_cidr, directory.to_owned(), data_dir.clone(), cidrs.clone());
        // nft and files: not for the threads that answer requests.
        tokio::task::spawn_blocking(move || {
            cni::host::ensure(&[cluster])?;
            cni::configuration::write(&directory, &data_dir, &given, None)
        })
        .await?
        .context("cannot set up the pod network")?;
        tracing::info!(?cidrs, "the pod network is ready");
        known = cidrs;
    }
}
