//! Other nodes: calls with a deadline, and openraft's view of them.

use crate::bug::{Bug, is_back};
use crate::raft::core::Core;
use crate::raft::snapshot;
use crate::raft::transport::{Peer, Transport, TransportError};
use crate::raft::types::{RaftEntry, Seat, Types, to_row};
use crate::raft::wire::{self, Head, Reply, Request};
use bytes::Bytes;
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot, Vote};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node may take for a piece of a snapshot: two megabits a second for one of a megabyte. It does not let
/// anybody wait for as long as it installs one.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts at a piece before the snapshot is given up.
const PIECE_ATTEMPTS: u32 = 8;

/// Between attempts to reach a node that is down.
const PAUSE: Duration = Duration::from_millis(200);

/// The other nodes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) core: Arc<Core>,
    pub(crate) cluster: Arc<str>,
    pub(crate) transport: Arc<dyn Transport>,
    /// When each node last answered.
    pub(crate) contacts: Arc<Mutex<HashMap<u64, Instant>>>,
    /// The snapshot that each node is sent, or was sent and has not come to the end of the log since: what follows it is
    /// needed.
    pub(crate) snapshots: Arc<Mutex<HashMap<u64, Sent>>>,
}

/// A snapshot that openraft has this node send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Its last entry, as openraft sees it.
    pub(crate) last: u64,
    /// Whether it is not installed yet.
    pub(crate) under_way: bool,
    /// Tells it from others that the node is sent.
    begun: u64,
}

/// Notes that a snapshot is under way until it has arrived. Dropped before, it notes that it does not arrive.
struct Sending<'a> {
    all: &'a Mutex<HashMap<u64, Sent>>,
    to: u64,
    begun: u64,
}

impl<'a> Sending<'a> {
    fn begin(all: &'a Mutex<HashMap<u64, Sent>>, to: u64, last: u64) -> Self {
        static BEGUN: AtomicU64 = AtomicU64::new(0);
        let begun = BEGUN.fetch_add(1, Ordering::Relaxed);
        all.lock().insert(to, Sent { last, under_way: true, begun });
        Self { all, to, begun }
    }

    fn arrived(self) {
        if let Some(sent) = self.all.lock().get_mut(&self.to).filter(|sent| sent.begun == self.begun) {
            sent.under_way = false;
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if all.get(&self.to).is_some_and(|sent| sent.under_way && sent.begun == self.begun) {
            all.remove(&self.to);
        }
    }
}

impl Network {
    /// Asks a node. A refusal is a reply.
    pub(crate) async fn call(
        &self,
        to: &Peer,
        request: Request,
        payload: &[u8],
        patience: Duration,
    ) -> Result<Reply, TransportError> {
        let head = Head { cluster: self.cluster.to_string(), from: self.core.node, to: to.id, request };
        let unsent = |error: wire::WireError| TransportError::Unreachable(error.to_string());
        let message = wire::encode(&head, payload).map_err(unsent)?;
        let late = |_| TransportError::NoAnswer(format!("it took longer than {patience:?}"));
        let answer =
            tokio::time::timeout(patience, self.transport.call(to, message)).await.map_err(late)??;
        let damaged = |error: wire::WireError| TransportError::NoAnswer(error.to_string());
        let (mut reply, payload) = wire::decode(answer).map_err(damaged)?;
        if let Reply::Fed { entries, .. } = &mut reply {
            *entries = payload;
        }
        self.contacts.lock().insert(to.id, Instant::now());
        Ok(reply)
    }
}

/// openraft's connection to one node.
pub(crate) struct Connection {
    pub(crate) network: Network,
    pub(crate) peer: Peer,
    /// Whether the node fetches the log. Then it is told who leads, and openraft takes it for one that is down.
    pub(crate) spare: bool,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, id: u64, seat: &Seat) -> Connection {
        let peer = Peer { id, member: seat.member.clone() };
        Connection { network: self.clone(), peer, spare: seat.spare }
    }
}

type RpcError = RPCError<u64, Seat, RaftError<u64>>;

fn failed(error: &TransportError) -> RpcError {
    match error {
        TransportError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(error)),
        TransportError::NoAnswer(_) => RPCError::Network(NetworkError::new(error)),
    }
}

fn unexpected(reply: &Reply) -> io::Error {
    match reply {
        Reply::Refused(why) | Reply::Failed(why) => io::Error::other(why.clone()),
        other => io::Error::other(format!("an unexpected reply: {other:?}")),
    }
}

impl Connection {
    async fn ask(&self, request: Request, payload: &[u8], patience: Duration) -> Result<Reply, RpcError> {
        let reply = self.network.call(&self.peer, request, payload, patience).await;
        match reply.map_err(|error| failed(&error))? {
            // Until it says otherwise, there is no use in asking it again and again.
            reply @ Reply::Refused(_) => {
                tracing::debug!(node = self.peer.id, ?reply, "a node refuses messages");
                Err(RPCError::Unreachable(Unreachable::new(&unexpected(&reply))))
            }
            reply @ Reply::Failed(_) => Err(RPCError::Network(NetworkError::new(&unexpected(&reply)))),
            reply => Ok(reply),
        }
    }

