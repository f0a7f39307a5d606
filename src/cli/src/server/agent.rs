//! What runs pods: containerd, the pod network, the kubelet and the service proxy.

use super::addresses;
use super::control_plane::ControlPlane;
use super::listen;
use super::network::PodNetwork;
use super::settings::{self, Settings};
use crate::arguments::{self, Network};
use crate::cluster::networks::Networks;
use crate::commands::unit;
use crate::paths::Paths;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use apiserver::authentication::UserInfo;
use client::rest::Patch;
use client::{ObjectKey, Rest, SharedInformers};
use cri::containerd::{self, Supervisor};
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kubelet::Kubelet;
use kubelet::server::{ImageArchives, PodSource, Server, ServerConfig, health};
use pki::{Component, ServingCertResolver, ServingCertificate};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Where a pod network that is not knarr's own is configured.
const FOREIGN_NETWORKS: &str = "/etc/cni/net.d";
/// Label of nodes that run the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// Where the kubelet tells this machine whether it is well (the kubelet's default).
const KUBELET_HEALTH_PORT: u16 = 10248;
/// Wait between attempts to give it: the node registers within a second.
const LABEL_RETRY: Duration = Duration::from_millis(250);

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

/// What an agent runs with.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Folder of all state.
    pub data_dir: PathBuf,
    /// Name of the node.
    pub node_name: String,
    /// Addresses that were given; empty to follow the default route.
    pub node_ips: Vec<IpAddr>,
    /// Labels of the node at its registration.
    pub node_labels: BTreeMap<String, String>,
    /// Addresses of pods.
    pub cluster_cidr: Networks,
    /// Addresses of Services, if they are known.
    pub service_cidr: Option<Networks>,
    /// Address of the DNS Service.
    pub cluster_dns: IpAddr,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// Where the kubelet listens.
    pub kubelet: SocketAddr,
    /// Socket of a foreign runtime.
    pub runtime_endpoint: Option<PathBuf>,
    /// Mirrors and credentials.
    pub registries: PathBuf,
    /// Variables of containerd.
    pub containerd_environment: BTreeMap<String, String>,
    /// Whether knarr makes the pod network.
    pub own_network: bool,
}

impl AgentSettings {
    fn of_server(settings: &Settings) -> Self {
        Self {
            data_dir: settings.data_dir.clone(),
            node_name: settings.node_name.clone(),
            node_ips: settings.node_ips.clone(),
            node_labels: settings.node_labels.clone(),
            cluster_cidr: settings.cluster_cidr,
            service_cidr: Some(settings.service_cidr),
            cluster_dns: settings.cluster_dns,
            cluster_domain: settings.cluster_domain.clone(),
            kubelet: SocketAddr::new(settings.bind.ip(), settings.kubelet_port),
            runtime_endpoint: settings.runtime_endpoint.clone(),
            registries: settings.registries.clone(),
            containerd_environment: settings.containerd_environment.clone(),
            own_network: settings.own_network,
        }
    }

    /// The settings of `knarr agent`.
    ///
    /// # Errors
    /// What is wrong with the flags, or that this is not root.
    pub fn of_worker(options: &arguments::Agent, material: &Material, data_dir: &Path) -> Result<Self> {
        let flags = &options.node;
        if !nix::unistd::geteuid().is_root() {
            bail!("running pods needs root; run this as root");
        }
        Ok(Self {
            data_dir: data_dir.to_owned(),
            node_name: settings::node_name(flags)?,
            node_ips: flags.node_ip.clone(),
            node_labels: settings::labels(&flags.node_label)?,
            cluster_cidr: material.cluster_cidr,
            service_cidr: material.service_cidr,
            cluster_dns: material.cluster_dns,
            cluster_domain: material.cluster_domain.clone(),
            kubelet: SocketAddr::new(options.bind_address, flags.kubelet_port),
            runtime_endpoint: flags.container_runtime_endpoint.clone(),
            registries: flags.private_registry.clone(),
            containerd_environment: settings::variables(&flags.containerd_env)?,
            own_network: flags.network == Network::Knarr,
        })
    }
}

