//! Datastore, API server, controllers, scheduler and add-ons.

use super::addresses;
use super::datastore_api::DatastoreApi;
use super::etcd_api;
use super::join::Joining;
use super::listen;
use super::nodes::Nodes;
use super::settings::{self, Settings};
use super::term;
use crate::backups::keeper::Keeper;
use crate::backups::source::Source;
use crate::commands::config::server_url;
use crate::commands::tools;
use crate::paths::Paths;
use addons::engine::{Engine, Straggler, manifests};
use addons::helm;
use anyhow::{Context, Result, bail};
use apimachinery::family::Family;
use apiserver::audit::{Auditor, Policy};
use apiserver::authentication::{RequestHeaderConfig, TokenSettings, UserInfo};
use apiserver::encryption::{self, Encryption};
use apiserver::registry::FieldExtractor;
use apiserver::{ApiServer, Config};
use client::SharedInformers;
use datastore::{Datastore, Options};
use jiff::Timestamp;
use pki::tls::{ALPN_HTTP, ClientAuth, client_config, server_config};
use pki::{Component, LeafRequest, Pki, ServingCertificate};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Wait between attempts to bring the add-ons up to date.
const ADDONS_RETRY: Duration = Duration::from_secs(5);

/// Wait after helm's first failure, and between looks for what it needs.
const HELM_RETRY: Duration = Duration::from_secs(15);

/// A running control plane.
pub struct ControlPlane {
    api: ApiServer,
    /// Certificates and keys.
    pub pki: Arc<Pki>,
    /// Informers of this process's controllers and scheduler.
    pub informers: SharedInformers,
    store: Arc<Datastore>,
    nodes: Arc<Nodes>,
    /// Ends with the server; controllers go first, the API server after them.
    tasks: JoinSet<()>,
    serving: JoinSet<()>,
    stop_serving: CancellationToken,
}

