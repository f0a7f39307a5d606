//! `knarr addon NAME`: the servers that add-on pods run.

use crate::arguments::{AddonDns, AddonServer, AddonStorage};
use crate::logging;
use addons::arguments::address;
use addons::http::{self, Pages, Ready};
use addons::{dns, hostpath};
use anyhow::{Context, Result, bail};
use client::SharedInformers;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

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
    match which {
        AddonServer::Dns(options) => serve_dns(options, cancel).await?,
        AddonServer::Storage(options) => serve_storage(options, cancel).await?,
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
        informers: informers("knarr-storage")?,
        ready,
    };
    hostpath::run(config, cancel).await;
    Ok(())
}

async fn listen(port: u16) -> Result<TcpListener> {
    let address = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on port {port}"))
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
    let listener = listen(port).await?;
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
