//! TCP and TLS connections without the C library's resolver.
//!
//! A static glibc binary must not call getaddrinfo, so hyper's own connector cannot be used; see [`dial`].

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::client::Body;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use crate::balancer::{self, Balancer};
use crate::dial;

/// Time to establish TCP and TLS. A healthy peer answers in milliseconds; client-go gives up after 30 s, which
/// holds up failing over for longer than a lease lasts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent HTTP/2 connection is pinged after this time, as client-go does, so that a watch on a dead peer ends.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A ping unanswered for this long closes the connection (client-go's value).
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// The same where there are other servers to go to: they should be found before leases run out and pods are missed.
const BALANCED_PING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));
/// Time for one of several servers; the next ones are tried long before.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pooled HTTP over [`Connector`]: HTTP/2 where the server offers it, HTTP/1.1 for upgrades.
#[derive(Clone)]
pub(crate) struct Network {
    multiplexed: Client<Connector, Body>,
    upgrades: Client<Connector, Body>,
}

impl Network {
    /// Connections made with this TLS configuration; its ALPN list is replaced.
    ///
    /// With a balancer, connections go to one of its servers, whatever the URI says.
    pub(crate) fn new(tls: rustls::ClientConfig, balancer: Option<Balancer>) -> Self {
        Self {
            multiplexed: pool(&tls, balancer.clone(), &[b"h2", b"http/1.1"]),
            upgrades: pool(&tls, balancer, &[b"http/1.1"]),
        }
    }
}

/// Connections that speak one of these protocols, for requests with bodies of one kind.
pub(crate) fn pool<B>(
    tls: &rustls::ClientConfig,
    balancer: Option<Balancer>,
    protocols: &[&[u8]],
) -> Client<Connector, B>
where
    B: http_body::Body<Data: Send> + Send,
{
    let (interval, timeout) = if balancer.is_some() { BALANCED_PING } else { (PING_INTERVAL, PING_TIMEOUT) };
    let mut config = tls.clone();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(interval)
        .http2_keep_alive_timeout(timeout)
        .http2_adaptive_window(true);
    builder.build(Connector { tls: TlsConnector::from(Arc::new(config)), balancer })
}

impl Service<Request<Body>> for Network {
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = hyper_util::client::legacy::ResponseFuture;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // WebSocket and SPDY upgrades exist in HTTP/1.1 only.
        if request.headers().contains_key(header::UPGRADE) {
            self.upgrades.request(request)
        } else {
            self.multiplexed.request(request)
        }
    }
}

/// Opens one connection to the host and port of a URI.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    balancer: Option<Balancer>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tls, balancer } = self.clone();
        Box::pin(async move {
            let connecting = async {
                match balancer {
                    Some(balancer) => connect_balanced(&tls, &uri, &balancer).await,
                    None => connect(&tls, &uri).await,
                }
            };
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(result) => result.map(TokioIo::new),
                Err(_) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, format!("connecting to {uri} timed out")))
                }
            }
        })
    }
}

async fn connect(tls: &TlsConnector, uri: &Uri) -> io::Result<Stream> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let encrypted = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or_else(|| invalid(format!("{uri} names no host")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    open(encrypted.then_some(tls), host, host, port).await
}

async fn connect_balanced(tls: &TlsConnector, uri: &Uri, balancer: &Balancer) -> io::Result<Stream> {
    let encrypted = (uri.scheme_str() == Some("https")).then_some(tls);
    let (mut stream, cut) = balancer
        .connect(|server| async move {
            let Some((host, port)) = balancer::split(&server) else {
                let text = format!("{server:?} is not HOST:PORT");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            };
            let opening = open(encrypted, balancer::SERVER_NAME, host, port);
            tokio::time::timeout(ATTEMPT_TIMEOUT, opening).await.map_err(io::Error::from)?
        })
        .await?;
    stream.cut = Some(Box::pin(cut.cancelled_owned()));
    Ok(stream)
}

/// Opens a connection to a host, which has to prove that it is `name` where TLS is spoken.
async fn open(tls: Option<&TlsConnector>, name: &str, host: &str, port: u16) -> io::Result<Stream> {
    let tcp = dial::host(host, port).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Stream { io: Box::new(tcp), http2: false, cut: None }) };
    let name = ServerName::try_from(name.to_owned()).map_err(|_| {
        let text = format!("{name:?} is neither an address nor a host name");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let stream = tls.connect(name, tcp).await?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Stream { io: Box::new(stream), http2, cut: None })
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, encrypted or not.
pub(crate) struct Stream {
    io: Box<dyn Io>,
    http2: bool,
    /// When this ends, so does the connection.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stream").field("http2", &self.http2).finish_non_exhaustive()
    }
}

/// Ends at once.
fn cancelled() -> WaitForCancellationFutureOwned {
    let token = CancellationToken::new();
    token.cancel();
    token.cancelled_owned()
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Somebody always reads: answers, or the end of an idle connection.
        if self.cut.as_mut().is_some_and(|cut| cut.as_mut().poll(context).is_ready()) {
            // It must not be asked again.
            self.cut = Some(Box::pin(cancelled()));
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
