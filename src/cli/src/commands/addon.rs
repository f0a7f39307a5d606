//! `knarr addon NAME`: the servers that add-on pods run.

use crate::arguments::addons::{
    AddonDashboard, AddonDns, AddonHostAccess, AddonIngress, AddonLoadbalancer, AddonMirrors, AddonPorts,
    AddonRegistry, AddonServer, AddonStorage,
};
use crate::logging;
use crate::server::listen;
use addons::arguments::address;
use addons::http::{self, Pages, Ready};
use addons::metrics_server::{self, KubeletClient};
use addons::{dashboard, dns, host_access, hostpath, ingress, loadbalancer, registry, resident};
use anyhow::{Context, Result, bail};
use apimachinery::quantity::Quantity;
use client::SharedInformers;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// When what the start needed of the program is not needed any more.
const STARTED: Duration = Duration::from_secs(10);

/// Where a pod finds its credentials.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Serves until the pod ends.
///
/// # Errors
/// When the server cannot start.
pub async fn serve(which: AddonServer) -> Result<ExitCode> {
    logging::init(0);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = cancel.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        ended.cancel();
    });
    tokio::spawn(async {
        tokio::time::sleep(STARTED).await;
        if let Err(error) = resident::forget_code() {
            tracing::debug!(%error, "the program stays in memory");
        }
    });
    match which {
        AddonServer::Dns(options) => serve_dns(options, cancel).await?,
        AddonServer::Storage(options) => serve_storage(options, cancel).await?,
        AddonServer::MetricsServer(options) => serve_metrics(options, cancel).await?,
        AddonServer::Registry(options) => serve_registry(options, cancel).await?,
        AddonServer::Ingress(options) => serve_ingress(options, cancel).await?,
        AddonServer::RegistryMirrors(options) => serve_mirrors(options, cancel).await?,
        AddonServer::HostAccess(options) => serve_host_access(options, cancel).await?,
        AddonServer::Loadbalancer(options) => serve_loadbalancer(options, cancel).await?,
        AddonServer::Dashboard(options) => serve_dashboard(options, cancel).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve_dns(options: AddonDns, cancel: CancellationToken) -> Result<()> {
    let mut upstream = Vec::new();
    for server in &options.forward {
        match address(server) {
            Some(address) => upstream.push(address),
            None => bail!("--forward {server:?} is not IP[:PORT]"),
        }
    }
    let client = client::in_cluster("knarr-dns").context("cannot reach the API server from this pod")?;
    let config = dns::Config {
        bind: options.bind,
        port: options.port,
        health_port: options.health_port,
        cluster_domain: options.cluster_domain,
        upstream,
        file: options.config_file,
        informers: SharedInformers::new(client),
    };
    Ok(dns::run(config, cancel).await?)
}

async fn serve_storage(options: AddonStorage, cancel: CancellationToken) -> Result<()> {
    let ready = Ready::default();
    health(options.health_port, ready.clone(), metrics_text, &cancel).await?;
    let config = hostpath::Config {
        node_name: options.node_name,
        directory: options.directory,
        quotas: Arc::new(hostpath::quota::Kernel),
        informers: informers("knarr-storage")?,
        ready,
    };
    hostpath::run(config, cancel).await;
    Ok(())
}

async fn serve_metrics(options: AddonPorts, cancel: CancellationToken) -> Result<()> {
    let ready = Ready::default();
    health(options.health_port, ready.clone(), metrics_text, &cancel).await?;
    let informers = informers("knarr-metrics-server")?;
    let (authority, changed) = metrics_server::watch_front_proxy(&informers).await?;
    let tls = metrics_server::front_proxy(&authority, "knarr-metrics-server.kube-system.svc")?;
    let kubelets =
        Arc::new(KubeletClient::new(format!("{SERVICE_ACCOUNT}/ca.crt"), format!("{SERVICE_ACCOUNT}/token")));
    let config = metrics_server::Config { informers, kubelets, period: metrics_server::PERIOD, ready };
    let metrics = metrics_server::start(config, cancel.clone()).await;
    let listener = listen(options.port)?;
    tokio::select! {
        () = http::serve(listener, Some(tls.acceptor), metrics, cancel) => Ok(()),
        // The kubelet starts the container again.
        () = changed => bail!("the front proxy has another authority now"),
    }
}

async fn serve_registry(options: AddonRegistry, cancel: CancellationToken) -> Result<()> {
    let limit: Quantity = options.size.parse().context("--size is no size")?;
    let limit = u64::try_from(limit.value()).context("--size is no size")?;
    let directory = &options.directory;
    let registry = registry::open(directory, limit, &listed(&options.proxy), cancel.clone())
        .with_context(|| format!("cannot use {}", directory.display()))?;
    let ready = Ready::default();
    let counted = registry.clone();
    health(options.ports.health_port, ready.clone(), move || counted.metrics(), &cancel).await?;
    let listener = listen(options.ports.port)?;
    ready.set();
    http::serve(listener, None, registry, cancel).await;
    Ok(())
}

fn listed(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

async fn serve_mirrors(options: AddonMirrors, cancel: CancellationToken) -> Result<()> {
    let ready = Ready::default();
    health(options.health_port, ready.clone(), metrics_text, &cancel).await?;
    let write = |proxy: &[String]| {
        registry::mirrors::write(&options.directory, proxy, &options.mirror)
            .with_context(|| format!("cannot write into {}", options.directory.display()))
    };
    for registry in write(&listed(&options.proxy))? {
        tracing::warn!(registry, "left alone: registries.yaml or somebody else says where its images are");
    }
    ready.set();
    cancel.cancelled().await;
    write(&[]).map(drop)
}

async fn serve_ingress(options: AddonIngress, cancel: CancellationToken) -> Result<()> {
    let ready = Ready::default();
    let config = ingress::Config {
        informers: informers("knarr-ingress")?,
        default_certificate: options.default_ssl_certificate,
        ready: ready.clone(),
        access_log: Some(|line| println!("{line}")),
    };
    let served = ingress::start(config, cancel.clone())?;
    let counted = served.plain.clone();
    health(options.ports.health_port, ready, move || counted.metrics(), &cancel).await?;
    let (plain, secure) = (listen(options.ports.port)?, listen(options.https_port)?);
    tokio::join!(
        http::serve(plain, None, served.plain, cancel.clone()),
        http::serve_over(secure, Some(served.entrance), served.secure, cancel),
    );
    Ok(())
}

async fn serve_loadbalancer(options: AddonLoadbalancer, cancel: CancellationToken) -> Result<()> {
    let ready = Ready::default();
    health(options.health_port, ready.clone(), metrics_text, &cancel).await?;
    let config = loadbalancer::Config {
        node_name: options.node_name,
        informers: informers("knarr-loadbalancer")?,
        ranges: loadbalancer::Ranges::read(&options.ranges).map_err(anyhow::Error::msg)?,
        links: Arc::new(loadbalancer::Kernel::default()),
        ready,
    };
    loadbalancer::run(config, cancel).await;
    Ok(())
}

async fn serve_host_access(options: AddonHostAccess, cancel: CancellationToken) -> Result<()> {
    let ready = Ready::default();
    health(options.health_port, ready.clone(), metrics_text, &cancel).await?;
    host_access::hold(options.ip, true).await.with_context(|| format!("cannot hold {}", options.ip))?;
    ready.set();
    cancel.cancelled().await;
    host_access::hold(options.ip, false).await.with_context(|| format!("cannot give up {}", options.ip))
}

async fn serve_dashboard(options: AddonDashboard, cancel: CancellationToken) -> Result<()> {
    let ready = Ready::default();
    health(options.ports.health_port, ready.clone(), metrics_text, &cancel).await?;
    let url = format!("https://{}", SocketAddr::new(options.api_host, options.api_port));
    let api = dashboard::ApiServer::new(url, options.api_authority)?;
    let listener = listen(options.ports.port)?;
    let tls = dashboard::tls()?;
    ready.set();
    http::serve(listener, Some(tls), dashboard::Dashboard::new(api, cancel.clone()), cancel).await;
    Ok(())
}

/// Listens at all addresses of the pod.
fn listen(port: u16) -> Result<TcpListener> {
    let address = (Ipv4Addr::UNSPECIFIED, port).into();
    listen::on(address).with_context(|| format!("cannot listen on port {port}"))
}

fn informers(component: &str) -> Result<SharedInformers> {
    let client = client::in_cluster(component).context("cannot reach the API server from this pod")?;
    Ok(SharedInformers::new(client))
}

/// Serves `/health`, `/ready` and `/metrics` beside an add-on's own work.
async fn health(
    port: u16,
    ready: Ready,
    metrics: impl Fn() -> String + Send + Sync + 'static,
    cancel: &CancellationToken,
) -> Result<()> {
    let listener = listen(port)?;
    let pages = Pages::new(ready, metrics);
    tokio::spawn(http::serve(listener, None, pages, cancel.clone()));
    Ok(())
}

fn metrics_text() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = client::metrics::write(&mut text);
    text
}
