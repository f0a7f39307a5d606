//! TLS, connections, shutdown.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cri::Runtime;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pki::tls::{ALPN_HTTP, ClientAuth};
use rustls::server::ResolvesServerCert;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::Auth;
use super::image_archives::ImageArchives;
use super::pod_source::PodSource;
use super::route;

/// How long a client may take for the TLS handshake, so that silent ones do not pile up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait after accept failed (too many open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server needs.
pub struct ServerConfig {
    /// The serving certificate.
    pub certificate: Arc<dyn ResolvesServerCert>,
    /// Authorities of client certificates.
    pub client_cas: Vec<CertificateDer<'static>>,
    /// The API server, for TokenReview and SubjectAccessReview.
    pub client: kube::Client,
    /// The node's name, about which requests are authorized.
    pub node_name: String,
    /// The container runtime, for its streaming URLs.
    pub runtime: Arc<dyn Runtime>,
    /// The pod side of the kubelet.
    pub source: Arc<dyn PodSource>,
    /// Where archives of images go that other nodes send.
    pub images: ImageArchives,
}

/// The server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A certificate or an authority is unusable.
    #[error("kubelet server: {0}")]
    Tls(#[from] pki::PkiError),
}

/// The kubelet's server.
pub struct Server {
    tls: TlsAcceptor,
    state: Arc<State>,
}

/// What every request sees.
pub(super) struct State {
    pub auth: Auth,
    pub runtime: Arc<dyn Runtime>,
    pub source: Arc<dyn PodSource>,
    pub images: ImageArchives,
    pub shutdown: CancellationToken,
    pub tasks: TaskTracker,
}

impl Server {
    /// Sets the server up. It ends, with every open stream, when `shutdown` is cancelled.
    ///
    /// # Errors
    /// When a certificate is unusable.
    pub fn new(config: ServerConfig, shutdown: CancellationToken) -> Result<Self, ServerError> {
        let clients = ClientAuth::Request(config.client_cas.clone());
        let tls = pki::tls::server_config(config.certificate, &clients, &ALPN_HTTP)?;
        let auth = Auth::new(config.client, &config.node_name, &config.client_cas)?;
        let state = State {
            auth,
            runtime: config.runtime,
            source: config.source,
            images: config.images,
            shutdown,
            tasks: TaskTracker::new(),
        };
        Ok(Self { tls: TlsAcceptor::from(tls), state: Arc::new(state) })
    }

    /// Serves until shutdown.
    pub async fn serve(self, listener: TcpListener) {
        let shutdown = self.state.shutdown.clone();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(self.tls.clone(), stream, Arc::clone(&self.state));
                    let shutdown = shutdown.clone();
                    self.state.tasks.spawn(async move {
                        tokio::select! {
                            () = shutdown.cancelled() => {}
                            () = connection => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "kubelet server: cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.state.tasks.close();
        self.state.tasks.wait().await;
    }
}

async fn serve_connection(tls: TlsAcceptor, stream: TcpStream, state: Arc<State>) {
    // Streams carry key strokes: no waiting for more of them.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "kubelet server: TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates: Arc<[CertificateDer<'static>]> = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, certificates) = (Arc::clone(&state), Arc::clone(&certificates));
        async move { Ok::<_, Infallible>(route::handle(&state, &certificates, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "kubelet server: connection ended");
    }
}
