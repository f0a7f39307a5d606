//! Several nodes that reach each other through real sockets, with mutual TLS.

use crate::cluster::{timing, until};
use crate::fixture::{manual, object, pod};
use bytes::Bytes;
use datastore::raft::{
    Answerer, Change, ClusterOptions, Endpoint, Goal, HttpTransport, Member, Peer, Role, Ticket, Transport,
    TransportError, serve,
};
use datastore::{Datastore, Options};
use jiff::Timestamp;
use pki::{PEER_NAME, PeerIdentity, Pki};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use storage::Storage;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

fn identity(pki: &TempDir, node: &str) -> PeerIdentity {
    let now = Timestamp::now();
    PeerIdentity::new(Arc::new(Pki::load_or_create(pki.path(), now).unwrap()), node, now).unwrap()
}

fn transport(identity: &PeerIdentity) -> Arc<HttpTransport> {
    Arc::new(HttpTransport::new(identity.client(), PEER_NAME.try_into().unwrap()))
}

fn peer(address: SocketAddr) -> Peer {
    let member = Member { address: address.to_string(), ..Member::default() };
    Peer { id: 1, member }
}

/// A node on loopback; dropped, it is dead.
struct Node {
    store: Arc<Datastore>,
    member: Member,
    _dir: TempDir,
    server: AbortHandle,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Node {
    async fn new(name: &str, pki: &TempDir, listener: TcpListener, ticket: Option<Ticket>) -> Self {
        let identity = identity(pki, name);
        let address = listener.local_addr().unwrap().to_string();
        let member = Member { name: name.into(), address, ..Member::default() };
        let answering = Arc::new(OnceLock::<Weak<Datastore>>::new());
        let asked = Arc::clone(&answering);
        let answerer: Answerer = Arc::new(move || {
            let store = asked.get()?.upgrade()?;
            Some(Arc::clone(store.joined()?) as Arc<dyn Endpoint>)
        });
        let server = tokio::spawn(serve(listener, identity.server(), answerer)).abort_handle();
        let cluster = ClusterOptions {
            member: member.clone(),
            transport: transport(&identity),
            timing: timing(),
            goal: Goal::default(),
            ticket,
        };
        let dir = tempfile::tempdir().unwrap();
        let options = Options { cluster: Some(cluster), ..manual() };
        let store = Datastore::open(dir.path(), options).await.unwrap();
        answering.set(Arc::downgrade(&store)).unwrap();
        Self { store, member, _dir: dir, server }
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_machines_go_on_when_the_leader_dies() {
    let pki = tempfile::tempdir().unwrap();
    let first = Node::new("n1", &pki, listener().await, None).await;
    first.store.create(&pod("before"), object("before", 0)).await.unwrap();
    let cluster = first.store.cluster().await.unwrap();
    let mut nodes = vec![first];
    for name in ["n2", "n3"] {
        let listener = listener().await;
        let address = listener.local_addr().unwrap().to_string();
        let member = Member { name: name.into(), address, ..Member::default() };
        let id = cluster.change(Change::Add(member)).await.unwrap();
        nodes.push(Node::new(name, &pki, listener, Some(cluster.ticket(id))).await);
    }
    until(|| {
        nodes.iter().all(|node| {
            let members = node.store.joined().unwrap().members();
            let known = |other: &Node| members.values().any(|(member, _)| *member == other.member);
            members.values().filter(|(_, role)| *role == Role::Voter).count() == 3 && nodes.iter().all(known)
        })
    })
    .await;
    drop(cluster);
    // Through a follower, which has to reach the leader.
    nodes[2].store.create(&pod("a"), object("a", 1)).await.unwrap();
    let leader = nodes[2].store.joined().unwrap().leader().unwrap();
    let dead = nodes.iter().position(|node| node.store.joined().unwrap().id() == leader).unwrap();
    nodes.remove(dead);
    for (n, node) in nodes.iter().enumerate() {
        let name = format!("after-{n}");
        node.store.create(&pod(&name), object(&name, 2)).await.unwrap();
        for key in ["before", "a", &name] {
            assert!(nodes[0].store.get(&pod(key)).await.unwrap().is_some(), "{key}");
        }
    }
    let status = nodes[0].store.joined().unwrap().status().await;
    assert!(status.quorum && !status.survives_a_loss, "{status:?}");
    for node in &nodes {
        node.store.shutdown().await;
    }
}

struct Echo;

#[async_trait::async_trait]
impl Endpoint for Echo {
    async fn serve(&self, request: Bytes) -> Bytes {
        request
    }
}

#[tokio::test]
async fn nobody_but_a_peer_is_answered_and_nobody_but_a_peer_is_asked() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listener = listener().await;
    let peer = peer(listener.local_addr().unwrap());
    let server = serve(listener, identity(&ours, "n1").server(), Arc::new(|| Some(Arc::new(Echo) as _)));
    let server = tokio::spawn(server);
    let message = Bytes::from(vec![7; 3 << 20]);
    let reply = transport(&identity(&ours, "n2")).call(&peer, message.clone()).await;
    assert_eq!(reply.unwrap(), message);
    let foreign = transport(&identity(&theirs, "n2")).call(&peer, message.clone()).await;
    assert!(matches!(foreign, Err(TransportError::Unreachable(_))), "{foreign:?}");
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    let gone = transport(&identity(&ours, "n3")).call(&peer, message).await;
    assert!(matches!(gone, Err(TransportError::Unreachable(_))), "{gone:?}");
}

#[tokio::test]
async fn a_peer_that_was_away_is_reached_again() {
    let pki = tempfile::tempdir().unwrap();
    let identity = identity(&pki, "n1");
    let transport = transport(&identity);
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let alone: Answerer = Arc::new(|| None);
    let server = tokio::spawn(serve(listener, identity.server(), alone));
    let message = Bytes::from_static(b"x");
    // It listens, but belongs to no cluster.
    let refused = transport.call(&peer(address), message.clone()).await;
    assert!(matches!(refused, Err(TransportError::Unreachable(_))), "{refused:?}");
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    until_unreachable(&transport, address).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let answerer: Answerer = Arc::new(|| Some(Arc::new(Echo) as _));
    tokio::spawn(serve(listener, identity.server(), answerer));
    assert_eq!(transport.call(&peer(address), message.clone()).await.unwrap(), message);
}

async fn until_unreachable(transport: &HttpTransport, address: SocketAddr) {
    while transport.call(&peer(address), Bytes::new()).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