    /// Tells a spare who leads, and how far the log is. Answers whom it votes for instead, if it does; otherwise that it
    /// is not to be sent anything.
    async fn remind(&self, vote: Vote<u64>, patience: Duration) -> Result<Vote<u64>, Unreachable> {
        let elsewhere = Some(self.network.core.applied.borrow().saturating_sub(1));
        let request = Request::Append { vote, previous: None, commit: None, elsewhere };
        match self.ask(request, &[], patience).await {
            Ok(Reply::Append(AppendEntriesResponse::HigherVote(vote))) => Ok(vote),
            Ok(_) => Err(Unreachable::new(&io::Error::other("it fetches the log elsewhere"))),
            Err(error) => Err(Unreachable::new(&error)),
        }
    }

    /// Sends a snapshot.
    pub(crate) async fn stream(
        &self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let network = |error: &(dyn std::error::Error + 'static)| {
            StreamingError::Network(NetworkError::new(&io::Error::other(error.to_string())))
        };
        let file = snapshot::file(*snapshot.snapshot, &self.network.core).await.map_err(|e| network(&e))?;
        let examined = Arc::clone(&file);
        let examine = move || Ok((examined.meta()?, examined.checksum()?));
        let threads = &self.network.core.threads;
        let examined: Result<_, Box<dyn std::error::Error + Send + Sync>> =
            threads.run(examine).await.map_err(|e| network(&e))?;
        let (meta, (checksum, length)) = examined.map_err(|error| network(&*error))?;
        let (mut offset, mut failures) = (0, 0);
        loop {
            let source = Arc::clone(&file);
            let size = self.network.core.limits.snapshot_piece;
            let read = threads.run(move || piece(&source.path, offset, size)).await;
            let piece = read.map_err(|e| network(&e))?.map_err(|e| network(&e))?;
            let (meta, checksum) = (meta.clone(), checksum.clone());
            let request = Request::Snapshot { vote, meta, checksum, length, offset };
            let reply = match self.ask(request, &piece, PIECE_TIMEOUT).await {
                Ok(reply) => reply,
                Err(error) if failures == PIECE_ATTEMPTS => return Err(network(&error)),
                Err(error) => {
                    tracing::debug!(node = self.peer.id, offset, %error, "a piece of a snapshot is sent again");
                    failures += 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Reply::Snapshot { vote: theirs, received, installed } = reply else {
                return Err(network(&unexpected(&reply)));
            };
            if theirs > vote || installed {
                return Ok(SnapshotResponse::new(theirs));
            }
            // A node that lost what it had begins again.
            (offset, failures) = (received, 0);
        }
    }
}

fn piece(path: &std::path::Path, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut piece = Vec::new();
    file.take(size).read_to_end(&mut piece)?;
    Ok(piece)
}

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        if self.spare {
            let higher = self.remind(rpc.vote, option.hard_ttl()).await.map_err(RPCError::Unreachable)?;
            return Ok(AppendEntriesResponse::HigherVote(higher));
        }
        // openraft counts this node before its own log is on the disk.
        let committed = rpc.leader_commit.map_or(0, |id| id.index);
        let mut synced = self.network.core.synced.subscribe();
        let whole = |synced: &u64| *synced >= committed || is_back(Bug::EarlyCommit);
        let waited = synced.wait_for(whole).await.map(drop);
        waited.map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        let request = Request::Append {
            vote: rpc.vote,
            previous: rpc.prev_log_id,
            commit: rpc.leader_commit,
            elsewhere: None,
        };
        let rows = rpc.entries.iter().map(|entry: &RaftEntry| to_row(entry)).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        let payload = if rows.is_empty() { Bytes::new() } else { wire::put_rows(&rows).into() };
        match self.ask(request, &payload, option.hard_ttl()).await? {
            Reply::Append(response) => Ok(response),
            other => Err(RPCError::Network(NetworkError::new(&unexpected(&other)))),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        match self.ask(Request::Vote(rpc), &[], option.hard_ttl()).await? {
            Reply::Vote(response) => Ok(response),
            other => Err(RPCError::Network(NetworkError::new(&unexpected(&other)))),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        if self.spare {
            let told = self.remind(vote, option.hard_ttl()).await.map_err(StreamingError::Unreachable)?;
            return Ok(SnapshotResponse::new(told));
        }
        let last = snapshot.meta.last_log_id.map_or(0, |id| id.index);
        let sending = Sending::begin(&self.network.snapshots, self.peer.id, last);
        let sent = tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.stream(vote, snapshot) => sent,
        };
        if sent.is_ok() {
            sending.arrived();
        }
        sent
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}