/// How the kubelet shows itself to its clients, and whom it lets in.
pub struct KubeletServing {
    /// The certificate of the moment.
    pub resolver: Arc<ServingCertResolver>,
    /// Who signs clients' certificates.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// Keeps the certificate valid.
    pub upkeep: BoxFuture<'static, ()>,
}

/// Starts the agent of a control-plane node; the task ends when everything of it has ended, or at once when it cannot
/// start.
///
/// # Errors
/// When there is no certificate for the kubelet.
pub fn start(
    settings: &Settings,
    paths: &Paths,
    control_plane: &ControlPlane,
    stop: &CancellationToken,
) -> Result<JoinHandle<Result<()>>> {
    let node = UserInfo::node(&settings.node_name);
    let certificate = Arc::new(ServingCertificate::new(
        control_plane.pki.clone(),
        Component::KubeletServing,
        &settings.node_name,
        vec![settings.node_name.clone()],
        settings.node_ips.clone(),
        &addresses::all(),
        Timestamp::now(),
    )?);
    let serving = KubeletServing {
        resolver: certificate.resolver(),
        client_authorities: control_plane.pki.cluster_ca().bundle()?,
        upkeep: Box::pin(async move {
            certificate.watch_addresses(addresses::watch(), Timestamp::now).await;
        }),
    };
    let mut settings = AgentSettings::of_server(settings);
    settings.data_dir = paths.root().to_owned();
    let agent = Agent {
        settings,
        client: control_plane.client(node, "kubelet"),
        informers: control_plane.informers.clone(),
        network_informers: control_plane.informers.clone(),
        serving,
        control_plane: Some(control_plane.client(UserInfo::admin(), "knarr")),
        stop: stop.clone(),
    };
    Ok(tokio::spawn(agent.run()))
}

