//! A client and real API servers that die, freeze and leave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Balancer;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use kube::client::Body;
use pki::tls::{ALPN_HTTP, ClientAuth, client_config, server_config};
use pki::{Component, LeafRequest, Pki, ServingCertResolver};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A ping that is not answered in time is noticed within 5 s; the rest is for machines that are busy.
const NOTICED: Duration = Duration::from_secs(20);

/// An API server on a thread of its own. Dropped, it dies: its connections are closed.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    /// What it sends keeps the thread from doing anything until it is dropped.
    freeze: mpsc::Sender<mpsc::Receiver<()>>,
    poke: tokio::sync::mpsc::UnboundedSender<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    fn start(pki: &Pki) -> Self {
        let leaf = pki.leaf(&LeafRequest::client(Component::ApiServer, "cp"), Timestamp::now()).unwrap();
        let resolver = Arc::new(ServingCertResolver::new(&leaf).unwrap());
        let clients = ClientAuth::Require(pki.cluster_ca().bundle().unwrap());
        let tls = TlsAcceptor::from(server_config(resolver, &clients, &ALPN_HTTP).unwrap());
        let (stop, (tell, told)) = (CancellationToken::new(), mpsc::channel());
        let (freeze, frozen) = mpsc::channel::<mpsc::Receiver<()>>();
        let (poke, mut poked) = tokio::sync::mpsc::unbounded_channel();
        let until = stop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    tokio::select! {
                        () = until.cancelled() => return,
                        Some(()) = poked.recv() => {
                            // The thread that drives everything stands still, as a machine without power does.
                            let _ = frozen.recv().unwrap().recv();
                        }
                        accepted = listener.accept() => {
                            let (tcp, _) = accepted.unwrap();
                            let tls = tls.clone();
                            let port = listener.local_addr().unwrap().port();
                            tokio::spawn(async move {
                                let Ok(stream) = tls.accept(tcp).await else { return };
                                let service = hyper::service::service_fn(move |request| answer(request, port));
                                let builder = auto::Builder::new(TokioExecutor::new());
                                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                            });
                        }
                    }
                }
            });
        });
        Self { address: told.recv().unwrap(), stop, freeze, poke }
    }

    /// It stands still until what this answers is dropped.
    fn freeze(&self) -> mpsc::Sender<()> {
        let (wake, sleeping) = mpsc::channel();
        self.freeze.send(sleeping).unwrap();
        self.poke.send(()).unwrap();
        wake
    }
}

/// Its own port; for a watch that and then nothing more.
async fn answer(
    request: Request<Incoming>,
    port: u16,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let first = futures::stream::once(async move { Ok(Frame::data(Bytes::from(port.to_string()))) });
    let body = if request.uri().path() == "/watch" {
        StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending())).boxed()
    } else {
        StreamBody::new(first).boxed()
    };
    Ok(Response::new(body))
}

struct World {
    _folder: tempfile::TempDir,
    pki: Pki,
    servers: Vec<Server>,
    balancer: Balancer,
    client: kube::Client,
}

fn world(count: usize) -> World {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(Path::new(folder.path()), Timestamp::now()).unwrap();
    let servers: Vec<Server> = (0..count).map(|_| Server::start(&pki)).collect();
    let names: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
    let balancer = Balancer::new(&names, None).unwrap();
    let leaf = pki.leaf(&LeafRequest::client(Component::KubeletClient, "w"), Timestamp::now()).unwrap();
    let tls = client_config(&pki.cluster_ca().bundle().unwrap(), Some(&leaf), &[]).unwrap();
    let client = client::balanced(&balancer, tls, "kubelet").unwrap();
    World { _folder: folder, pki, servers, balancer, client }
}

impl World {
    async fn ask(&self) -> Result<u16, kube::Error> {
        let text = self.client.request_text(Request::get("/x").body(vec![]).unwrap()).await?;
        Ok(text.parse().unwrap())
    }

    fn at(&self, port: u16) -> usize {
        self.servers.iter().position(|server| server.address.port() == port).unwrap()
    }

    /// Begins a watch; answers what is left of it.
    async fn watch(&self) -> (u16, Body) {
        let response = self.client.send(Request::get("/watch").body(Body::empty()).unwrap()).await.unwrap();
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (String::from_utf8(first.to_vec()).unwrap().parse().unwrap(), body)
    }
}

async fn ends(mut watch: Body) {
    let rest = tokio::time::timeout(NOTICED, watch.frame()).await.expect("the watch goes on");
    assert!(rest.is_none_or(|frame| frame.is_err()));
}

#[tokio::test]
async fn watches_and_requests_survive_servers_that_die() {
    let mut world = world(3);
    while !world.servers.is_empty() {
        let (port, watch) = world.watch().await;
        assert_eq!(world.ask().await.unwrap(), port, "all go over one connection");
        let dead = world.servers.remove(world.at(port));
        drop(dead);
        ends(watch).await;
        if !world.servers.is_empty() {
            assert_ne!(world.ask().await.unwrap(), port);
        }
    }
    assert!(world.ask().await.is_err());
    // One that comes back is found, though nobody lives whom it could be learned from.
    world.servers.push(Server::start(&world.pki));
    world.balancer.set_servers(vec![world.servers[0].address.to_string()]);
    assert_eq!(world.ask().await.unwrap(), world.servers[0].address.port());
}

#[tokio::test]
async fn a_frozen_server_is_left_within_seconds() {
    let world = world(2);
    let (port, watch) = world.watch().await;
    let asleep = world.servers[world.at(port)].freeze();
    ends(watch).await;
    let start = Instant::now();
    let (other, watch) = world.watch().await;
    assert_ne!(other, port);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(asleep);
    assert_eq!(world.ask().await.unwrap(), other, "there is no need to go back");
    drop(watch);
}

#[tokio::test]
async fn connections_to_a_server_that_left_are_cut() {
    let world = world(2);
    let (port, watch) = world.watch().await;
    let left = world.servers[world.at(port)].address.to_string();
    world.balancer.set_servers(world.balancer.servers().into_iter().filter(|name| *name != left).collect());
    ends(watch).await;
    assert_ne!(world.ask().await.unwrap(), port);
    // New credentials need new connections.
    let (_, watch) = world.watch().await;
    world.balancer.reconnect();
    ends(watch).await;
    world.ask().await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_cluster_is_not_believed() {
    let world = world(1);
    let folder = tempfile::tempdir().unwrap();
    let stranger = Server::start(&Pki::load_or_create(folder.path(), Timestamp::now()).unwrap());
    let ours = world.servers[0].address;
    world.balancer.set_servers(vec![stranger.address.to_string(), ours.to_string()]);
    assert_eq!(world.ask().await.unwrap(), ours.port());
    world.balancer.set_servers(vec![stranger.address.to_string()]);
    world.ask().await.unwrap_err();
}
