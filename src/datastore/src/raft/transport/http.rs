//! Messages between machines: HTTP/2 over mutual TLS, one connection kept to each peer, a `POST` for each message.

use super::{Endpoint, Peer, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long a connection may take to come about. Whoever waits for it has a deadline of their own, mostly a shorter
/// one; the attempt goes on without them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that does not answer a ping for [`PING_TIMEOUT`] is connected to anew: after a network was cut, TCP would
/// wait for as long as the cut has lasted before it tries again.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the called side keeps a connection that says nothing.
const IDLE_PING: Duration = Duration::from_secs(10);
/// Room for a piece of a snapshot on its way beside entries.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// The largest message: entries that are sent together are fewer than that, and so is a piece of a snapshot.
const MESSAGE_BYTES: usize = 64 << 20;
/// Calls whose caller has stopped waiting before they were taken up, at a time: a node that was busy for a moment finds
/// many. By default h2 ends the connection at 20, to protect itself from strangers; a peer is none.
const GIVEN_UP_CALLS: usize = 1024;
/// After `accept` failed (no file descriptors left): not to spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

type Sender = SendRequest<Full<Bytes>>;
type Connecting = Shared<BoxFuture<'static, Result<Sender, Arc<str>>>>;

/// Reaches peers at `ADDRESS:PORT` (IPv6 addresses in brackets).
pub struct HttpTransport {
    tls: TlsConnector,
    name: ServerName<'static>,
    connections: Mutex<HashMap<String, Connecting>>,
}

impl HttpTransport {
    /// Calls with this identity whoever proves to be `name`.
    pub fn new(tls: Arc<rustls::ClientConfig>, name: ServerName<'static>) -> Self {
        Self { tls: TlsConnector::from(tls), name, connections: Mutex::default() }
    }

    /// The connection to an address: the one there is, or is being made, unless it has ended.
    async fn connection(&self, address: &str) -> Result<Sender, Arc<str>> {
        let connecting = {
            let mut connections = self.connections.lock();
            let usable = connections.get(address).filter(|connecting| match connecting.peek() {
                Some(Ok(sender)) => !sender.is_closed(),
                Some(Err(_)) => false,
                None => true,
            });
            match usable {
                Some(connecting) => connecting.clone(),
                None => {
                    let connecting = self.connect(address.to_owned());
                    connections.insert(address.to_owned(), connecting.clone());
                    connecting
                }
            }
        };
        connecting.await
    }

    fn connect(&self, address: String) -> Connecting {
        let (tls, name) = (self.tls.clone(), self.name.clone());
        // A task of its own, which does not end with whoever was the first to want it.
        let task = tokio::spawn(async move {
            let late = |_| Arc::from(format!("{address} does not answer within {CONNECT_TIMEOUT:?}"));
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(&address, &tls, name)).await;
            connected.map_err(late)?.map_err(|error| Arc::from(format!("{address}: {error}")))
        });
        async move { task.await.unwrap_or_else(|error| Err(Arc::from(error.to_string()))) }.boxed().shared()
    }
}

async fn connect(
    address: &str,
    tls: &TlsConnector,
    name: ServerName<'static>,
) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
    // No names: a static binary must not ask the C library for them.
    let stream = TcpStream::connect(address.parse::<std::net::SocketAddr>()?).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(name, stream).await?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let address = address.to_owned();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, address, "the connection to a peer has ended");
        }
    });
    Ok(sender)
}

#[async_trait]
impl Transport for HttpTransport {
    async fn call(&self, to: &Peer, request: Bytes) -> Result<Bytes, TransportError> {
        let address = &to.member.address;
        let connected = self.connection(address).await;
        let mut sender = connected.map_err(|why| TransportError::Unreachable(why.to_string()))?;
        let message = Request::builder()
            .method(Method::POST)
            .uri(format!("https://{}/", self.name.to_str()))
            .body(Full::new(request))
            .map_err(|error| TransportError::Unreachable(error.to_string()))?;
        let response = sender.send_request(message).await.map_err(|error| {
            // Canceled: it was still queued when the connection ended.
            let why = format!("{address}: {error}");
            if error.is_canceled() { TransportError::Unreachable(why) } else { TransportError::NoAnswer(why) }
        })?;
        let no_answer = |why: String| TransportError::NoAnswer(format!("{address}: {why}"));
        if response.status() != StatusCode::OK {
            return Err(TransportError::Unreachable(format!("{address} answers {}", response.status())));
        }
        let body = Limited::new(response.into_body(), MESSAGE_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| no_answer(error.to_string()))
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.connections.lock();
        f.debug_struct("HttpTransport").field("to", &connections.keys()).finish_non_exhaustive()
    }
}

/// Who answers now; nobody while the node is alone.
pub type Answerer = Arc<dyn Fn() -> Option<Arc<dyn Endpoint>> + Send + Sync>;

/// Answers peers until it is dropped, which ends all connections. The TLS configuration has to ask for the
/// certificates of peers: whoever gets through the handshake is one.
pub async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, answerer: Answerer) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, acceptor.clone(), Arc::clone(&answerer)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a peer's connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, answerer: Answerer) {
    let handshake = async {
        stream.set_nodelay(true)?;
        acceptor.accept(stream).await
    };
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%error, "somebody who is no peer, or takes this node for none, was turned away");
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(move |request| answer(request, answerer()));
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(IDLE_PING)
        .max_pending_accept_reset_streams(GIVEN_UP_CALLS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a peer's connection has ended");
    }
}

async fn answer(
    request: Request<Incoming>,
    endpoint: Option<Arc<dyn Endpoint>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let refuse = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    };
    let Some(endpoint) = endpoint else { return refuse(StatusCode::SERVICE_UNAVAILABLE) };
    let Ok(message) = Limited::new(request.into_body(), MESSAGE_BYTES).collect().await else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    // What has arrived is carried out, whether or not somebody still waits.
    let reply = tokio::spawn(async move { endpoint.serve(message.to_bytes()).await }).await;
    match reply {
        Ok(reply) => Ok(Response::new(Full::new(reply))),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