/// Starts everything; returns when the API answers on `listener`, or with nothing when it was stopped before.
pub async fn start(
    settings: &Settings,
    paths: &Paths,
    nodes: &Arc<Nodes>,
    listener: TcpListener,
    stop: &CancellationToken,
) -> Result<Option<ControlPlane>> {
    let now = Timestamp::now();
    let directory = paths.pki();
    // First of all, since it clears its directory of what a killed process left.
    let pki = Arc::new(tokio::task::spawn_blocking(move || Pki::load_or_create(&directory, now)).await??);
    let encryption = encryption(settings, paths).await?;
    let options = Options {
        extractor: Arc::new(FieldExtractor::built_in()),
        sealer: encryption.clone().map(|encryption| encryption as _),
        cluster: Some(nodes.options()),
        compaction_interval: settings.compaction_interval,
        ..Options::default()
    };
    let store = Datastore::open(paths.datastore(), options).await.context("cannot open the datastore")?;
    let source = Source::new(paths, Some(&settings.state()));
    source.clean();
    let keeper = Arc::new(Keeper::new(Arc::clone(&store), source, settings.backups.clone()));
    nodes.set_pki(&pki);
    nodes.set_store(&store);
    if !nodes.wait_for_majority(stop).await? {
        store.shutdown().await;
        return Ok(None);
    }
    let family = Family::of(settings.service_cidr.primary().addr());
    if !settings.agent && !family.has(&settings.advertise) {
        tracing::warn!(
            address = %settings.advertise,
            "pods do not reach this API server: Services are {family}, and without an agent this node has no address \
             among pods; run a control-plane node without --disable-agent, or give this one an {family} address by \
             --node-ip"
        );
    }
    let kubelet_client =
        pki.leaf(&LeafRequest::client(Component::ApiServerKubeletClient, &settings.node_name), now)?;
    let authority = pki.cluster_ca().bundle()?;
    let front_proxy =
        pki.leaf(&LeafRequest::client(Component::FrontProxyClient, &settings.node_name), now)?;
    let front_proxy_name = vec!["front-proxy-client".to_owned()];
    let mut config = Config {
        service_cidrs: settings.service_cidr.to_vec(),
        // Without an agent nothing here programs cluster IPs.
        route_to_endpoints: settings.api_server.enable_aggregator_routing.unwrap_or(!settings.agent),
        node_ports: settings.node_ports.clone(),
        advertise_address: settings.advertise,
        https_port: settings.port,
        hostname: settings.node_name.clone(),
        open_paths: Some(Arc::new(Joining(Arc::clone(nodes)))),
        client_authorities: authority.clone(),
        serving_authorities: authority.clone(),
        request_header: Some(RequestHeaderConfig::new(pki.front_proxy_ca().bundle()?, front_proxy_name)),
        front_proxy_client: Some(front_proxy.certified_key()?),
        tokens: TokenSettings::for_domain(&settings.cluster_domain),
        audit: audit(settings)?,
        encryption: encryption.clone(),
        more_metrics: vec![client::metrics::write],
        extensions: vec![Arc::new(DatastoreApi(Arc::clone(&keeper)))],
        kubelet_client: Some(Arc::new(client_config(&authority, Some(&kubelet_client), &[b"http/1.1"])?)),
        ..Config::new(store.clone(), pki.load_service_account_keys()?)
    };
    settings.api_server.apply(&mut config)?;
    let mut clients = config.client_authorities.clone();
    clients.extend(config.request_header.iter().flat_map(|header| header.authorities.clone()));
    let api = ApiServer::new(config).await.context("cannot start the API server")?;
    nodes.set_api(&api);
    nodes.set_client(client::in_process(api.in_process(UserInfo::admin()), "knarr"));

    let serving = serving_certificate(settings, pki.clone(), now)?;
    let tls = server_config(serving.resolver(), &ClientAuth::Request(clients), &ALPN_HTTP)?;
    let stop_serving = CancellationToken::new();
    let mut serving_tasks = JoinSet::new();
    // First, so that whoever sees the server answer finds it.
    write_kubeconfigs(settings, paths, &pki, now)?;
    serving_tasks.spawn(api.clone().serve(listener, tls, stop_serving.clone()));

    let informers = SharedInformers::new(client::in_process(
        api.in_process(UserInfo::new("system:apiserver", &["system:masters"])),
        "knarr",
    ));
    let mut tasks = JoinSet::new();
    let until = stop.clone();
    etcd_api::start(&mut tasks, settings, &keeper, &pki, &serving, stop.clone()).await?;
    tasks.spawn(async move {
        tokio::select! {
            () = until.cancelled() => {}
            () = serving.watch_addresses(addresses::watch(), Timestamp::now) => {}
        }
    });
    if let Some(encryption) = &encryption {
        let (until, encryption) = (stop.clone(), Arc::downgrade(encryption));
        tasks.spawn(async move {
            until.run_until_cancelled(Encryption::watch(encryption)).await;
        });
    }
    tasks.spawn(keeper.run(stop.clone()));
    tasks.spawn(act(settings, &api, &pki, &informers, nodes, stop));
    tasks.spawn(Arc::clone(nodes).look_after(stop.clone()));
    let nodes = Arc::clone(nodes);
    Ok(Some(ControlPlane { api, pki, informers, store, nodes, tasks, serving: serving_tasks, stop_serving }))
}

impl ControlPlane {
    /// A client for a part of this process.
    pub fn client(&self, user: UserInfo, component: &str) -> kube::Client {
        client::in_process(self.api.in_process(user), component)
    }

    /// Waits until everything has ended: first those who use the API, with `agent`, then the API, then the datastore.
    pub async fn end(mut self, agent: impl Future<Output = ()>) {
        // Others go on writing at once, whatever takes its time here.
        if *self.nodes.clustered().borrow() {
            self.nodes.withdraw().await;
        }
        self.nodes.hand_over().await;
        agent.await;
        while self.tasks.join_next().await.is_some() {}
        self.informers.shutdown();
        self.stop_serving.cancel();
        while self.serving.join_next().await.is_some() {}
        self.store.shutdown().await;
    }
}

/// The encryption of the datastore. One that knarr made itself stays in use whatever the flags say later: without
/// its key the datastore could not be read.
async fn encryption(settings: &Settings, paths: &Paths) -> Result<Option<Arc<Encryption>>> {
    let path = match &settings.encryption {
        settings::Encryption::File(path) => path.clone(),
        other => {
            let own = paths.encryption();
            if *other == settings::Encryption::OwnKey && !own.exists() {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(paths.pki())?;
                pki::write_private(&own, encryption::new_configuration().as_bytes())?;
            }
            if !own.exists() {
                return Ok(None);
            }
            own
        }
    };
    let loaded = Encryption::load(&path).await;
    loaded.map(Some).with_context(|| format!("cannot use the encryption configuration {}", path.display()))
}

