//! Who carries messages between nodes.

pub(crate) mod http;
pub(crate) mod memory;

use crate::raft::types::Member;
use async_trait::async_trait;
use bytes::Bytes;

/// A node to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub id: u64,
    /// Its name and address.
    pub member: Member,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request has not reached the peer, and will not.
    #[error("cannot reach the node: {0}")]
    Unreachable(String),
    /// It may have reached the peer.
    #[error("the node did not answer: {0}")]
    NoAnswer(String),
}

/// Carries requests to other nodes. It need not be reliable: messages may be lost, late, out of order, or arrive
/// twice; what arrives must be what was sent, and come from a node of the cluster.
///
/// Whoever calls has a deadline of its own and drops the future then.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and waits for the reply: what the peer's [`Endpoint::serve`] has returned.
    async fn call(&self, to: &Peer, request: Bytes) -> Result<Bytes, TransportError>;
}

/// What answers requests: a node of the cluster.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    /// The reply to a request, whatever that is.
    async fn serve(&self, request: Bytes) -> Bytes;
}
