//! Connections for the HTTP client: TCP to where the host is, TLS on top.

use super::error::tls_cause;
use super::resolve::Resolver;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Go's `TLSHandshakeTimeout`.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The port of `https` URLs.
const HTTPS_PORT: u16 = 443;

/// Opens connections to hosts, or to Services where hosts are `NAME.NAMESPACE.svc`.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) resolver: Arc<Resolver>,
    pub(super) tls: Arc<ClientConfig>,
    /// The name that certificates have to be for, where it is not the host's.
    pub(super) server_name: Option<String>,
    pub(super) services: bool,
}

/// Why there is no connection; a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConnectError(String);

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let host = uri.host().unwrap_or("");
        let port = uri.port_u16().unwrap_or(HTTPS_PORT);
        let mut labels = host.split('.');
        let stream = match (self.services, labels.next(), labels.next()) {
            (true, Some(name), Some(namespace)) => self.resolver.connect_service(namespace, name, port).await,
            _ => self.resolver.connect_host(host, port).await,
        };
        let stream = stream.map_err(ConnectError)?;
        let name = self.server_name.as_deref().unwrap_or_else(|| host.trim_matches(['[', ']']));
        let name = ServerName::try_from(name.to_owned()).map_err(|e| ConnectError(format!("tls: {e}")))?;
        let handshake = TlsConnector::from(self.tls).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Stream(TokioIo::new(stream))),
            Ok(Err(e)) => Err(ConnectError(tls_cause(&e))),
            Err(_) => Err(ConnectError("net/http: TLS handshake timeout".to_owned())),
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Stream, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection.
pub(super) struct Stream(TokioIo<TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        if session.alpn_protocol() == Some(b"h2") {
            Connected::new().negotiated_h2()
        } else {
            Connected::new()
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
