//! Connections of port 443: ended here for HTTPS, or passed on by the name that they ask for (TLSRoute).

use super::snapshot::Snapshot;
use super::upstream::connect;
use crate::http::{Accept, Io};
use async_trait::async_trait;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A first message may not be longer; browsers' have less than 2 KB.
const HELLO_BYTES: usize = 64 << 10;

/// Begins connections.
pub struct Entrance {
    current: Arc<RwLock<Arc<Snapshot>>>,
    https: Arc<ServerConfig>,
    other: Arc<ServerConfig>,
}

impl Entrance {
    /// By what `current` says; with TLS for HTTPS, and for what is not HTTP.
    pub fn new(
        current: Arc<RwLock<Arc<Snapshot>>>,
        https: Arc<ServerConfig>,
        other: Arc<ServerConfig>,
    ) -> Self {
        Self { current, https, other }
    }
}

#[async_trait]
impl Accept for Entrance {
    async fn accept(&self, stream: TcpStream) -> Option<Box<dyn Io>> {
        let snapshot = self.current.read().clone();
        let mut stream = Begun { start: Vec::new(), read: 0, stream };
        if snapshot.table.has_streams() {
            let name = stream.name().await.ok()?;
            if let Some(to) = snapshot.table.stream(&name) {
                let choice = to.rule.choose(rand::random());
                let pool = choice.and_then(|choice| snapshot.pools.get(choice.backend.as_ref()?));
                // Without an endpoint the connection ends.
                let endpoint = pool.and_then(|pool| pool.next())?;
                let tls = to.terminate.then(|| self.other.clone());
                tokio::spawn(async move {
                    if let Err(error) = pass_on(stream, endpoint, tls).await {
                        tracing::debug!(name, %endpoint, "a connection ends: {error}");
                    }
                });
                return None;
            }
        }
        let stream = TlsAcceptor::from(self.https.clone()).accept(stream).await.ok()?;
        Some(Box::new(stream))
    }
}

/// Connects a client with an endpoint; its TLS ends here when there is one for that.
async fn pass_on(mut client: Begun, endpoint: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
    let mut endpoint = connect(endpoint).await?;
    match tls {
        None => tokio::io::copy_bidirectional(&mut client, &mut endpoint).await?,
        Some(tls) => {
            let mut client = TlsAcceptor::from(tls).accept(client).await?;
            tokio::io::copy_bidirectional(&mut client, &mut endpoint).await?
        }
    };
    Ok(())
}

/// A connection whose first bytes were looked at: they are read again.
struct Begun {
    start: Vec<u8>,
    read: usize,
    stream: TcpStream,
}

impl Begun {
    /// The name that the client asks for; empty when it says none, or nothing that is TLS.
    async fn name(&mut self) -> io::Result<String> {
        self.start.reserve(4096);
        let mut acceptor = Acceptor::default();
        let mut seen = 0;
        loop {
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().unwrap_or_default().to_ascii_lowercase();
                    return Ok(name);
                }
                Ok(None) if self.start.len() < HELLO_BYTES => {}
                _ => return Ok(String::new()),
            }
            if self.stream.read_buf(&mut self.start).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            while let Some(mut rest) = self.start.get(seen..).filter(|rest| !rest.is_empty()) {
                match acceptor.read_tls(&mut rest)? {
                    0 => break,
                    count => seen += count,
                }
            }
        }
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.start.get(this.read..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, into);
        }
        let now = rest.get(..into.remaining()).unwrap_or(rest);
        into.put_slice(now);
        this.read += now.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        all: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
