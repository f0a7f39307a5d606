//! Connections to endpoints, kept for the next request.

use super::encryption::Encryption;
use crate::http::Body;
use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long an endpoint may take to be reached: it is a machine away.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection is kept; shorter than most servers keep theirs.
const KEPT: Duration = Duration::from_secs(30);
/// How many are kept to one endpoint.
const KEPT_CONNECTIONS: usize = 64;

/// A client of endpoints.
pub type Upstream = Client<Connector, Body>;

/// A client that speaks HTTP/1.1, or HTTP/2 for gRPC.
pub fn upstream(http2: bool) -> Upstream {
    client(http2, Connector { tls: None })
}

/// A client that speaks TLS.
///
/// # Errors
/// When certificates or keys cannot be used.
pub fn encrypted(http2: bool, encryption: &Encryption) -> Result<Upstream, rustls::Error> {
    let mut config = encryption.config()?;
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = encryption.name.as_deref().and_then(|name| ServerName::try_from(name.to_owned()).ok());
    Ok(client(http2, Connector { tls: Some((Arc::new(config), name)) }))
}

fn client(http2: bool, connector: Connector) -> Upstream {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(KEPT_CONNECTIONS)
        .http2_only(http2)
        .build(connector)
}

/// A connection to an endpoint.
///
/// # Errors
/// When it cannot be reached.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to addresses: there are no names to resolve.
#[derive(Clone, Debug)]
pub struct Connector {
    /// How TLS is spoken, and with whom: an address when it has no name.
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let address = uri.authority().and_then(|authority| authority.as_str().parse::<SocketAddr>().ok());
            let address = address.ok_or_else(|| io::Error::other("an endpoint is an address"))?;
            let stream = connect(address).await?;
            let Some((config, name)) = tls else { return Ok(TokioIo::new(Link::Plain(stream))) };
            let name = name.unwrap_or_else(|| ServerName::from(address.ip()));
            let begun = TlsConnector::from(config).connect(name, stream);
            let stream = tokio::time::timeout(CONNECT, begun).await??;
            Ok(TokioIo::new(Link::Encrypted(Box::new(stream))))
        })
    }
}

/// A connection, with or without TLS.
pub enum Link {
    /// Without.
    Plain(TcpStream),
    /// With.
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Calls the same on what there is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Encrypted($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(context, into))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        all: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(context, all))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}
