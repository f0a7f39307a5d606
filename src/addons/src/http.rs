//! Serving HTTP in an add-on's pod: HTTP/1 and HTTP/2 on one port, with or without TLS, ending gracefully.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Whatever went wrong with a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How long a client may take for a request's head or the TLS handshake: a slow one must not hold a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long requests may take to end after the pod is told to.
const GRACE: Duration = Duration::from_secs(20);
/// Wait after an accept that failed: out of descriptors, and a moment later there may be one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of a client at an address.
    async fn handle(self: Arc<Self>, request: Request<Incoming>, client: SocketAddr) -> Response<Body>;

    /// Whether clients may open WebSockets within their connection of HTTP/2 (RFC 8441). Where they may not, browsers make
    /// a connection of its own for each.
    fn extended_connect(&self) -> bool {
        false
    }
}

/// A connection, whatever is below it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// What begins connections.
#[async_trait]
pub trait Accept: Send + Sync + 'static {
    /// The connection on which HTTP is spoken; none when there is none, or when it was dealt with otherwise.
    async fn accept(&self, stream: TcpStream) -> Option<Box<dyn Io>>;
}

#[async_trait]
impl Accept for TlsAcceptor {
    async fn accept(&self, stream: TcpStream) -> Option<Box<dyn Io>> {
        let stream = Self::accept(self, stream).await.ok()?;
        Some(Box::new(stream))
    }
}

/// A body with these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text)
}

/// An answer of JSON.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    typed(status, "application/json", value.to_string())
}

/// An answer of any type.
pub fn typed(status: StatusCode, media: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
    response
}

/// Serves until `stop`, then lets what was begun end.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: Arc<dyn Handler>,
    stop: CancellationToken,
) {
    let tls = tls.map(|tls| Arc::new(tls) as Arc<dyn Accept>);
    serve_over(listener, tls, handler, stop).await;
}

/// The same, over connections that somebody else begins.
pub async fn serve_over(
    listener: TcpListener,
    accept: Option<Arc<dyn Accept>>,
    handler: Arc<dyn Handler>,
    stop: CancellationToken,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, client)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let (handler, watcher) = (handler.clone(), graceful.watcher());
        match accept.clone() {
            None => drop(tokio::spawn(connection(Box::new(stream), client, handler, watcher))),
            Some(accept) => drop(tokio::spawn(async move {
                if let Ok(Some(stream)) = tokio::time::timeout(HEAD_PATIENCE, accept.accept(stream)).await {
                    connection(stream, client, handler, watcher).await;
                }
            })),
        }
    }
    drop(listener);
    if let Some(graceful) = Arc::into_inner(graceful) {
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }
}

async fn connection(
    stream: Box<dyn Io>,
    client: SocketAddr,
    handler: Arc<dyn Handler>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let extended_connect = handler.extended_connect();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.handle(request, client).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    builder.http2().timer(TokioTimer::new());
    if extended_connect {
        builder.http2().enable_connect_protocol();
    }
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    // A broken connection is the client's affair.
    let _ = watcher.watch(serving).await;
}

/// Whether a server is ready, for `/ready`; anybody may say that it is.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// It is.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// `/health`, `/ready` and `/metrics` of a server.
pub struct Pages<M> {
    ready: Ready,
    metrics: M,
}

impl<M: Fn() -> String + Send + Sync + 'static> Pages<M> {
    /// The pages; `metrics` writes the third.
    pub fn new(ready: Ready, metrics: M) -> Arc<Self> {
        Arc::new(Self { ready, metrics })
    }
}

#[async_trait]
impl<M: Fn() -> String + Send + Sync + 'static> Handler for Pages<M> {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        match request.uri().path() {
            "/health" => text(StatusCode::OK, "OK"),
            "/ready" if self.ready.get() => text(StatusCode::OK, "OK"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been seen yet"),
            "/metrics" => text(StatusCode::OK, (self.metrics)()),
            _ => text(StatusCode::NOT_FOUND, "not found"),
        }
    }
}