/// What runs pods, whoever it gets them from.
pub struct Agent {
    /// What it runs with.
    pub settings: AgentSettings,
    /// The API as the node.
    pub client: kube::Client,
    /// Caches for the kubelet.
    pub informers: SharedInformers,
    /// Caches for the service proxy and the pod network.
    pub network_informers: SharedInformers,
    /// The kubelet's certificate.
    pub serving: KubeletServing,
    /// The API as the administrator, on a node of the control plane: to say that it is one.
    pub control_plane: Option<kube::Client>,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Agent {
    /// Runs until stopped.
    ///
    /// # Errors
    /// When a part cannot start.
    pub async fn run(self) -> Result<()> {
        let supervisor = match &self.settings.runtime_endpoint {
            Some(_) => None,
            None => {
                let mut config = containerd_config(
                    &self.settings.data_dir,
                    &self.settings.registries,
                    self.settings.own_network,
                );
                config.own_service = unit::restricts();
                config.environment.clone_from(&self.settings.containerd_environment);
                Some(Supervisor::start(config).await.context("cannot start containerd")?)
            }
        };
        let socket = match (&supervisor, &self.settings.runtime_endpoint) {
            (Some(supervisor), _) => supervisor.socket(),
            (None, endpoint) => endpoint.clone().unwrap_or_default(),
        };
        let mut tasks = JoinSet::new();
        // Without an image for sandboxes no pod can start: the node is not Ready before it is there.
        let packed = CancellationToken::new();
        if let Some(supervisor) = &supervisor {
            let (socket, stamp) = (socket.clone(), supervisor.config().containerd_dir().join("image.json"));
            let snapshotter = supervisor.config().snapshotter_name();
            let done = packed.clone().drop_guard();
            tasks.spawn(async move {
                pack(&socket, &stamp, &snapshotter).await?;
                drop(done);
                Ok(())
            });
        } else {
            packed.cancel();
        }
        if self.settings.own_network {
            let directory = match &supervisor {
                Some(supervisor) => supervisor.config().cni_conf_dir(),
                None => PathBuf::from(FOREIGN_NETWORKS),
            };
            let network = PodNetwork {
                node_name: self.settings.node_name.clone(),
                cluster_cidrs: self.settings.cluster_cidr.to_vec(),
                service_cidrs: self.settings.service_cidr.map(Networks::to_vec).unwrap_or_default(),
                data_dir: self.settings.data_dir.join("cni"),
                directory,
            };
            let (nodes, stop) = (self.network_informers.get::<Node>(), self.stop.clone());
            let runtime = cri::Client::new(&socket)?;
            tasks.spawn(async move {
                packed.cancelled().await;
                network.run(nodes, runtime, stop).await
            });
        }
        let proxy = proxy::Config {
            informers: self.network_informers.clone(),
            node_name: self.settings.node_name.clone(),
            cluster_cidrs: self.settings.cluster_cidr.to_vec(),
            node_port_addresses: Vec::new(),
        };
        let stop = self.stop.clone();
        let (policies, until) = (proxy.clone(), self.stop.clone());
        tasks.spawn(async move { proxy::run(proxy, stop).await.context("the service proxy ended") });
        tasks.spawn(async move {
            proxy::policy::run(policies, until).await.context("the enforcement of network policies ended")
        });
        if let Some(admin) = &self.control_plane {
            let (rest, name) = (Rest::new(admin.clone()), self.settings.node_name.clone());
            let stop = self.stop.clone();
            tasks.spawn(async move {
                label_node(rest, &name, &stop).await;
                Ok(())
            });
        }
        self.kubelet(&socket, &mut tasks).await?;
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Starts the kubelet and its server.
    async fn kubelet(self, socket: &Path, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
        let settings = &self.settings;
        let mut config = kubelet::Config::new(
            self.client.clone(),
            self.informers.clone(),
            &settings.node_name,
            &settings.data_dir,
            socket,
        );
        config.node_ips.clone_from(&settings.node_ips);
        config.node_labels.clone_from(&settings.node_labels);
        config.cluster_dns = vec![settings.cluster_dns];
        config.cluster_domain.clone_from(&settings.cluster_domain);
        config.port = settings.kubelet.port();
        config.pod_networks = settings.cluster_cidr.to_vec();
        config.address_among_pods = settings.own_network;
        let runtime = Arc::new(cri::Client::new(socket)?);
        let kubelet = Kubelet::new(config, runtime.clone(), runtime.clone(), &self.stop)?;

        let address = settings.kubelet;
        let listener = listen::on(address).with_context(|| {
            format!(
                "cannot listen on {address} for the kubelet; stop what has this port, or give --kubelet-port"
            )
        })?;
        health_port(&self.stop, Arc::new(kubelet.clone()), tasks).await;
        let KubeletServing { resolver, client_authorities, upkeep } = self.serving;
        let server = ServerConfig {
            certificate: resolver,
            client_cas: client_authorities,
            client: self.client.clone(),
            node_name: settings.node_name.clone(),
            runtime,
            source: Arc::new(kubelet.clone()),
            images: ImageArchives::new(
                settings.data_dir.join("imports"),
                Arc::new(cri::image::Store::new(socket)?),
            ),
        };
        let server = Server::new(server, self.stop.clone())?;
        tasks.spawn(async move {
            server.serve(listener).await;
            Ok(())
        });
        let stop = self.stop.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(upkeep).await;
            Ok(())
        });
        let stop = self.stop.clone();
        tasks.spawn(async move {
            kubelet.run(stop).await;
            Ok(())
        });
        Ok(())
    }
}

/// Marks the node as one of the control plane. The kubelet must not do that itself: NodeRestriction keeps nodes from
/// giving themselves roles.
async fn label_node(rest: Rest, node_name: &str, stop: &CancellationToken) {
    let key = ObjectKey::cluster(node_name);
    let patch = Patch::Merge(json!({"metadata": {"labels": {(CONTROL_PLANE): ""}}}));
    while let Err(error) = rest.patch::<Node>(&key, "", &patch).await {
        if !client::rest::is_not_found(&error) {
            tracing::warn!("cannot label the node, trying again: {error}");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LABEL_RETRY) => {}
        }
    }
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

/// Answers to this machine whether the kubelet is well; nothing else depends on it.
async fn health_port(stop: &CancellationToken, source: Arc<dyn PodSource>, tasks: &mut JoinSet<Result<()>>) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, KUBELET_HEALTH_PORT));
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let stop = stop.clone();
            tasks.spawn(async move {
                health::serve(listener, source, stop).await;
                Ok(())
            });
        }
        Err(error) => tracing::warn!(%error, "nobody is told of the kubelet's health on {address}"),
    }
}