fn audit(settings: &Settings) -> Result<Option<Arc<Auditor>>> {
    let webhook = settings.api_server.audit_webhook.options()?;
    let Some((policy, log)) = &settings.audit else {
        if webhook.is_some() {
            bail!("--audit-webhook-config-file needs --audit-policy-file");
        }
        return Ok(None);
    };
    let loaded = Policy::load(policy).with_context(|| format!("cannot use {}", policy.display()))?;
    if log.is_none() && webhook.is_none() {
        bail!("--audit-policy-file needs --audit-log-path or --audit-webhook-config-file");
    }
    let mut log = log.clone();
    if let Some(log) = &mut log {
        log.delivery = settings.api_server.audit_log.delivery(log.delivery.clone())?;
    }
    let auditor = Auditor::new(loaded, log.clone(), webhook);
    let path = log.as_ref().map(|log| log.path.display().to_string()).unwrap_or_default();
    auditor.map(Some).with_context(|| format!("cannot write the audit log {path}"))
}

/// Takes the port of the API server.
///
/// # Errors
/// When somebody else has it.
pub fn listen(settings: &Settings) -> Result<TcpListener> {
    match listen::on(settings.bind) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("port {} is taken by another program; stop it, or give --https-listen-port", settings.port)
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {}", settings.bind)),
    }
}

fn serving_certificate(
    settings: &Settings,
    pki: Arc<Pki>,
    now: Timestamp,
) -> Result<Arc<ServingCertificate>> {
    let mut names = settings.san_names.clone();
    names.push(settings.node_name.clone());
    names.push(format!("kubernetes.default.svc.{}", settings.cluster_domain));
    let mut fixed = settings.san_addresses.clone();
    fixed.extend([settings.advertise, settings.first_service_address()]);
    fixed.extend(&settings.node_ips);
    let certificate = ServingCertificate::new(
        pki,
        Component::ApiServer,
        &settings.node_name,
        names,
        fixed,
        &addresses::all(),
        now,
    )?;
    Ok(Arc::new(certificate))
}

/// The administrator's kubeconfig, in the data directory and wherever else it was asked for.
fn write_kubeconfigs(settings: &Settings, paths: &Paths, pki: &Pki, now: Timestamp) -> Result<()> {
    let admin = pki.leaf(&LeafRequest::client(Component::Admin, &settings.node_name), now)?;
    let text = pki::kubeconfig("knarr", &local_url(settings), pki.cluster_ca().pem(), "admin", &admin);
    write_private(&paths.kubeconfig(), &text, 0o600)?;
    if let Some((path, mode)) = &settings.kubeconfig {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        write_private(path, &text, *mode)?;
    }
    Ok(())
}

/// Where programs of this machine find the API server.
fn local_url(settings: &Settings) -> String {
    let address = settings.bind.ip();
    let host = if address.is_unspecified() { "127.0.0.1".to_owned() } else { address.to_string() };
    server_url(&host, settings.port)
}

