//! The tie between a watch and its shard.

use super::shard::Shard;
use crate::error::StorageError;
use crate::keys::Scope;
use crate::object::Event;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

/// All watches of one scope (a resource, a namespace of it, or a single key).
#[derive(Debug)]
pub(super) struct WatchedScope {
    pub(super) text: Arc<str>,
    /// The revision of the last event of this scope that has left the ring.
    pub(super) lost: AtomicU64,
    /// Whether the publisher has it on its list of scopes to wake.
    pub(super) due: AtomicBool,
    pub(super) watches: Mutex<Vec<Arc<AtomicWaker>>>,
}

impl WatchedScope {
    pub(super) fn new(text: Arc<str>) -> Self {
        Self { text, lost: AtomicU64::new(0), due: AtomicBool::new(false), watches: Mutex::new(Vec::new()) }
    }

    /// Wakes every watch. Not under the lock: waking may drop a task, and with it a watch of this scope.
    pub(super) fn wake(&self) {
        self.due.store(false, Ordering::Release);
        let watches = self.watches.lock().clone();
        for waker in watches {
            waker.wake();
        }
    }
}

/// A watch's place in its shard; dropping it gives the place up.
#[derive(Debug)]
pub struct Subscription {
    shard: Arc<Shard>,
    scope: Arc<WatchedScope>,
    waker: Arc<AtomicWaker>,
}

impl Subscription {
    pub(super) fn new(shard: Arc<Shard>, scope: Arc<WatchedScope>) -> Self {
        let waker = Arc::new(AtomicWaker::new());
        scope.watches.lock().push(Arc::clone(&waker));
        Self { shard, scope, waker }
    }

    /// Whether the store has closed.
    pub fn is_closed(&self) -> bool {
        self.shard.clock.is_closed()
    }

    /// Names the task to wake when there is something new.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The revision up to which a watch that has seen everything until `cursor` has seen everything.
    pub fn progress(&self, cursor: u64) -> u64 {
        let state = self.shard.state.read();
        let Ok(scope) = Scope::new(&self.scope.text) else { return cursor };
        let waiting = state.ring.after(cursor).find(|event| scope.contains(&event.object.key));
        match waiting {
            Some(event) => event.revision.saturating_sub(1).max(cursor),
            None if self.scope.lost.load(Ordering::Acquire) > cursor => cursor,
            None => self.shard.clock.revision().max(cursor),
        }
    }

    /// Appends the scope's events after `cursor` to `ready`, about `limit` of them at most, and returns up
    /// to which revision that is complete. Events that share a revision stay together.
    ///
    /// # Errors
    /// `SlowWatcher` when some of them have left the ring.
    pub fn take(
        &self,
        cursor: u64,
        limit: usize,
        ready: &mut VecDeque<Arc<Event>>,
    ) -> Result<u64, StorageError> {
        let scope = Scope::new(&self.scope.text)?;
        let whole = *self.scope.text == *self.shard.prefix;
        let state = self.shard.state.read();
        if self.scope.lost.load(Ordering::Acquire) > cursor {
            return Err(StorageError::SlowWatcher { seen: cursor });
        }
        let mut taken: Option<u64> = None;
        let mut count = 0;
        for event in state.ring.after(cursor) {
            if count >= limit && taken.is_some_and(|last| last < event.revision) {
                return Ok(taken.unwrap_or(cursor));
            }
            if whole || scope.contains(&event.object.key) {
                ready.push_back(Arc::clone(event));
                taken = Some(event.revision);
                count += 1;
            }
        }
        // Under the shard's lock, everything of the shard up to the clock's revision is in the ring.
        Ok(self.shard.clock.revision().max(taken.unwrap_or(cursor)).max(cursor))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shard.unsubscribe(&self.scope, &self.waker);
    }
}
