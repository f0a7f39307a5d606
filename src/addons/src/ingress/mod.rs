//! The server of the `ingress` add-on: a reverse proxy for networking.k8s.io/v1 Ingress and the Gateway API on every node's
//! ports 80 and 443.
//!
//! ```text
//!  Ingresses, Gateways, routes, Services, EndpointSlices, Secrets ─> watch ─> Snapshot (table, endpoints, certificates, users)
//!                                                                               │ replaced whole; requests keep the one they began with
//!  clients ─> http, TLS by name ─> proxy: find, check, choose, rewrite ─> endpoints
//! ```
//!
//! | module | what |
//! |---|---|
//! | `options` | annotations, those of ingress-nginx: pure |
//! | `table` | hosts and paths to backends: pure |
//! | `gateway` | Gateways and their routes made into such a table: pure but for `watch` and `serve` |
//! | `snapshot` | endpoints, certificates and users beside the table: pure |
//! | `watch` | makes snapshots of what the cluster says, and tells Ingresses their addresses |
//! | `passwords` | lines of htpasswd: pure |
//! | `logins` | passwords verified beside the requests, and remembered |
//! | `accept` | connections of TLS: for the proxy, or passed on by the name that they ask for |
//! | `limits` | requests of one client in a time |
//! | `upstream` | connections to endpoints |
//! | `encryption` | TLS to endpoints |
//! | `proxy` | one request |
//!
//! Upstream counterparts: `kubernetes/ingress-nginx`, and any of the Gateway API's implementations.

mod accept;
mod encryption;
mod gateway;
mod limits;
mod logins;
mod options;
mod passwords;
mod proxy;
#[cfg(test)]
mod proxy_gateway_tests;
#[cfg(test)]
mod proxy_tests;
mod snapshot;
mod table;
#[cfg(test)]
mod table_tests;
mod upstream;
mod watch;

use client::SharedInformers;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use snapshot::Snapshot;
use std::sync::Arc;
use table::Side;
use tokio_util::sync::CancellationToken;

use crate::http::{Accept, Ready};
use accept::Entrance;
pub use proxy::Proxy;
pub use snapshot::CertificateError;

/// The controller that IngressClasses of this proxy name.
pub const CONTROLLER: &str = "knarr.io/ingress";

/// What the proxy needs.
pub struct Config {
    /// Informers over the cluster.
    pub informers: SharedInformers,
    /// `NAMESPACE/NAME` of the Secret with the certificate for hosts that have none; one of its own making when empty.
    pub default_certificate: String,
    /// Set when everything has been seen.
    pub ready: Ready,
    /// Where requests are logged; nowhere when none.
    pub access_log: Option<fn(&str)>,
}

/// What serves plain HTTP, what serves HTTPS, and the TLS for that.
pub struct Served {
    /// For port 80.
    pub plain: Arc<Proxy>,
    /// For port 443.
    pub secure: Arc<Proxy>,
    /// Takes connections of port 443.
    pub entrance: Arc<dyn Accept>,
}

/// Follows the cluster until `stop`.
///
/// # Errors
/// When no certificate can be made.
pub fn start(config: Config, stop: CancellationToken) -> Result<Served, CertificateError> {
    let current = Arc::new(RwLock::new(Arc::new(Snapshot::default())));
    let shared = Arc::new(proxy::Shared::new(current.clone(), config.access_log));
    let entrance = entrance(current.clone())?;
    let watching = watch::watch(config.informers, current, config.default_certificate, config.ready);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = watching => {}
        }
    });
    Ok(Served {
        plain: Proxy::new(shared.clone(), Side::Plain),
        secure: Proxy::new(shared, Side::Secure),
        entrance: Arc::new(entrance),
    })
}

/// What begins connections by what `current` says.
fn entrance(current: Arc<RwLock<Arc<Snapshot>>>) -> Result<Entrance, CertificateError> {
    let resolver = Arc::new(Resolver { current: current.clone(), own: snapshot::self_signed()? });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut https = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::Unusable(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // What is passed on says nothing of its protocol.
    let other = Arc::new(https.clone());
    https.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Entrance::new(current, Arc::new(https), other))
}

/// Shows each host its certificate, of several the one that the client can verify.
#[derive(Debug)]
struct Resolver {
    current: Arc<RwLock<Arc<Snapshot>>>,
    own: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let takes = |one: &CertifiedKey| one.key.choose_scheme(hello.signature_schemes()).is_some();
        let found = self.current.read().certificate(&host, takes);
        Some(found.unwrap_or_else(|| self.own.clone()))
    }
}
