//! `knarr agent`: a node without a control plane.
//!
//! ```text
//!   joined: CA, API servers, kubelet's certificate
//!     └─> balancer ─┬─ as the node ────────> kubelet
//!                   └─ as system:kube-proxy ─> service proxy, pod network
//!   containerd as on every node (`server::agent`)
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`admission`] | asking a cluster to let it in |
//! | [`material`] | what joining left on disk |
//! | [`identity`] | certificates that are renewed by the certificates API |

pub mod admission;
pub mod identity;
pub mod material;

use crate::arguments;
use crate::commands::process::{self, State};
use crate::commands::start::DETACHED;
use crate::commands::{access, unit};
use crate::launch::prepare::{note_joined, prepare};
use crate::paths::Paths;
use crate::server::agent::{Agent, AgentSettings, KubeletServing};
use crate::server::{DRAIN, notify, remove_ready, stop_on_signals};
use crate::{launch, logging};
use anyhow::{Context, Result, bail};
use client::informer::Scope;
use client::{Balancer, Informer, Rest, SharedInformers};
use identity::{Identity, KUBELET_CLIENT, KUBELET_SERVING, Names, PROXY};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use material::Material;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The user that service proxies are.
const PROXY_USER: &str = "system:kube-proxy";

/// Runs a worker until it is told to end.
///
/// # Errors
/// When a flag is wrong, another server runs here, the node has not joined, or a part cannot start.
pub fn main(mut options: arguments::Agent) -> Result<ExitCode> {
    if std::env::var_os(DETACHED).is_some() {
        // Fails only for a process that leads a session already, which is what is wanted.
        let _ = nix::unistd::setsid();
    }
    logging::init(options.verbose);
    let paths = Paths::new(&std::path::absolute(&options.location.data_dir)?);
    // Nobody but the first part may choose a crypto provider, and all have to agree.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    std::fs::create_dir_all(paths.root())
        .with_context(|| format!("cannot make {}; run this as root", paths.root().display()))?;
    let _lock = process::lock(&paths)?;
    runtime.block_on(admission::join_by_flags(&options, &paths))?;
    let mut material = Material::load(&paths)?;
    if let Some(plan) = launch::read(&options.location.config, paths.root())? {
        tracing::info!("{} counts besides {}", plan.shown, options.location.config.display());
        prepare(&plan, &paths, options.node.container_runtime_endpoint.is_some())?;
        // `knarr join` may be under way, and undone yet.
        if !paths.before_join().exists() {
            note_joined(&plan, &paths)?;
        }
    }
    // Its certificate has its name, whatever the host is called by now.
    options.node.node_name.get_or_insert_with(|| material.node_name.clone());
    if !options.server.is_empty() {
        material.servers = servers(&options.server)?;
    }
    let settings = AgentSettings::of_worker(&options, &material, paths.root())?;
    if settings.node_name != material.node_name {
        bail!(
            "this node joined as {:?}, and its certificate says so: it cannot be {:?} now; let it leave and join again",
            material.node_name,
            settings.node_name
        );
    }
    let outcome = runtime.block_on(run(settings, material, &paths));
    // Watches of files and the like may sit in blocking calls that nobody waits for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome.map(|()| ExitCode::SUCCESS)
}

/// API servers as `--server` gives them: k3s' URLs, or HOST:PORT.
fn servers(given: &[String]) -> Result<Vec<String>> {
    given
        .iter()
        .map(|server| {
            let bare = server.strip_prefix("https://").unwrap_or(server).trim_end_matches('/');
            if bare.contains("://") || bare.contains('/') {
                bail!("--server {server:?} is not https://HOST:PORT");
            }
            Ok(bare.to_owned())
        })
        .collect()
}

async fn run(settings: AgentSettings, material: Material, paths: &Paths) -> Result<()> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    remove_ready(paths);
    let outcome = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        outcome = start(&settings, &material, paths, &stop) => outcome,
    };
    let mut parts = outcome?;
    process::write_state(paths, &state(&settings, &material))?;
    access::share(paths);
    std::fs::write(paths.ready_file(), "")?;
    notify::ready();
    tracing::info!(node = settings.node_name, "the agent runs");
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        Some(ended) = parts.join_next() => ended.unwrap_or_else(|error| Err(error.into())),
    };
    remove_ready(paths);
    notify::stopping();
    stop.cancel();
    if tokio::time::timeout(DRAIN, async { while parts.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("some parts did not end within {DRAIN:?}");
    }
    tracing::info!("ended");
    outcome
}