/// Writes a file that holds a key: whole or not at all, and never readable by others in between.
fn write_private(path: &Path, text: &str, mode: u32) -> Result<()> {
    pki::write_private(path, text.as_bytes())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Runs controllers, scheduler and add-on engine while this node is the one to act.
fn act(
    settings: &Settings,
    api: &ApiServer,
    pki: &Arc<Pki>,
    informers: &SharedInformers,
    nodes: &Arc<Nodes>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let as_user = |name: &str, component: &str| {
        client::in_process(api.in_process(UserInfo::new(name, &["system:authenticated"])), component)
    };
    let controllers = controllers::Config {
        client: as_user("system:kube-controller-manager", "kube-controller-manager"),
        informers: informers.clone(),
        identity: None,
        cluster_cidrs: settings.cluster_cidr.to_vec(),
        node_prefixes: settings.node_prefixes,
        node_monitor_grace_period: settings.node_monitor_grace_period,
        service_cidrs: settings.service_cidr.to_vec(),
        pki: Some(Arc::clone(pki)),
        root_ca_pem: pki.cluster_ca().pem().to_owned(),
        storage_version_migrator: api
            .resources()
            .any_version("storagemigration.k8s.io", "storageversionmigrations")
            .is_some(),
    };
    let scheduler = scheduler::Config {
        client: as_user("system:kube-scheduler", "kube-scheduler"),
        informers: informers.clone(),
        identity: settings.node_name.clone(),
        leader_elect: false,
    };
    let admin = client::in_process(api.in_process(UserInfo::admin()), "knarr");
    let others = Arc::downgrade(nodes);
    let gone = move |name: &str| others.upgrade().is_some_and(|nodes| nodes.is_gone(name));
    let election = term::election(admin, informers.clone(), &settings.node_name, gone);
    let helm = helm(settings, api, pki, informers);
    let (clustered, stop) = (nodes.clustered(), stop.clone());
    let (settings, api) = (settings.clone(), api.clone());
    async move {
        let work = |until: CancellationToken| {
            let (controllers, scheduler) = (controllers.clone(), scheduler.clone());
            let addons = addons(settings.clone(), api.clone(), helm.clone());
            async move {
                let controllers = async {
                    if let Err(error) = controllers::run(controllers, until.clone()).await {
                        tracing::error!("the controllers ended: {error}");
                    }
                };
                tokio::join!(
                    controllers,
                    scheduler::run(scheduler, until.clone()),
                    until.run_until_cancelled(addons)
                );
                // Parts that end by themselves do not end the term.
                until.cancelled().await;
            }
        };
        term::run(clustered, &election, &stop, work).await;
    }
}

/// What the controller of charts needs.
fn helm(settings: &Settings, api: &ApiServer, pki: &Arc<Pki>, informers: &SharedInformers) -> helm::Config {
    let paths = Paths::new(&settings.data_dir);
    let (pki, node, url) = (Arc::clone(pki), settings.node_name.clone(), local_url(settings));
    helm::Config {
        client: client::in_process(api.in_process(UserInfo::admin()), helm::COMPONENT),
        informers: informers.clone(),
        find: Arc::new(|| tools::find("helm")),
        kubeconfig: Arc::new(move || {
            let leaf = pki.leaf(&LeafRequest::client(Component::Helm, &node), Timestamp::now());
            let leaf = leaf.map_err(|error| error.to_string())?;
            Ok(pki::kubeconfig("knarr", &url, pki.cluster_ca().pem(), "helm", &leaf))
        }),
        work: paths.helm_work(),
        statics: paths.statics(),
        retry: HELM_RETRY,
    }
}

/// Brings the add-ons up to date, and looks after the folder of manifests and after charts.
async fn addons(settings: Settings, api: ApiServer, helm: helm::Config) {
    let engine =
        Engine::new(client::in_process(api.in_process(UserInfo::admin()), addons::engine::FIELD_MANAGER));
    let mut lagging = None;
    // The folder's record is a resource that the engine defines.
    let done = bring_up(&engine, &settings, &mut lagging).await;
    let folder = Paths::new(&settings.data_dir).manifests();
    let client = client::in_process(api.in_process(UserInfo::admin()), manifests::COMPONENT);
    tokio::join!(manifests::run(client, &folder, &settings.node_name), helm::run(helm), async {
        let mut done = done;
        while !done {
            tokio::time::sleep(ADDONS_RETRY).await;
            done = bring_up(&engine, &settings, &mut lagging).await;
        }
    });
}

/// Tries to bring the add-ons up to date; whether they are now. `lagging` is who was waited for before.
async fn bring_up(engine: &Engine, settings: &Settings, lagging: &mut Option<Straggler>) -> bool {
    let facts = addons::render::Settings {
        image: super::agent::image(),
        cluster_dns: settings.cluster_dns.to_string(),
        cluster_domain: settings.cluster_domain.clone(),
        data_dir: settings.data_dir.display().to_string(),
    };
    match engine.start(&facts, &settings.without_addons).await {
        Ok(None) => return true,
        Ok(found) => {
            if let Some(Straggler { node, version }) = found.as_ref().filter(|_| found != *lagging) {
                tracing::info!(
                    "the add-ons stay as they are until node {node} ({version}) has this version, too"
                );
            }
            *lagging = found;
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::warn!("cannot bring the add-ons up to date, trying again: {error:#}");
        }
    }
    false
}
