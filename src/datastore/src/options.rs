//! How to open the store, and what it counts.

use crate::executor::Executor;
use crate::limits::Limits;
use crate::raft::ClusterOptions;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use storage::{Extractor, MetadataExtractor, Sealer};

/// How long superseded revisions are kept; kube-apiserver compacts etcd at the same interval.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// How to open the store.
#[derive(Clone)]
pub struct Options {
    /// Finds labels and selectable fields.
    pub extractor: Arc<dyn Extractor>,
    /// After this time what was superseded is forgotten, at the latest after twice this time. None: only
    /// when [`Storage::compact`] is called.
    pub compaction_interval: Option<Duration>,
    /// Encrypts what goes to the disk.
    pub sealer: Option<Arc<dyn Sealer>>,
    /// How the node takes part in a cluster. None: it is alone for ever.
    pub cluster: Option<ClusterOptions>,
    /// When it tidies up.
    pub limits: Limits,
    /// What runs its jobs. None: threads of its own.
    pub executor: Option<Arc<dyn Executor>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            extractor: Arc::new(MetadataExtractor),
            compaction_interval: Some(COMPACTION_INTERVAL),
            sealer: None,
            cluster: None,
            limits: Limits::default(),
            executor: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("compaction_interval", &self.compaction_interval)
            .field("sealer", &self.sealer.is_some())
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Log entries, each one transaction and one fsync.
    pub entries: u64,
    /// Commands in them.
    pub commands: u64,
    /// Groups of commands that failed because the disk did.
    pub failures: u64,
    /// Requests that wait for the writer just now.
    pub waiting: u64,
}
