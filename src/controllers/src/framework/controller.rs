//! What a controller is.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::ObjectKey;
use tokio_util::sync::CancellationToken;

use super::watches::{Keys, Watches};

/// What to do with a key after a successful reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait for the next event.
    Done,
    /// Look again after this time, for what passes without an event.
    RequeueAfter(Duration),
}

impl Action {
    /// Looks again after the time, if there is one.
    pub fn after(delay: Option<Duration>) -> Self {
        delay.map_or(Self::Done, Self::RequeueAfter)
    }
}

/// Why a key could not be brought to its desired state. It is tried again with back-off.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A request failed. Conflicts are expected: the cache was behind.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Something else that time may cure.
    #[error("{0}")]
    Retry(String),
}

impl ReconcileError {
    /// Whether the error only says that the cache was behind the server.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(error) if client::rest::is_conflict(error))
    }
}

/// A level-triggered control loop over the objects of one kind.
///
/// Keys are deduplicated; one key is in work at most once at a time. `reconcile` gets only the key, reads what
/// it needs from caches, and must do the same for the same state no matter which event caused it.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// The controller's name: in logs, metrics, and as the source of its events.
    fn name(&self) -> &'static str;

    /// Says which events become which keys. Called once per run; the informers named here have synced before
    /// the first reconcile.
    fn watches(self: Arc<Self>, watches: &mut Watches);

    /// Brings what `key` names to its desired state.
    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError>;

    /// How many keys are worked on at the same time.
    fn workers(&self) -> usize {
        // Upstream's default for most controllers; an idle worker costs nothing.
        5
    }

    /// Work beside the queue, for as long as the controller runs. Nothing by default.
    async fn background(&self, _keys: Keys, _stop: CancellationToken) {}
}
