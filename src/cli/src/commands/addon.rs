//! `knarr addon NAME`: the servers that add-on pods run.

use crate::arguments::{AddonDns, AddonServer};
use crate::logging;
use addons::dns;
use addons::render::address;
use anyhow::{Context, Result, bail};
use client::SharedInformers;
use std::process::ExitCode;
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
