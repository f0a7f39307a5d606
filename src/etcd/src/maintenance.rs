//! How the datastore is, who its members are, and its snapshots.

use crate::grpc::Status;
use crate::kv::ALL;
use crate::messages::{
    AlarmRequest, HashKvRequest, HashKvResponse, HeaderResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, Member, MemberListResponse, ResponseHeader, SnapshotResponse, StatusResponse,
};
use crate::view::{View, signed, status};
use datastore::raft::Role;
use futures::Stream;
use sha2::{Digest as _, Sha256};
use std::any::Any;
use std::path::PathBuf;
use storage::{ListOptions, ListRevision, Storage as _};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Bytes of a snapshot that are sent at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A snapshot that is to be sent.
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Removes it when it is dropped.
    pub guard: Box<dyn Any + Send>,
}

impl View {
    pub(crate) async fn status(&self) -> Result<StatusResponse, Status> {
        let condition = self.store().condition(false).await.map_err(|error| status(&error))?;
        let cluster = self.store().joined();
        let learner = cluster
            .and_then(|cluster| cluster.members().get(&cluster.id()).map(|(_, role)| *role != Role::Voter));
        Ok(StatusResponse {
            header: self.header(),
            version: self.0.version.clone(),
            db_size: signed(condition.file_bytes),
            leader: cluster.map_or(Some(condition.node), |cluster| cluster.leader()).unwrap_or(0),
            raft_index: condition.applied_index,
            raft_term: condition.term,
            raft_applied_index: condition.applied_index,
            errors: Vec::new(),
            db_size_in_use: signed(condition.used_bytes),
            is_learner: learner.unwrap_or(false),
        })
    }

    /// A sum of all keys at a revision: nodes with the same state give the same.
    pub(crate) async fn hash(&self, request: &HashKvRequest) -> Result<HashKvResponse, Status> {
        let asked = u64::try_from(request.revision).unwrap_or(0);
        let revision = if asked == 0 { ListRevision::MostRecent } else { ListRevision::Exact(asked) };
        let options = ListOptions { revision, ..ListOptions::default() };
        let list = self.store().list(ALL, options).await.map_err(|error| status(&error))?;
        let mut hash = Sha256::new();
        for object in &list.items {
            hash.update(object.key.as_bytes());
            hash.update(object.revision.to_le_bytes());
            hash.update(object.create_revision.to_le_bytes());
        }
        let sum = hash.finalize();
        let first = sum.first_chunk::<4>().copied().unwrap_or_default();
        Ok(HashKvResponse {
            header: self.header(),
            hash: u32::from_le_bytes(first),
            compact_revision: signed(self.store().compacted_revision()),
            hash_revision: signed(list.revision),
        })
    }

    /// There are no alarms: what would raise one is told to who writes.
    pub(crate) fn alarm(&self, request: AlarmRequest) -> Result<HeaderResponse, Status> {
        match request.action {
            0 => Ok(HeaderResponse { header: self.header() }),
            _ => Err(refused()),
        }
    }

    pub(crate) fn members(&self) -> MemberListResponse {
        let own = self.store().node_id();
        let urls = |id: u64| if id == own { self.0.client_urls.clone() } else { Vec::new() };
        let members = match self.store().joined() {
            Some(cluster) => cluster
                .members()
                .into_iter()
                .map(|(id, (member, role))| Member {
                    id,
                    name: member.name,
                    peer_urls: vec![format!("https://{}", member.address)],
                    client_urls: urls(id),
                    is_learner: role != Role::Voter,
                })
                .collect(),
            None => vec![Member {
                id: own,
                name: self.0.name.clone(),
                client_urls: urls(own),
                ..Member::default()
            }],
        };
        MemberListResponse { header: self.header(), members }
    }

    pub(crate) fn time_to_live(&self, request: LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse {
        LeaseTimeToLiveResponse { header: self.header(), id: request.id, ttl: -1 }
    }

    /// A snapshot, made now.
    pub(crate) async fn snapshot(
        &self,
    ) -> Result<impl Stream<Item = Result<SnapshotResponse, Status>> + Send + 'static, Status> {
        let taken = (self.0.snapshot)().await.map_err(|why| Status::new(Status::UNAVAILABLE, why))?;
        let file = File::open(&taken.path).await.map_err(unreadable)?;
        let left = file.metadata().await.map_err(unreadable)?.len();
        let header = self.header();
        Ok(futures::stream::unfold(
            Some((file, left, taken, header)),
            async |state: Option<(File, u64, SnapshotFile, Option<ResponseHeader>)>| {
                let (mut file, left, taken, header) = state.filter(|(_, left, ..)| *left > 0)?;
                let mut piece = vec![0; PIECE_BYTES];
                let count = match file.read(&mut piece).await {
                    Ok(0) => {
                        return Some((
                            Err(Status::new(Status::UNAVAILABLE, "the snapshot is cut off")),
                            None,
                        ));
                    }
                    Ok(count) => count,
                    Err(error) => return Some((Err(unreadable(error)), None)),
                };
                piece.truncate(count);
                let remaining_bytes = left.saturating_sub(count as u64);
                let answer = SnapshotResponse { header: header.clone(), remaining_bytes, blob: piece.into() };
                Some((Ok(answer), Some((file, remaining_bytes, taken, header))))
            },
        ))
    }
}

fn unreadable(error: std::io::Error) -> Status {
    Status::new(Status::UNAVAILABLE, error.to_string())
}

/// The answer to whatever would change something.
pub(crate) fn refused() -> Status {
    let text = "etcdserver: this is a view for reading of Knarr's datastore; write through the Kubernetes API, and look \
                after the datastore with `knarr datastore`";
    Status::new(Status::PERMISSION_DENIED, text)
}
