//! One client for all API servers of a cluster.
//!
//! A worker reaches the API through any control-plane node. The [`Balancer`] knows all of them, opens connections to
//! one that is alive, and leaves one that is not:
//!
//! - the server that answered last is asked first; one that does not answer at once is not waited for, the next one is
//!   tried beside it, and whoever answers first is the one from then on;
//! - connections are pinged, so that a watch on a server that lost its power ends within seconds;
//! - connections to a server that is no longer one are cut;
//! - the list follows the EndpointSlices of the Service `default/kubernetes` and lies in a file, so that a worker that
//!   starts finds servers that joined after it did. It never becomes empty.
//!
//! Upstream has no counterpart: kubelets there need a load balancer before the API servers. k3s' agents have one in
//! themselves too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Informer;

/// Wait for one server before the next one is tried too: longer than a handshake within a data centre, short enough
/// that a dead server is not noticed.
const STAGGER: Duration = Duration::from_millis(300);
/// How long one that failed is asked after all others.
const SUSPICION: Duration = Duration::from_secs(30);
/// Namespace and name of the API's own Service, and of the slice with the servers' own addresses.
const SERVICE: (&str, &str) = ("default", "kubernetes");
/// Name that every API server's certificate has, whatever its address is.
pub const SERVER_NAME: &str = "kubernetes";

/// Why there are no servers.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// Neither the file nor the caller names one.
    #[error("no API server is known; name one as HOST:PORT")]
    NoServer,
    /// One is not `HOST:PORT`.
    #[error("{0:?} is no API server: it has to be HOST:PORT, or [ADDRESS]:PORT for IPv6")]
    Server(String),
}

/// The API servers of a cluster. Clones share them.
#[derive(Clone, Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Mutex<Pool>,
    file: Option<PathBuf>,
}

impl Balancer {
    /// Knows the servers of `file`, if it is there, and `servers`, each as `HOST:PORT`.
    ///
    /// # Errors
    /// When none is known, or one is not of that form. What a damaged file holds is passed over.
    pub fn new(servers: &[String], file: Option<&Path>) -> Result<Self, BalancerError> {
        if let Some(wrong) = servers.iter().find(|server| split(server).is_none()) {
            return Err(BalancerError::Server(wrong.clone()));
        }
        let kept = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let mut all: Vec<String> =
            kept.lines().map(str::trim).filter(|server| split(server).is_some()).map(str::to_owned).collect();
        // Those given are what it began with: the kept ones are newer.
        all.extend(servers.iter().cloned());
        let mut pool = Pool::default();
        if !pool.replace(all) {
            return Err(BalancerError::NoServer);
        }
        Ok(Self { shared: Arc::new(Shared { pool: Mutex::new(pool), file: file.map(Path::to_owned) }) })
    }

    /// The servers, as `HOST:PORT`.
    pub fn servers(&self) -> Vec<String> {
        self.shared.pool.lock().servers.keys().cloned().collect()
    }

    /// The one that answered last.
    pub fn preferred(&self) -> Option<String> {
        self.shared.pool.lock().preferred.clone()
    }

    /// These are the servers now, and connections to others are cut. An empty list changes nothing.
    pub fn set_servers(&self, servers: Vec<String>) {
        let servers: Vec<String> = servers.into_iter().filter(|server| split(server).is_some()).collect();
        let mut pool = self.shared.pool.lock();
        if !pool.replace(servers) {
            return;
        }
        let Some(file) = &self.shared.file else { return };
        let mut text = String::new();
        for server in pool.servers.keys() {
            let _ = writeln!(text, "{server}");
        }
        // Under the lock: the older list must not win.
        if let Err(error) = write(file, &text) {
            tracing::warn!("cannot keep the list of API servers in {}: {error}", file.display());
        }
    }

    /// Cuts all connections: new ones show new credentials.
    pub fn reconnect(&self) {
        for alive in self.shared.pool.lock().servers.values_mut() {
            std::mem::take(&mut alive.connections).cancel();
        }
    }

    /// Follows the API's own Service until the informer ends.
    pub async fn follow(self, slices: Informer<EndpointSlice>) {
        slices.synced().await;
        let mut events = slices.subscribe();
        while let Some(event) = events.recv().await {
            if !is_of_api(event.object()) {
                continue;
            }
            let all = slices.list();
            self.set_servers(
                all.iter().filter(|slice| is_of_api(slice)).flat_map(|slice| of_slice(slice)).collect(),
            );
        }
    }

