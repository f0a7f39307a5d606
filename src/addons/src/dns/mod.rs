//! The server of the `dns` add-on: the Kubernetes DNS-Based Service Discovery specification 1.1.0 out of
//! Services and EndpointSlices; everything else is relayed to upstream servers and cached.
//!
//! ```text
//!  UDP, TCP ─> server ─> zone (cluster domain, reverse of known addresses)
//!                 └────> forward ─> cache ─> upstream servers, stub domains
//! ```

mod cache;
mod configuration;
mod forward;
mod health;
mod server;
mod watch;
mod zone;

use crate::http;
use client::SharedInformers;
use configuration::Configuration;
use forward::Forwarder;
use health::Health;
use parking_lot::RwLock;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use zone::Zone;

/// What the server needs.
#[derive(Clone)]
pub struct Config {
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on, UDP and TCP.
    pub port: u16,
    /// Port of `/health`, `/ready` and `/metrics`.
    pub health_port: u16,
    /// Domain of the cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// Upstream servers; those of `/etc/resolv.conf` when empty.
    pub upstream: Vec<SocketAddr>,
    /// File with upstream servers and stub domains, read again when it changes.
    pub file: Option<PathBuf>,
    /// Informers over the cluster.
    pub informers: SharedInformers,
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// A port cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The configuration is not valid at the start.
    #[error(transparent)]
    Configuration(#[from] configuration::ConfigurationError),
}

/// Serves until `cancel`.
///
/// # Errors
/// When a port cannot be had or the configuration is not valid.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), DnsError> {
    let zone = Arc::new(RwLock::new(Zone::new(&config.cluster_domain)));
    let health = Arc::new(Health::default());
    let first = Configuration::read(&config.upstream, config.file.as_deref())?;
    let forwarder = Arc::new(Forwarder::new(first, health.clone()));
    let address = SocketAddr::new(config.bind, config.port);
    let listeners =
        server::Listeners::bind(address).await.map_err(|source| DnsError::Listen { address, source })?;
    let health_address = SocketAddr::new(config.bind, config.health_port);
    let health_listener = tokio::net::TcpListener::bind(&*server::ways_to_bind(health_address))
        .await
        .map_err(|source| DnsError::Listen { address: health_address, source })?;

    let shared =
        Arc::new(server::Shared { zone: zone.clone(), forwarder: forwarder.clone(), health: health.clone() });
    let counted = health.clone();
    let pages = http::Pages::new(health.ready.clone(), move || counted.metrics());
    let watching = watch::watch(&config.informers, zone, health.clone());
    let reloading = configuration::reload(config.upstream.clone(), config.file.clone(), forwarder);
    tokio::select! {
        () = cancel.cancelled() => {}
        () = listeners.serve(shared) => {}
        () = http::serve(health_listener, None, pages, cancel.clone()) => {}
        () = watching => {}
        () = reloading => {}
    }
    Ok(())
}
