//! The objects and recent changes of one resource.

use super::clock::Clock;
use super::objects::Objects;
use super::ring::Ring;
use super::subscription::{Subscription, WatchedScope};
use crate::interface::ListOptions;
use crate::keys::scopes_of;
use crate::object::{Event, EventKind, Object};
use futures::task::AtomicWaker;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One resource's part of the cache.
#[derive(Debug)]
pub struct Shard {
    pub(super) prefix: Arc<str>,
    pub(super) clock: Arc<Clock>,
    pub(super) state: RwLock<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) objects: Objects,
    pub(super) ring: Ring,
    scopes: HashMap<Arc<str>, Arc<WatchedScope>>,
}

impl Shard {
    pub(super) fn new(prefix: Arc<str>, clock: Arc<Clock>, complete_after: u64) -> Self {
        let state =
            State { objects: Objects::default(), ring: Ring::new(complete_after), scopes: HashMap::new() };
        Self { prefix, clock, state: RwLock::new(state) }
    }

    /// Joins the watches of a scope, if the ring holds everything after `cursor`; otherwise tells after
    /// which revision the ring is complete.
    pub(crate) fn subscribe(self: &Arc<Self>, scope: &Arc<str>, cursor: u64) -> Result<Subscription, u64> {
        let mut state = self.state.write();
        if cursor < state.ring.complete_after() {
            return Err(state.ring.complete_after());
        }
        let scope = state
            .scopes
            .entry(Arc::clone(scope))
            .or_insert_with(|| Arc::new(WatchedScope::new(Arc::clone(scope))));
        Ok(Subscription::new(Arc::clone(self), Arc::clone(scope)))
    }

    pub(super) fn unsubscribe(&self, scope: &Arc<WatchedScope>, waker: &Arc<AtomicWaker>) {
        let mut state = self.state.write();
        let mut watches = scope.watches.lock();
        if let Some(at) = watches.iter().position(|other| Arc::ptr_eq(other, waker)) {
            watches.swap_remove(at);
        }
        if watches.is_empty() {
            state.scopes.remove(&scope.text);
        } else if watches.len() * 4 < watches.capacity() {
            let enough = watches.len() * 2;
            watches.shrink_to(enough);
        }
    }

    /// All scopes that are being watched.
    pub(super) fn scopes(&self) -> Vec<Arc<WatchedScope>> {
        self.state.read().scopes.values().cloned().collect()
    }
}

impl State {
    /// Puts an object in place and tells the watched scopes that are to be woken.
    pub(super) fn put(
        &mut self,
        shard: &Shard,
        object: Object,
        wake: &mut Vec<Arc<WatchedScope>>,
    ) -> Arc<Object> {
        let (object, previous) = self.objects.put(object);
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        self.record(shard, Event::new(kind, Arc::clone(&object), previous), wake);
        object
    }

    /// Takes an object out. Returns its last state stamped with the revision of the deletion.
    pub(super) fn delete(
        &mut self,
        shard: &Shard,
        key: &str,
        revision: u64,
        wake: &mut Vec<Arc<WatchedScope>>,
    ) -> Option<Arc<Object>> {
        let previous = self.objects.remove(key)?;
        let object = Arc::new(previous.restamped(revision));
        self.record(shard, Event::new(EventKind::Deleted, Arc::clone(&object), Some(previous)), wake);
        Some(object)
    }

    /// Drops events up to a compacted revision.
    pub(super) fn forget(&mut self, shard: &Shard, revision: u64) {
        let scopes = &self.scopes;
        self.ring.forget(revision, &shard.clock.held_bytes, |event| mark_lost(scopes, shard, event));
    }

    /// Appends what the options ask for to `items`. Returns whether there is more, and how much.
    pub(super) fn list(
        &self,
        prefix: &str,
        options: &ListOptions,
        items: &mut Vec<Arc<Object>>,
    ) -> (bool, u64) {
        let mut picked = self.objects.pick(prefix, options.start_after.as_deref(), options.filter.as_ref());
        if options.limit == 0 {
            items.extend(picked.cloned());
            return (false, 0);
        }
        let room = options.limit.saturating_sub(items.len());
        items.extend(picked.by_ref().take(room).cloned());
        if picked.next().is_none() {
            return (false, 0);
        }
        // With a filter nobody asks how many remain.
        let remaining = if options.filter.is_some() { 1 } else { 1 + picked.count() as u64 };
        (true, remaining)
    }

    fn record(&mut self, shard: &Shard, event: Event, wake: &mut Vec<Arc<WatchedScope>>) {
        let event = Arc::new(event);
        let scopes = &self.scopes;
        if !scopes.is_empty() {
            for text in scopes_of(&shard.prefix, &event.object.key) {
                if let Some(scope) = scopes.get(text)
                    && !scope.due.swap(true, Ordering::AcqRel)
                {
                    wake.push(Arc::clone(scope));
                }
            }
        }
        self.ring.push(event, &shard.clock.held_bytes, |event| mark_lost(scopes, shard, event));
    }
}

/// Watches of a scope that have not seen this event yet can never see it.
fn mark_lost(scopes: &HashMap<Arc<str>, Arc<WatchedScope>>, shard: &Shard, event: &Event) {
    if scopes.is_empty() {
        return;
    }
    for text in scopes_of(&shard.prefix, &event.object.key) {
        if let Some(scope) = scopes.get(text) {
            scope.lost.fetch_max(event.revision, Ordering::AcqRel);
        }
    }
}