/// Starts everything; each part ends when it was told to, or with an error that ends the rest.
async fn start(
    settings: &AgentSettings,
    material: &Material,
    paths: &Paths,
    stop: &CancellationToken,
) -> Result<JoinSet<Result<()>>> {
    let balancer = Balancer::new(&material.servers, Some(&Material::servers_file(paths)))?;
    let identity = |kind: identity::Kind, name: String| -> Result<Arc<Identity>> {
        Ok(Arc::new(Identity::load(kind, name, Material::identity_file(paths, kind.file))?))
    };
    let node_user = format!("system:node:{}", settings.node_name);
    let kubelet = identity(KUBELET_CLIENT, node_user.clone())?;
    let proxy = identity(PROXY, PROXY_USER.to_owned())?;
    let serving = identity(KUBELET_SERVING, node_user)?;
    if kubelet.not_after().is_none_or(|end| end < Timestamp::now()) {
        bail!(
            "the certificate of this node has ended or is not there; let it join again (`knarr add-node` on a \
             control-plane node)"
        );
    }
    let connect = |identity: &Identity, component: &str| -> Result<kube::Client> {
        let tls = client::connect::tls_builder(material.ca_pem.as_bytes())?;
        let tls = tls.with_client_cert_resolver(identity.resolver());
        Ok(client::balanced(&balancer, tls, component)?)
    };
    let client = connect(&kubelet, "kubelet")?;
    let rest = Rest::new(client.clone());
    // One that is still good is not waited for: a node has to start while no API server does.
    proxy.renew(&rest, &Names::default(), Timestamp::now).await;
    let informers = SharedInformers::new(client.clone());
    let network_informers = SharedInformers::new(connect(&proxy, "kube-proxy")?);

    let mut parts = JoinSet::new();
    let slices = network_informers.get::<EndpointSlice>();
    spawn(&mut parts, stop, balancer.clone().follow(slices));
    for identity in [kubelet, proxy] {
        let (rest, balancer) = (rest.clone(), balancer.clone());
        spawn(&mut parts, stop, async move { identity.keep(&rest, || balancer.reconnect()).await });
    }
    let own = Scope::fields(format!("metadata.name={}", settings.node_name));
    let names = own_names(informers.scoped::<Node>(&own), &mut parts, stop);
    let resolver = serving.resolver();
    let upkeep = async move { serving.follow(&rest, names).await };
    let agent = Agent {
        settings: settings.clone(),
        client,
        informers,
        network_informers,
        serving: KubeletServing {
            resolver,
            client_authorities: authorities(&material.ca_pem)?,
            upkeep: Box::pin(upkeep),
        },
        control_plane: None,
        stop: stop.clone(),
    };
    parts.spawn(agent.run());
    Ok(parts)
}

/// The names of this node, as its object tells them.
fn own_names(
    nodes: Informer<Node>,
    parts: &mut JoinSet<Result<()>>,
    stop: &CancellationToken,
) -> watch::Receiver<Names> {
    let (tell, told) = watch::channel(Names::default());
    spawn(parts, stop, async move {
        let mut events = nodes.subscribe();
        while let Some(event) = events.recv().await {
            let names = Names::of(event.object());
            tell.send_if_modified(|current| {
                let differs = *current != names;
                *current = names;
                differs
            });
        }
    });
    told
}

fn spawn(
    parts: &mut JoinSet<Result<()>>,
    stop: &CancellationToken,
    part: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    parts.spawn(async move {
        stop.run_until_cancelled(part).await;
        Ok(())
    });
}

fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("the cluster's CA certificate is damaged; let the node join again")
}

fn state(settings: &AgentSettings, material: &Material) -> State {
    let first = material.servers.first().map(String::as_str).unwrap_or_default();
    let (address, port) = client::balancer::split(first).unwrap_or_default();
    State {
        node_name: settings.node_name.clone(),
        address: address.to_owned(),
        port,
        agent: true,
        runtime_endpoint: settings.runtime_endpoint.clone(),
        own_network: settings.own_network,
        files: Vec::new(),
        kubeconfig: None,
        arguments: std::env::args().skip(2).collect(),
        unit: unit::own(),
    }
}
