//! The server of the `dashboard` add-on: a web page, and a way to the API server for it.
//!
//! ```text
//!  browser ─TLS─> security ─> page                     files of the binary
//!                          └> gate ─> relay ─TLS─> API server, as whoever the request's token says
//! ```
//!
//! The server has no rights of its own and keeps nothing: whatever the page asks goes to the API server with the token
//! that the page sends with each request. There are no cookies, so no other site can make a browser act for somebody. A
//! client's certificate cannot be used through it: the server would have to hold the key.
//!
//! | module | what |
//! |---|---|
//! | `security` | headers of every answer, whether a request comes from the page: pure |
//! | `gate` | what may be asked of the API server, with which headers: pure |
//! | `relay` | asks the API server |
//! | `page` | the files of the page, which lie in `page/` |
//!
//! Upstream counterpart: `kubernetes/dashboard`.

mod gate;
mod page;
mod relay;
mod security;
#[cfg(test)]
mod tests;

use crate::http::{Body, Handler};
use crate::self_signed::{SelfSigned, self_signed};
use ::http::{Request, Response};
use async_trait::async_trait;
use hyper::body::Incoming;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use relay::{ApiServer, ApiServerError};

/// Answers browsers.
pub struct Dashboard {
    api: ApiServer,
    stop: CancellationToken,
}

impl Dashboard {
    /// A dashboard of the cluster whose API server this is. What goes on and on (watches, logs) ends with `stop`.
    pub fn new(api: ApiServer, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { api, stop })
    }
}

#[async_trait]
impl Handler for Dashboard {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        if gate::is_for_api(request.uri().path()) {
            let mut response = self.api.answer(request, &self.stop).await;
            security::seal(response.headers_mut());
            return response;
        }
        let mut response = page::answer(&request);
        security::harden(response.headers_mut());
        response
    }
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate can be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// What was made cannot be used.
    #[error("cannot use the certificate")]
    Unusable(#[from] rustls::Error),
}

/// TLS with a certificate of its own making, new at each start. Browsers ask about it once.
///
/// # Errors
/// When no certificate can be made.
pub fn tls() -> Result<TlsAcceptor, TlsError> {
    let names = ["localhost", "127.0.0.1", "kubernetes-dashboard.kube-system.svc"];
    showing(self_signed(&names)?)
}

fn showing(own: SelfSigned) -> Result<TlsAcceptor, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.certificate], own.key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
