//! Connections to endpoints, kept for the next request.

use crate::http::Body;
use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;

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
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(KEPT_CONNECTIONS)
        .http2_only(http2)
        .build(Connector)
}

/// Connects to addresses: there are no names to resolve.
#[derive(Clone, Copy, Debug)]
pub struct Connector;

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let address = uri.authority().and_then(|authority| authority.as_str().parse::<SocketAddr>().ok());
            let address = address.ok_or_else(|| io::Error::other("an endpoint is an address"))?;
            let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
