//! The client: sends requests over kept connections.

use super::connector::Connector;
use super::endpoint::{Endpoint, Target, Trust};
use super::error::{Cause, OutboundError, client_cause, hyper_cause};
use super::resolve::Resolver;
use super::trust;
use crate::body::{self, Body};
use crate::registry::Registry;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection is kept that nobody uses (Go's `IdleConnTimeout`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Connections to one endpoint that are kept while nobody uses them: as many calls as come at once on a busy
/// small cluster; each is some 40 KiB.
const IDLE_PER_ENDPOINT: usize = 8;
/// Clients that are kept, one for each bundle; the least recently used goes first.
const CLIENTS: usize = 128;

/// What one call may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte out to the last byte in, connecting included.
    pub timeout: Duration,
    /// The longest answer.
    pub max_bytes: usize,
}

/// Calls endpoints. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

struct Shared {
    resolver: Arc<Resolver>,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    by_profile: HashMap<Profile, (u64, Client<Connector, Body>)>,
    uses: u64,
}

/// What connections have to have in common to be shared.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Profile {
    trust: Trust,
    /// The leaf of the identity.
    identity: Option<Vec<u8>>,
    server_name: String,
    http2: bool,
    services: bool,
}

impl Outbound {
    /// A client that finds Services in a registry, at their endpoints or at their cluster IPs. `local` is this server,
    /// as `kubernetes.default.svc`.
    pub fn new(registry: Registry, local: SocketAddr, to_endpoints: bool) -> Self {
        let resolver = Arc::new(Resolver::new(registry, local, to_endpoints));
        Self { shared: Arc::new(Shared { resolver, clients: Mutex::default() }) }
    }

    /// Sends a request whose URI is of [`Endpoint::url`]. The answer's body is streamed; there is no time limit but
    /// on connecting.
    ///
    /// # Errors
    /// When no answer began.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        request: Request<Body>,
    ) -> Result<Response<Body>, OutboundError> {
        let (method, url) = (request.method().clone(), request.uri().clone());
        let client = self.client(endpoint);
        let client = client.map_err(|why| OutboundError::new(&method, &url, Cause::Connect(why)))?;
        match client.request(request).await {
            Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            Err(e) => Err(OutboundError::new(&method, &url, client_cause(&e))),
        }
    }

    /// Sends a request that asks to change protocols, by HTTP/1.1. When the answer is 101,
    /// `hyper::upgrade::on(&mut response)` is the connection.
    ///
    /// # Errors
    /// When no answer began.
    pub async fn upgrade(
        &self,
        endpoint: &Endpoint,
        request: Request<Body>,
    ) -> Result<Response<Body>, OutboundError> {
        self.send(&Endpoint { http2: false, ..endpoint.clone() }, request).await
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// When there is none within the limits.
    pub async fn call(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let (method, url) = (request.method().clone(), request.uri().clone());
        match tokio::time::timeout(limits.timeout, self.exchange(endpoint, request, limits.max_bytes)).await {
            Ok(result) => result,
            Err(_) => Err(OutboundError::new(&method, &url, Cause::Timeout(limits.timeout))),
        }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, OutboundError> {
        let (method, url) = (request.method().clone(), request.uri().clone());
        let response = self.send(endpoint, request.map(body::full)).await?;
        let (parts, mut body) = response.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let cause = match frame {
                Ok(frame) => {
                    bytes.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref));
                    if bytes.len() <= max_bytes {
                        continue;
                    }
                    Cause::TooLarge(max_bytes)
                }
                Err(error) => match error.downcast_ref::<hyper::Error>() {
                    Some(error) => Cause::Lost(hyper_cause(error)),
                    None => Cause::Lost(error.to_string()),
                },
            };
            return Err(OutboundError::new(&method, &url, cause));
        }
        Ok(Response::from_parts(parts, bytes.freeze()))
    }

    fn client(&self, endpoint: &Endpoint) -> Result<Client<Connector, Body>, String> {
        let profile = Profile {
            trust: endpoint.trust.clone(),
            identity: endpoint.identity.as_ref().and_then(|key| key.cert.first().map(|c| c.to_vec())),
            server_name: endpoint.server_name.clone(),
            http2: endpoint.http2,
            services: matches!(endpoint.target, Target::Service { .. }),
        };
        let mut clients = self.shared.clients.lock();
        clients.uses += 1;
        let now = clients.uses;
        if let Some((used, client)) = clients.by_profile.get_mut(&profile) {
            *used = now;
            return Ok(client.clone());
        }
        let tls = trust::client_config(&endpoint.trust, endpoint.identity.as_ref(), endpoint.http2)?;
        let connector = Connector {
            resolver: Arc::clone(&self.shared.resolver),
            tls: Arc::new(tls),
            server_name: Some(profile.server_name.clone()).filter(|name| !name.is_empty()),
            services: profile.services,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_ENDPOINT)
            .build(connector);
        if clients.by_profile.len() >= CLIENTS {
            let oldest = clients.by_profile.iter().min_by_key(|(_, (used, _))| *used).map(|(p, _)| p.clone());
            oldest.map(|profile| clients.by_profile.remove(&profile));
        }
        clients.by_profile.insert(profile, (now, client.clone()));
        Ok(client)
    }
}
