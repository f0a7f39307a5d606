//! etcd's API for reading, if it is wanted.

use super::listen;
use super::settings::Settings;
use crate::backups::keeper::Keeper;
use anyhow::{Context, Result};
use etcd::{SnapshotFile, View, ViewOptions};
use pki::tls::{ClientAuth, server_config};
use pki::{Pki, ServingCertificate};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The version of etcd whose API it is: what tools ask for when they choose what to call.
const VERSION: &str = concat!("3.6.0+knarr.", env!("CARGO_PKG_VERSION"));

/// Serves it, until it is told to stop; nothing when there is no port for it.
///
/// # Errors
/// When the port is taken, or the certificate cannot be used.
pub async fn start(
    tasks: &mut JoinSet<()>,
    settings: &Settings,
    keeper: &Arc<Keeper>,
    pki: &Pki,
    serving: &ServingCertificate,
    stop: CancellationToken,
) -> Result<()> {
    let Some(address) = settings.etcd_clients else { return Ok(()) };
    let listener =
        listen::on(address).with_context(|| format!("--etcd-client-port: cannot listen on {address}"))?;
    let clients = ClientAuth::Require(pki.cluster_ca().bundle()?);
    let tls = server_config(serving.resolver(), &clients, &[b"h2"])?;
    let reached = if address.ip().is_unspecified() { settings.address } else { address.ip() };
    let taker = Arc::clone(keeper);
    let view = View::new(ViewOptions {
        store: Arc::clone(keeper.store()),
        name: settings.node_name.clone(),
        client_urls: vec![format!("https://{}", SocketAddr::new(reached, address.port()))],
        version: VERSION.to_owned(),
        snapshot: Arc::new(move || {
            let keeper = Arc::clone(&taker);
            Box::pin(async move {
                let (folder, path) = keeper.summed().await.map_err(|error| format!("{error:#}"))?;
                Ok(SnapshotFile { path, guard: Box::new(folder) })
            })
        }),
    });
    tracing::info!(%address, "etcd's API is served for reading");
    tasks.spawn(etcd::serve(view, listener, tls, stop));
    Ok(())
}
