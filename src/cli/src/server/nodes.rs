//! This node among the others: how its datastore reaches theirs, and who is a member.
//!
//! A node that is alone pays for none of it: it has no datastore authority, listens on no port, and its datastore runs
//! without openraft until another node joins.

use super::listen;
use super::settings::Settings;
use crate::cluster::facts::Facts;
use crate::cluster::local::{Member, Report, Role};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use apiserver::ApiServer;
use async_trait::async_trait;
use bytes::Bytes;
use client::Rest;
use datastore::Datastore;
use datastore::raft::{
    Change, ChangeError, Cluster, ClusterOptions, Endpoint, Goal, HttpTransport, Peer, Timing, Transport,
    TransportError, serve,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use pki::{PEER_NAME, PeerIdentity, Pki};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{OnceCell, SetOnce, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Entries that a node may lack and still count as caught up: a moment's writes.
const LAG: u64 = 128;
/// Attempts to leave: the leader may change, and who votes, in between.
const ATTEMPTS: usize = 10;
/// How long saying goodbye may take: without a quorum nobody hears it.
const WITHDRAW: Duration = Duration::from_secs(1);
/// A node that has said nothing to the leader of the datastore for this long is dead, or as good as dead: it answers the
/// leader every 80 ms (a spare every 200 to 300, so twice as long), and would stand for election itself if it heard as
/// little of it. A mistake costs little: the leader never takes itself for dead, so whatever it takes over stays with it.
const SILENCE: Duration = Duration::from_millis(400);
/// How often the number of members is looked at, in a cluster.
const LOOK: Duration = Duration::from_secs(1);

/// This node among the others.
pub struct Nodes {
    settings: Settings,
    paths: Paths,
    pki: SetOnce<Arc<Pki>>,
    peers: OnceCell<Peers>,
    store: OnceLock<Weak<Datastore>>,
    rest: OnceLock<Rest>,
    api: OnceLock<ApiServer>,
    listener: tokio::sync::Mutex<Option<AbortHandle>>,
    clustered: watch::Sender<bool>,
    /// Since when this node was seen to lead the datastore.
    leading: Mutex<Option<Instant>>,
}

struct Peers {
    identity: PeerIdentity,
    transport: HttpTransport,
}

#[async_trait]
impl Transport for Nodes {
    async fn call(&self, to: &Peer, request: Bytes) -> Result<Bytes, TransportError> {
        let peers = self.peers().await;
        let peers = peers.map_err(|error| TransportError::Unreachable(format!("{error:#}")))?;
        peers.transport.call(to, request).await
    }
}

impl Nodes {
    /// A node that is alone as far as it knows.
    pub fn new(settings: &Settings, paths: &Paths) -> Arc<Self> {
        Arc::new(Self {
            settings: settings.clone(),
            paths: paths.clone(),
            pki: SetOnce::new(),
            peers: OnceCell::new(),
            store: OnceLock::new(),
            rest: OnceLock::new(),
            api: OnceLock::new(),
            listener: tokio::sync::Mutex::default(),
            clustered: watch::Sender::new(false),
            leading: Mutex::default(),
        })
    }

    /// What the datastore needs to know.
    pub fn options(self: &Arc<Self>) -> ClusterOptions {
        ClusterOptions {
            member: datastore::raft::Member {
                name: self.settings.node_name.clone(),
                address: self.address().to_string(),
                failure_domain: self.settings.failure_domain.clone(),
            },
            transport: Arc::clone(self) as Arc<dyn Transport>,
            timing: Timing::default(),
            goal: Goal { standbys: self.settings.datastore_standbys, ..Goal::default() },
            ticket: self.settings.ticket.clone(),
        }
    }

    /// Gives it the certificates.
    pub fn set_pki(&self, pki: &Arc<Pki>) {
        // It is given once.
        let _ = self.pki.set(Arc::clone(pki));
    }

    /// Gives it the datastore.
    pub fn set_store(&self, store: &Arc<Datastore>) {
        let _ = self.store.set(Arc::downgrade(store));
    }

    /// Gives it the API, as the administrator.
    pub fn set_client(&self, client: kube::Client) {
        let _ = self.rest.set(Rest::new(client));
    }

    /// Gives it the API server.
    pub fn set_api(&self, api: &ApiServer) {
        let _ = self.api.set(api.clone());
    }

    /// Takes this node's API server off the list that clients choose from, unless it is the last.
    pub async fn withdraw(&self) {
        let Some(api) = self.api.get() else { return };
        if !matches!(tokio::time::timeout(WITHDRAW, api.withdraw()).await, Ok(Ok(()))) {
            tracing::info!("clients find out by themselves that this server has ended");
        }
    }

    /// The API; None before it answers.
    pub fn rest(&self) -> Option<&Rest> {
        self.rest.get()
    }

    /// The certificates; None while they are read.
    pub fn pki(&self) -> Option<&Arc<Pki>> {
        self.pki.get()
    }

    /// The flags.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The layout.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Whether there are other nodes, or about to be.
    pub fn clustered(&self) -> watch::Receiver<bool> {
        self.clustered.subscribe()
    }

    /// Where other nodes reach its datastore.
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.settings.address, self.settings.datastore_port)
    }

    async fn peers(&self) -> Result<&Peers> {
        let make = || async {
            let pki = Arc::clone(self.pki.wait().await);
            let node = self.settings.node_name.clone();
            let made = tokio::task::spawn_blocking(move || PeerIdentity::new(pki, &node, Timestamp::now()));
            let identity = made.await?.context("cannot make the datastore's certificate")?;
            let transport = HttpTransport::new(identity.client(), PEER_NAME.try_into()?);
            anyhow::Ok(Peers { identity, transport })
        };
        self.peers.get_or_try_init(make).await
    }

    fn store(&self) -> Option<Arc<Datastore>> {
        self.store.get()?.upgrade()
    }

    fn joined(&self) -> Option<Arc<Cluster>> {
        self.store()?.joined().cloned()
    }

    /// Listens for other nodes' datastores, if it does not yet.
    async fn listen(self: &Arc<Self>) -> Result<()> {
        let mut listening = self.listener.lock().await;
        if listening.is_some() {
            return Ok(());
        }
        let peers = self.peers().await?;
        let port = self.settings.datastore_port;
        let bind = self.settings.bind.ip();
        let ip = if bind.is_unspecified() { bind } else { self.settings.address };
        let listener = match listen::on(SocketAddr::new(ip, port)) {
            Ok(listener) => listener,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                bail!("port {port} is taken by another program; stop it, or give --datastore-port")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot listen on {ip}, port {port}"));
            }
        };
        let this = Arc::downgrade(self);
        let endpoint = move || Some(this.upgrade()?.joined()? as Arc<dyn Endpoint>);
        let server = serve(listener, peers.identity.server(), Arc::new(endpoint));
        *listening = Some(tokio::spawn(server).abort_handle());
        Ok(())
    }

    /// After the datastore was opened: in a cluster, waits until a majority of it is there. Answers false when it was
    /// stopped before.
    ///
    /// # Errors
    /// When the port for other nodes is taken.
    pub async fn wait_for_majority(self: &Arc<Self>, stop: &CancellationToken) -> Result<bool> {
        let Some(cluster) = self.joined() else { return Ok(true) };
        self.listen().await?;
        self.clustered.send_replace(true);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                reached = cluster.barrier() => match reached {
                    Ok(()) => return Ok(true),
                    Err(error) => tracing::warn!(
                        "waiting for the other nodes of the cluster: {error}; `knarr status` tells which ones answer"
                    ),
                }
            }
        }
    }

    /// Makes a cluster of a node that is alone, so that another one can join.
    ///
    /// # Errors
    /// When the port is taken, or the datastore cannot.
    pub async fn found(self: &Arc<Self>) -> Result<Arc<Cluster>> {
        self.listen().await?;
        let store = self.store().context("the datastore is closed")?;
        if Facts::load(&self.paths)?.is_none() {
            let node_name = Some(self.settings.node_name.clone());
            Facts { common: self.settings.common(), node_name, ticket: None }.save(&self.paths)?;
        }
        let cluster = store.cluster().await?;
        self.clustered.send_replace(true);
        cluster.barrier().await?;
        Ok(cluster)
    }

    /// Another node is a member now.
    pub fn grown(&self) {
        self.clustered.send_replace(true);
    }

    /// How the datastore is now. Takes a second when a node does not answer.
    pub async fn report(&self) -> Report {
        let Some(store) = self.store() else { return Report::default() };
        let Some(cluster) = store.joined() else {
            let member = Member {
                id: 0,
                name: self.settings.node_name.clone(),
                address: self.address().to_string(),
                role: Role::Voter,
                alive: true,
                leader: true,
                caught_up: true,
            };
            return Report { node: 0, members: vec![member], quorum: true, survives_a_loss: false };
        };
        let status = cluster.status().await;
        let last = status.members.iter().filter_map(|member| Some(member.report.as_ref()?.last)).max();
        let member = |found: &datastore::raft::MemberStatus| Member {
            id: found.id,
            name: found.member.name.clone(),
            address: found.member.address.clone(),
            role: found.role.into(),
            alive: found.report.is_some(),
            leader: status.leader == Some(found.id),
            caught_up: found.report.as_ref().is_some_and(|report| report.applied + LAG >= last.unwrap_or(0)),
        };
        Report {
            node: status.node,
            members: status.members.iter().map(member).collect(),
            quorum: status.quorum,
            survives_a_loss: status.survives_a_loss,
        }
    }

    /// This node is no member any more when this returns.
    ///
    /// # Errors
    /// Why it still is one, in words that say what to do.
    pub async fn leave(&self) -> Result<()> {
        let alone = "this node is alone: there is no cluster to leave";
        let cluster = self.joined().context(alone)?;
        if cluster.members().len() < 2 {
            bail!(alone);
        }
        // While it can: without the datastore it could not say so any more. If it stays after all, it is listed again.
        self.withdraw().await;
        self.remove_member(&cluster, cluster.id()).await
    }

    /// The number of a member.
    pub fn member(&self, name: &str) -> Option<u64> {
        let cluster = self.joined()?;
        place(&cluster, name).map(|(id, _)| id)
    }

    /// Whether what acted on a node, and is not this process, is gone: for certain, or for all that the leader of the
    /// datastore knows. Others tell of nobody else.
    pub fn is_gone(&self, name: &str) -> bool {
        if name == self.settings.node_name {
            // This process is the one that runs here now.
            return true;
        }
        let cluster = self.joined().filter(|cluster| cluster.is_leader());
        let mut leading = self.leading.lock();
        let Some(cluster) = cluster else {
            *leading = None;
            return false;
        };
        let now = Instant::now();
        // One that leads has heard of nobody yet.
        let since = *leading.get_or_insert(now);
        let Some((id, role)) = place(&cluster, name) else { return true };
        let heard = cluster.last_contact(id).map_or(since, |heard| heard.max(since));
        let silence = if role == datastore::raft::Role::Spare { 2 * SILENCE } else { SILENCE };
        now.duration_since(heard) > silence
    }

    /// Another node is no member any more when this returns.
    ///
    /// # Errors
    /// Why it still is one, in words that say what to do.
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        if name == self.settings.node_name {
            bail!("this is node {name} itself: run `knarr leave` to have it leave the cluster");
        }
        let (Some(cluster), Some(id)) = (self.joined(), self.member(name)) else { return Ok(()) };
        let alive = self.report().await.members.iter().any(|member| member.id == id && member.alive);
        if alive && !force {
            bail!("node {name} is alive: run `knarr leave` on it, or remove it with --force");
        }
        self.remove_member(&cluster, id).await
    }

    async fn remove_member(&self, cluster: &Cluster, id: u64) -> Result<()> {
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            let voter = datastore::raft::Role::Voter;
            let members = cluster.members();
            if !members.contains_key(&id) {
                return Ok(());
            }
            let voters: Vec<u64> =
                members.iter().filter(|(_, (_, role))| *role == voter).map(|(id, _)| *id).collect();
            if voters == [id] {
                // Somebody else has to have the state, and the say, before it goes.
                let alive = self.report().await.members;
                let heir = alive.iter().find(|member| member.id != id && member.alive && member.caught_up);
                let heir = heir.context(
                    "no other node has the cluster's state yet; wait until one is alive and has caught up \
                     (`knarr status`)",
                )?;
                match cluster.change(Change::Promote(heir.id)).await {
                    Ok(_) => {}
                    Err(ChangeError::Refused(text) | ChangeError::Unfinished(text)) => {
                        why = text;
                        continue;
                    }
                }
            }
            match cluster.change(Change::Remove(id)).await {
                Ok(_) => return Ok(()),
                Err(ChangeError::Refused(text) | ChangeError::Unfinished(text)) => why = text,
            }
            if !self.report().await.quorum {
                bail!("too few nodes of the datastore are alive to change anything: {why}");
            }
        }
        bail!("{why}")
    }

    /// Looks after what goes on in a cluster, until `stop`: joins that were never finished, certificates, and whether
    /// there still are other nodes.
    pub async fn look_after(self: Arc<Self>, stop: CancellationToken) {
        let mut clustered = self.clustered();
        let mut looks: u32 = 0;
        loop {
            // Alone: nothing wakes it.
            let begun = async { clustered.wait_for(|clustered| *clustered).await.is_ok() };
            match stop.run_until_cancelled(begun).await {
                Some(true) => {}
                Some(false) | None => return,
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(cluster) = self.joined() else { continue };
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(30) {
                if cluster.is_leader()
                    && let Err(error) = super::join::sweep(&self).await
                {
                    tracing::warn!("cannot tidy up after nodes that did not join: {error:#}");
                }
                if let Some(peers) = self.peers.get()
                    && let Err(error) = peers.identity.refresh(Timestamp::now())
                {
                    tracing::error!("the datastore's certificate is not renewed: {error}");
                }
            }
            if looks.is_multiple_of(5) && cluster.members().len() < 2 {
                self.clustered.send_replace(false);
            }
        }
    }

    /// Makes another node the leader, if this one is.
    pub async fn hand_over(&self) {
        if let Some(cluster) = self.joined()
            && cluster.is_leader()
        {
            cluster.hand_over().await;
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get_mut().take() {
            listener.abort();
        }
    }
}

/// The number and the role of the member of a name.
fn place(cluster: &Cluster, name: &str) -> Option<(u64, datastore::raft::Role)> {
    let mut members = cluster.members().into_iter();
    members.find(|(_, (member, _))| member.name == name).map(|(id, (_, role))| (id, role))
}
