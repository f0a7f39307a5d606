//! The revisions that all shards share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Written by the one publisher, read by everybody.
#[derive(Debug)]
pub(super) struct Clock {
    revision: tokio::sync::watch::Sender<u64>,
    /// A copy of `revision` that costs no lock.
    current: AtomicU64,
    compacted: AtomicU64,
    closed: AtomicBool,
    /// Bytes that only the rings of events keep alive.
    pub(super) held_bytes: AtomicUsize,
}

impl Clock {
    pub(super) fn new(revision: u64, compacted: u64) -> Self {
        Self {
            revision: tokio::sync::watch::Sender::new(revision),
            current: AtomicU64::new(revision),
            compacted: AtomicU64::new(compacted),
            closed: AtomicBool::new(false),
            held_bytes: AtomicUsize::new(0),
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, revision: u64) {
        self.current.fetch_max(revision, Ordering::AcqRel);
        self.revision.send_if_modified(|current| {
            let newer = revision > *current;
            *current = revision.max(*current);
            newer
        });
    }

    /// Returns once the revision is reached. Never returns if it never is.
    pub(super) async fn reached(&self, revision: u64) {
        let mut receiver = self.revision.subscribe();
        // It cannot fail: the sender lives in self.
        let _ = receiver.wait_for(|current| *current >= revision).await;
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted.load(Ordering::Acquire)
    }

    pub(super) fn compact(&self, revision: u64) {
        self.compacted.fetch_max(revision, Ordering::AcqRel);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