    /// Opens a connection with `attempt` to the first server that it succeeds with; answers what cuts it later, too.
    ///
    /// # Errors
    /// What the last server said when none succeeded.
    pub(crate) async fn connect<T, W>(
        &self,
        attempt: impl Fn(String) -> W,
    ) -> io::Result<(T, CancellationToken)>
    where
        W: Future<Output = io::Result<T>>,
    {
        let mut waiting = self.shared.pool.lock().order(Instant::now()).into_iter();
        let mut running = FuturesUnordered::new();
        let begin = |server: String| {
            let connecting = attempt(server.clone());
            async move { (server, connecting.await) }
        };
        let mut tried = Vec::new();
        let mut last = io::Error::new(io::ErrorKind::NotConnected, "no API server is known");
        let mut go_on = true;
        loop {
            if std::mem::take(&mut go_on)
                && let Some(server) = waiting.next()
            {
                tried.push(server.clone());
                running.push(begin(server));
            }
            tokio::select! {
                ended = running.next() => match ended {
                    None => return Err(last),
                    Some((server, Err(error))) => {
                        tracing::debug!(server, %error, "the API server does not answer");
                        last = io::Error::new(error.kind(), format!("{server}: {error}"));
                        self.shared.pool.lock().failed(&server, Instant::now());
                        go_on = true;
                    }
                    Some((server, Ok(connection))) => {
                        let mut pool = self.shared.pool.lock();
                        // Those that it overtook are slow at best.
                        for slower in tried.iter().filter(|tried| **tried != server) {
                            pool.failed(slower, Instant::now());
                        }
                        if let Some(cut) = pool.succeeded(&server) {
                            return Ok((connection, cut));
                        }
                        // It went out of the list meanwhile.
                        go_on = true;
                    }
                },
                () = sleep(STAGGER), if waiting.len() > 0 => go_on = true,
            }
        }
    }
}

/// What is known of the servers: pure.
#[derive(Debug, Default)]
struct Pool {
    servers: BTreeMap<String, Known>,
    preferred: Option<String>,
}

#[derive(Debug, Default)]
struct Known {
    failed: Option<Instant>,
    /// Cut when it is no server any more.
    connections: CancellationToken,
}

impl Pool {
    /// Answers whether the list is another one now.
    fn replace(&mut self, servers: Vec<String>) -> bool {
        let wanted: BTreeSet<String> = servers.into_iter().collect();
        if wanted.is_empty() || wanted.iter().eq(self.servers.keys()) {
            return false;
        }
        self.servers.retain(|server, known| {
            let stays = wanted.contains(server);
            if !stays {
                known.connections.cancel();
            }
            stays
        });
        for server in wanted {
            self.servers.entry(server).or_default();
        }
        self.preferred = self.preferred.take().filter(|server| self.servers.contains_key(server));
        true
    }

    /// The servers in the order in which to try them. Which of several that are equally good comes first is left to
    /// chance, so that workers spread.
    fn order(&self, now: Instant) -> Vec<String> {
        let suspect = |known: &Known| known.failed.is_some_and(|at| now.duration_since(at) < SUSPICION);
        let mut order: Vec<(bool, bool, u32, &String)> = self
            .servers
            .iter()
            .map(|(server, known)| {
                (suspect(known), self.preferred.as_ref() != Some(server), rand::random(), server)
            })
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., server)| server.clone()).collect()
    }

    fn failed(&mut self, server: &str, now: Instant) {
        if let Some(known) = self.servers.get_mut(server) {
            known.failed = Some(now);
        }
    }

    /// What cuts connections to the server; None when it is none any more.
    fn succeeded(&mut self, server: &str) -> Option<CancellationToken> {
        let known = self.servers.get_mut(server)?;
        known.failed = None;
        if self.preferred.as_deref() != Some(server) {
            tracing::info!(server, "using the API server");
            self.preferred = Some(server.to_owned());
        }
        Some(known.connections.clone())
    }
}

/// Host and port of `HOST:PORT`; an IPv6 address without its brackets.
pub fn split(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match bare {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains(|c: char| c == ':' || c == '/' || c.is_whitespace()),
    };
    valid.then_some((bare.unwrap_or(host), port))
}

fn is_of_api(slice: &EndpointSlice) -> bool {
    // Others of the Service's are for pods.
    let metadata = &slice.metadata;
    (metadata.namespace.as_deref(), metadata.name.as_deref()) == (Some(SERVICE.0), Some(SERVICE.1))
}

fn of_slice(slice: &EndpointSlice) -> Vec<String> {
    let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
    let ports: Vec<u16> = ports.collect();
    let ready = |endpoint: &&Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let addresses = slice.endpoints.iter().flatten().filter(ready).flat_map(|endpoint| &endpoint.addresses);
    let addresses = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
    addresses
        .flat_map(|address| ports.iter().map(move |port| SocketAddr::new(address, *port).to_string()))
        .collect()
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, file)
}

#[cfg(test)]
#[path = "balancer_tests.rs"]
mod tests;
