//! The recent changes of one resource, within bounds.

use crate::object::{Event, EventKind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most events a ring holds: at 130 bytes each, 1 MiB. 1.6 s at 5,000 writes/s, and a watcher that
/// needs longer than that to read a page is better off starting again.
const MAX_EVENTS: usize = 8192;

/// The most bytes of superseded objects that one ring keeps alive: 600 states of a 6.8 KB pod.
const MAX_BYTES: usize = 4 << 20;

/// The most bytes that all rings keep alive together. Beyond it, rings shrink to `FAIR_BYTES`.
const MAX_TOTAL_BYTES: usize = 16 << 20;

/// The newest events, whose encoded forms are kept for watches that have not got to them yet. Those further behind
/// are few, and encode again.
const FRAMES: usize = 64;

/// What a ring may keep even when others are greedy.
const FAIR_BYTES: usize = 512 << 10;

#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    held_bytes: usize,
    complete_after: u64,
}

impl Ring {
    pub(super) fn new(complete_after: u64) -> Self {
        Self { events: VecDeque::new(), held_bytes: 0, complete_after }
    }

    /// Every event later than this revision is in the ring.
    pub(super) fn complete_after(&self) -> u64 {
        self.complete_after
    }

    /// Appends an event; `evicted` is told of those that had to make room.
    pub(super) fn push(&mut self, event: Arc<Event>, total: &AtomicUsize, mut evicted: impl FnMut(&Event)) {
        let bytes = held_by(&event);
        self.held_bytes += bytes;
        let mut all = total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(old) = self.events.len().checked_sub(FRAMES).and_then(|at| self.events.get(at)) {
            old.close_frames();
        }
        self.events.push_back(event);
        while self.events.len() > 1
            && (self.events.len() > MAX_EVENTS
                || self.held_bytes > MAX_BYTES
                || (all > MAX_TOTAL_BYTES && self.held_bytes > FAIR_BYTES))
        {
            self.pop(total, &mut evicted);
            all = total.load(Ordering::Relaxed);
        }
    }

    /// Drops the events up to a revision.
    pub(super) fn forget(&mut self, revision: u64, total: &AtomicUsize, mut evicted: impl FnMut(&Event)) {
        while self.events.front().is_some_and(|event| event.revision <= revision) {
            self.pop(total, &mut evicted);
        }
        self.complete_after = self.complete_after.max(revision);
        if self.events.capacity() > 64 && self.events.len() * 4 < self.events.capacity() {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    /// The events later than a revision.
    pub(super) fn after(&self, revision: u64) -> impl Iterator<Item = &Arc<Event>> {
        self.events.range(self.events.partition_point(|event| event.revision <= revision)..)
    }

    fn pop(&mut self, total: &AtomicUsize, evicted: &mut impl FnMut(&Event)) {
        let Some(event) = self.events.pop_front() else { return };
        let bytes = held_by(&event);
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        total.fetch_sub(bytes, Ordering::Relaxed);
        self.complete_after = self.complete_after.max(event.revision);
        evicted(&event);
    }
}

/// Bytes that live because of the event: the object after an addition or change is in the cache anyway,
/// until the next event of the same key, which accounts for it as its previous state.
fn held_by(event: &Event) -> usize {
    let previous = event.previous.as_ref().map_or(0, |object| object.value.len());
    let own = if event.kind == EventKind::Deleted { event.object.value.len() } else { 0 };
    previous + own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{FrameForm, Object};
    use bytes::Bytes;

    fn object(revision: u64, size: usize) -> Arc<Object> {
        Arc::new(Object {
            key: "/registry/core/pods/a/b".into(),
            create_revision: 1,
            revision,
            value: Bytes::from(vec![b' '; size]),
            splice_at: 0,
            attrs: crate::Attrs::default(),
        })
    }

    fn modified(revision: u64, size: usize) -> Arc<Event> {
        Arc::new(Event::new(EventKind::Modified, object(revision, size), Some(object(revision - 1, size))))
    }

    #[test]
    fn superseded_bytes_are_bounded_and_the_evicted_are_told() {
        let total = AtomicUsize::new(0);
        let mut ring = Ring::new(1);
        let mut lost = Vec::new();
        for revision in 2..=9 {
            ring.push(modified(revision, 1 << 20), &total, |event| lost.push(event.revision));
        }
        assert_eq!(lost, [2, 3, 4, 5]);
        assert_eq!(ring.complete_after(), 5);
        assert_eq!(ring.after(7).map(|event| event.revision).collect::<Vec<_>>(), [8, 9]);
        ring.forget(9, &total, |_| {});
        assert_eq!((ring.complete_after(), ring.after(0).count()), (9, 0));
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_greedy_neighbour_leaves_a_ring_its_fair_share() {
        let total = AtomicUsize::new(MAX_TOTAL_BYTES);
        let mut ring = Ring::new(1);
        for revision in 2..100 {
            ring.push(modified(revision, 64 << 10), &total, |_| {});
        }
        assert_eq!(ring.after(0).count(), FAIR_BYTES / (64 << 10));
    }

    #[test]
    fn frames_are_shared_while_they_are_new() {
        let total = AtomicUsize::new(0);
        let mut ring = Ring::new(1);
        let first = modified(2, 1);
        let encode = |text: &'static str| move |_: &Event| Ok::<_, ()>(Bytes::from_static(text.as_bytes()));
        ring.push(Arc::clone(&first), &total, |_| {});
        for revision in 0..FRAMES as u64 {
            first.frame(FrameForm::Json, encode("a")).unwrap();
            assert_eq!(first.frame(FrameForm::Json, encode("b")).unwrap(), "a", "{revision}");
            ring.push(modified(3 + revision, 1), &total, |_| {});
        }
        assert_eq!(first.frame(FrameForm::Json, encode("b")).unwrap(), "b");
        assert_eq!(first.frame(FrameForm::Json, encode("c")).unwrap(), "c");
    }

    #[test]
    fn one_event_is_kept_however_large_it_is() {
        let total = AtomicUsize::new(0);
        let mut ring = Ring::new(1);
        ring.push(modified(2, MAX_BYTES * 2), &total, |_| {});
        assert_eq!(ring.after(1).count(), 1);
    }
}
