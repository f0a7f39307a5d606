//! Connections: TLS, HTTP/1.1 and HTTP/2 on one port, and an orderly end.

mod endless;
mod gathered;
mod lent;
mod prompt;

pub(crate) use endless::Endless;

use crate::ApiServer;
use crate::body::{Body, BoxError};
use futures::FutureExt;
use futures::future::BoxFuture;
use gathered::Gathered;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lent::Lent;
use parking_lot::Mutex;
use prompt::Prompt;
use rustls_pki_types::CertificateDer;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// The name of HTTP/2 in ALPN (RFC 9113, section 3.2).
const HTTP2: &[u8] = b"h2";
/// A client that has not finished its handshake by then is not going to.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Upstream's `ReadHeaderTimeout`: what a slow client may take for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Upstream answers 250; one informer-heavy client (or a gateway in front of many) is not to be slowed by
/// waiting for watches of its own that never end.
const HTTP2_STREAMS: u32 = 1000;
/// Upstream's stream window. Larger ones let one stalled watch hold more memory.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Room for several streams that upload at once.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// How long a silent HTTP/2 connection lives before it is asked whether anybody is there.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long connections get to finish what they are doing after shutdown began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After `accept` failed (no file descriptors left): not to spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The certificates that a client showed and that chain to the client CA. In the extensions of requests.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// The address a request came from. In the extensions of requests.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Serves connections until `shutdown`, then drains: readiness fails, watches end, requests finish.
pub(crate) async fn serve(
    server: ApiServer,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(with_alpn(tls));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = Connection {
                    server: server.clone(),
                    acceptor: acceptor.clone(),
                    // One that listens for both families sees IPv4 as a part of IPv6 (RFC 4291, section 2.5.5.2).
                    peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                    shutdown: shutdown.clone(),
                };
                connections.spawn(connection.run(stream));
            }
            Err(e) => {
                warn!(error = %e, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    server.begin_shutdown();
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        warn!(open = connections.len(), "connections did not end in time");
    }
}

/// The configuration with the protocols we speak, whatever its maker thought of.
fn with_alpn(tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    if tls.alpn_protocols == protocols {
        return tls;
    }
    let mut config = (*tls).clone();
    config.alpn_protocols = protocols;
    Arc::new(config)
}

struct Connection {
    server: ApiServer,
    acceptor: TlsAcceptor,
    peer: SocketAddr,
    shutdown: CancellationToken,
}

impl Connection {
    // Each step is boxed, so that a connection that does nothing (a thousand watches) keeps no room for the others.
    async fn run(self, stream: TcpStream) {
        if let Err(e) = stream.set_nodelay(true) {
            debug!(peer = %self.peer, error = %e, "cannot set TCP_NODELAY");
        }
        if let Some(stream) = Box::pin(self.handshake(stream)).await {
            self.answer(stream).await;
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(mut stream)) => {
                stream.get_mut().1.set_buffer_limit(Some(gathered::ENOUGH_BYTES));
                return Some(stream);
            }
            Ok(Err(e)) => debug!(peer = %self.peer, error = %e, "TLS handshake failed"),
            Err(_) => debug!(peer = %self.peer, "TLS handshake took too long"),
        }
        None
    }

    fn answer(self, stream: TlsStream<TcpStream>) -> BoxFuture<'static, ()> {
        let tls = stream.get_ref().1;
        let certificates: Arc<[CertificateDer<'static>]> = tls
            .peer_certificates()
            .map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect())
            .unwrap_or_default();
        let http2 = tls.alpn_protocol() == Some(HTTP2);
        let (peer, shutdown) = (self.peer, self.shutdown);
        let handler = Handler { server: self.server, certificates: PeerCertificates(certificates), peer };
        Box::pin(async move {
            let result = if http2 {
                serve_http2(stream, handler, &shutdown).await
            } else {
                serve_http1(stream, handler, &shutdown).await
            };
            if let Err(e) = result {
                debug!(peer = %peer, error = %e, "connection ended");
            }
        })
    }
}

/// Answers the requests of one connection.
#[derive(Clone)]
struct Handler {
    server: ApiServer,
    certificates: PeerCertificates,
    peer: SocketAddr,
}

impl Handler {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let mut request = request.map(box_incoming);
        request.extensions_mut().insert(self.certificates);
        request.extensions_mut().insert(PeerAddress(self.peer));
        self.server.handle(request).await
    }
}

fn serve_http2<'a>(
    stream: TlsStream<TcpStream>,
    handler: Handler,
    shutdown: &'a CancellationToken,
) -> BoxFuture<'a, Result<(), BoxError>> {
    let service = service_fn(move |request| {
        let answer: BoxFuture<'static, _> = Box::pin(
            handler.clone().answer(request).map(|response| Ok::<_, Infallible>(response.map(Gathered::new))),
        );
        answer
    });
    let mut connection = Box::pin(http2().serve_connection(TokioIo::new(stream), service));
    Box::pin(async move {
        tokio::select! {
            result = connection.as_mut() => return Ok(result?),
            () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    })
}

async fn serve_http1(
    stream: TlsStream<TcpStream>,
    handler: Handler,
    shutdown: &CancellationToken,
) -> Result<(), BoxError> {
    let lent = Lent::new(Prompt::new(stream));
    let endless = Box::pin(until_endless(&lent, handler, shutdown)).await?;
    // Without an endless answer it has ended, or is somebody's who asked to upgrade it.
    let Some(response) = endless else { return Ok(()) };
    let stream = lent.take().ok_or(io::ErrorKind::NotConnected).map_err(io::Error::from)?;
    Box::pin(endless::send(stream.into_inner(), response)).await
}

/// Lets hyper serve until the connection ends, or there is an endless answer to be sent on it.
async fn until_endless(
    lent: &Lent<Prompt<TlsStream<TcpStream>>>,
    handler: Handler,
    shutdown: &CancellationToken,
) -> Result<Option<Response<Body>>, hyper::Error> {
    let endless: Arc<Mutex<Option<Response<Body>>>> = Arc::default();
    let slot = Arc::clone(&endless);
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, slot) = (handler.clone(), Arc::clone(&slot));
        let answer: BoxFuture<'static, _> = Box::pin(async move {
            let chunked = request.version() == Version::HTTP_11;
            let response = handler.answer(request).await;
            if !chunked || response.extensions().get::<Endless>().is_none() {
                return Ok::<_, Infallible>(response.map(Gathered::new));
            }
            *slot.lock() = Some(response);
            std::future::pending().await
        });
        answer
    });
    let mut connection = http1().serve_connection(TokioIo::new(lent.lend()), service).with_upgrades();
    let mut stopping = pin!(shutdown.cancelled().fuse());
    poll_fn(move |context| {
        if stopping.as_mut().poll(context).is_ready() {
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(context) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| None)),
            Poll::Pending => match endless.lock().take() {
                Some(response) => Poll::Ready(Ok(Some(response))),
                None => Poll::Pending,
            },
        }
    })
    .await
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(true);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(HTTP2_PING_INTERVAL);
    builder
}

fn box_incoming(body: Incoming) -> Body {
    body.map_err(Into::into).boxed_unsync()
}
