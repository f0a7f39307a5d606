//! What all answers have in common.

use crate::grpc::Status;
use crate::keys::in_etcd;
use crate::maintenance::SnapshotFile;
use crate::messages::{KeyValue, ResponseHeader};
use bytes::Bytes;
use datastore::Datastore;
use futures::future::BoxFuture;
use std::sync::Arc;
use storage::{Object, Storage as _, StorageError};

/// Makes a snapshot, to be sent.
pub type TakeSnapshot = dyn Fn() -> BoxFuture<'static, Result<SnapshotFile, String>> + Send + Sync;

/// What is shown.
pub struct ViewOptions {
    /// The datastore.
    pub store: Arc<Datastore>,
    /// This node's name.
    pub name: String,
    /// Where clients reach this node, as URLs.
    pub client_urls: Vec<String>,
    /// The version to tell.
    pub version: String,
    /// Makes what `snapshot save` gets: a multiple of 512 bytes, and behind it their SHA-256.
    pub snapshot: Arc<TakeSnapshot>,
}

/// The datastore as clients of etcd see it. Clones are the same.
#[derive(Clone)]
pub struct View(pub(crate) Arc<ViewOptions>);

impl View {
    /// A view of a datastore.
    pub fn new(options: ViewOptions) -> Self {
        Self(Arc::new(options))
    }

    pub(crate) fn store(&self) -> &Arc<Datastore> {
        &self.0.store
    }

    /// The header of an answer about a revision.
    pub(crate) fn header_at(&self, revision: u64) -> Option<ResponseHeader> {
        let store = self.store();
        let digits = store.cluster_id().get(..16).unwrap_or_default();
        let raft_term = store.joined().map_or(1, |cluster| cluster.term());
        Some(ResponseHeader {
            cluster_id: u64::from_str_radix(digits, 16).unwrap_or(0),
            member_id: store.node_id(),
            revision: signed(revision),
            raft_term,
        })
    }

    /// The header of an answer about now.
    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        self.header_at(self.store().revision())
    }

    /// An object as etcd has it. What is encrypted at rest comes without its value.
    pub(crate) fn key_value(&self, object: &Object, keys_only: bool) -> KeyValue {
        let hidden = keys_only || self.store().is_sealed(&object.key);
        KeyValue {
            key: Bytes::from(in_etcd(&object.key).into_owned()),
            create_revision: signed(object.create_revision),
            mod_revision: signed(object.revision),
            version: if object.create_revision == object.revision { 1 } else { 2 },
            value: if hidden { Bytes::new() } else { object.value.clone() },
            lease: 0,
        }
    }
}

/// A number as etcd has it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The store's errors in etcd's words, which its clients know.
pub(crate) fn status(error: &StorageError) -> Status {
    match error {
        StorageError::Compacted { .. } => {
            Status::new(Status::OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
        }
        StorageError::FutureRevision { .. } => {
            Status::new(Status::OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
        }
        other => Status::new(Status::UNAVAILABLE, other.to_string()),
    }
}
