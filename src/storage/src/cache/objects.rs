//! The current objects of one resource, in the order of their keys.

use crate::interface::Filter;
use crate::object::Object;
use crate::signature::{Signature, Signatures, first};
use std::collections::HashMap;
use std::sync::Arc;

/// Objects that lie together: as many as are moved when one comes between them, and as are looked through at a time.
const CHUNK: usize = Signatures::LEN;

/// Objects by key, in chunks. The signatures of a chunk lie side by side, so that a selection that leaves most objects
/// out does not touch them.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// None of them is empty.
    chunks: Vec<Chunk>,
    len: usize,
    /// How many there are in each namespace, by prefix; of cluster-scoped objects, all are in one.
    counts: HashMap<Box<str>, usize>,
}

#[derive(Debug, Default)]
struct Chunk {
    slots: Vec<Slot>,
    /// Of each slot.
    signatures: Box<Signatures>,
}

#[derive(Debug)]
struct Slot {
    key: Arc<str>,
    object: Arc<Object>,
}

/// Before which slot of which chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    chunk: usize,
    slot: usize,
}

impl Chunk {
    fn insert(&mut self, at: usize, object: Arc<Object>) {
        self.signatures.insert(at, object.attrs.signature());
        self.slots.insert(at, Slot { key: Arc::clone(&object.key), object });
    }

    /// Splits off what comes at `at` and behind.
    fn split_off(&mut self, at: usize) -> Self {
        Self { slots: self.slots.split_off(at), signatures: Box::new(self.signatures.split_off(at)) }
    }

    fn ends_before(&self, key: &str) -> bool {
        self.slots.last().is_some_and(|slot| *slot.key < *key)
    }

    /// The slots from one place to another that have what is wanted.
    fn covering(&self, from: usize, to: usize, wanted: Signature) -> impl Iterator<Item = &Arc<Object>> {
        let mut found = self.signatures.covering(wanted) & first(to) & !first(from);
        std::iter::from_fn(move || {
            let slot = self.slots.get(found.trailing_zeros() as usize)?;
            found &= found - 1;
            Some(&slot.object)
        })
    }
}

impl FromIterator<Object> for Objects {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut all = Self::default();
        objects.into_iter().for_each(|object| drop(all.put(object)));
        all
    }
}

impl Objects {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The object under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Arc<Object>> {
        let place = self.place(key);
        let slot = self.chunks.get(place.chunk)?.slots.get(place.slot)?;
        (*slot.key == *key).then_some(&slot.object)
    }

    /// Puts an object in place. Returns it as shared from now on, and what was there.
    pub(super) fn put(&mut self, mut object: Object) -> (Arc<Object>, Option<Arc<Object>>) {
        let Place { chunk, slot } = self.place(&object.key);
        if let Some(found) = self.chunks.get_mut(chunk)
            && let Some(there) = found.slots.get_mut(slot)
            && there.key == object.key
        {
            // The key is shared by all states of an object.
            object.key = Arc::clone(&there.key);
            found.signatures.set(slot, object.attrs.signature());
            let object = Arc::new(object);
            let previous = std::mem::replace(&mut there.object, Arc::clone(&object));
            return (object, Some(previous));
        }
        let object = Arc::new(object);
        self.counted(&object.key);
        self.insert(Place { chunk, slot }, Arc::clone(&object));
        (object, None)
    }

    fn insert(&mut self, Place { chunk, slot }: Place, object: Arc<Object>) {
        self.len += 1;
        // What comes behind everything goes into the last chunk.
        let last = self.chunks.len().saturating_sub(1);
        let behind = chunk > last;
        let Some(found) = self.chunks.get_mut(chunk.min(last)) else {
            let mut first = Chunk::default();
            first.insert(0, object);
            return self.chunks.push(first);
        };
        let slot = if behind { found.slots.len() } else { slot };
        if found.slots.len() < CHUNK {
            return found.insert(slot, object);
        }
        // Objects that come in order leave full chunks behind.
        let middle = if behind { CHUNK } else { CHUNK / 2 };
        let mut right = found.split_off(middle);
        if slot < middle {
            found.insert(slot, object);
        } else {
            right.insert(slot - middle, object);
        }
        self.chunks.insert(chunk.min(last) + 1, right);
    }

    fn counted(&mut self, key: &str) {
        match self.counts.get_mut(parent(key)) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(parent(key).into(), 1)),
        }
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        let Place { chunk, slot } = self.place(key);
        let found = self.chunks.get_mut(chunk)?;
        if found.slots.get(slot).is_none_or(|there| *there.key != *key) {
            return None;
        }
        found.signatures.remove(slot);
        let object = found.slots.remove(slot).object;
        self.len -= 1;
        self.tidy(chunk);
        if let Some(count) = self.counts.get_mut(parent(key)) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(parent(key));
            }
        }
        Some(object)
    }

    /// Puts a chunk that has become small together with the one behind it.
    fn tidy(&mut self, chunk: usize) {
        let length = |at: usize| self.chunks.get(at).map_or(0, |chunk| chunk.slots.len());
        if length(chunk) == 0 {
            self.chunks.remove(chunk);
        } else if chunk + 1 < self.chunks.len() && length(chunk) + length(chunk + 1) <= CHUNK / 2 {
            let mut next = self.chunks.remove(chunk + 1);
            if let Some(left) = self.chunks.get_mut(chunk) {
                left.signatures.append(left.slots.len(), *next.signatures);
                left.slots.append(&mut next.slots);
            }
        }
    }

    /// How many there are below a prefix, which ends with a slash. Every list asks: of a namespace and of everything
    /// the answer is at hand.
    pub(super) fn count(&self, prefix: &str) -> usize {
        let first = self.chunks.first().and_then(|chunk| chunk.slots.first());
        let last = self.chunks.last().and_then(|chunk| chunk.slots.last());
        if [first, last].iter().flatten().all(|slot| slot.key.starts_with(prefix)) {
            return self.len;
        }
        let counted = || self.range(prefix, None, Signature::default()).count();
        self.counts.get(prefix).copied().unwrap_or_else(counted)
    }

    /// The objects below a prefix, which ends with a slash, that a filter picks (all without one), after a key.
    pub(super) fn pick<'a>(
        &'a self,
        prefix: &str,
        start_after: Option<&str>,
        filter: Option<&'a Filter>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let wanted = filter.map(Filter::wanted).unwrap_or_default();
        let picked = move |object: &&Arc<Object>| filter.is_none_or(|filter| filter.picks(object));
        self.range(prefix, start_after, wanted).filter(picked)
    }

    /// The objects below a prefix, after a key, that have what is wanted.
    fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        wanted: Signature,
    ) -> impl Iterator<Item = &Arc<Object>> {
        let mut start = self.place(prefix);
        if let Some(key) = start_after.filter(|key| *key >= prefix) {
            start = self.place(key);
            let slot = self.chunks.get(start.chunk).and_then(|chunk| chunk.slots.get(start.slot));
            start.slot += usize::from(slot.is_some_and(|slot| *slot.key == *key));
        }
        // '0' follows '/': the first text that no longer begins with the prefix.
        let end = self.place(&format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix)));
        let chunks = self.chunks.iter().enumerate().take(end.chunk + 1).skip(start.chunk);
        chunks.flat_map(move |(at, chunk)| {
            let from = if at == start.chunk { start.slot } else { 0 };
            let to = if at == end.chunk { end.slot } else { chunk.slots.len() };
            // A key to start after that is past the prefix leaves nothing.
            chunk.covering(from.min(to), to, wanted)
        })
    }

    /// Where a key is, or would be.
    fn place(&self, key: &str) -> Place {
        let chunk = self.chunks.partition_point(|chunk| chunk.ends_before(key));
        let slots = self.chunks.get(chunk).map(|chunk| chunk.slots.as_slice()).unwrap_or_default();
        Place { chunk, slot: slots.partition_point(|slot| *slot.key < *key) }
    }
}

/// The prefix directly above a key.
fn parent(key: &str) -> &str {
    key.rsplit_once('/').and_then(|(above, _)| key.get(..=above.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use bytes::Bytes;

    fn object(key: &str, app: &str) -> Object {
        Object {
            key: key.into(),
            create_revision: 1,
            revision: 1,
            value: Bytes::from_static(b"{}"),
            splice_at: 0,
            attrs: Attrs::builder().label("app", app).build(),
        }
    }

    fn names<'a>(objects: impl Iterator<Item = &'a Arc<Object>>) -> Vec<&'a str> {
        objects.filter_map(|object| object.key.rsplit('/').next()).collect()
    }

    #[test]
    fn a_prefix_ends_where_the_next_namespace_begins() {
        let keys = ["/r/a/ns-/x", "/r/a/ns/a", "/r/a/ns/b", "/r/a/ns/b0", "/r/a/ns0/c"];
        let objects: Objects = keys.iter().map(|key| object(key, "x")).collect();
        assert_eq!(names(objects.pick("/r/a/ns/", None, None)), ["a", "b", "b0"]);
        assert_eq!(names(objects.pick("/r/a/ns/", Some("/r/a/ns/a"), None)), ["b", "b0"]);
        assert_eq!(names(objects.pick("/r/a/ns/", Some("/r/a/"), None)), ["a", "b", "b0"]);
        for past in ["/r/a/ns0", "/r/a/ns0/c", "/z"] {
            assert_eq!(objects.pick("/r/a/ns/", Some(past), None).count(), 0, "{past}");
        }
        assert_eq!((objects.count("/r/a/"), objects.count("/r/a/ns/"), objects.len()), (5, 3, 5));
    }

    /// What a map in the order of keys would hold, whatever comes and goes.
    #[test]
    fn chunks_keep_the_order_of_keys() {
        let mut seed = 1_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        let mut objects = Objects::default();
        let mut model = std::collections::BTreeSet::new();
        // It grows, shrinks to nothing, and grows again.
        for (rounds, inserts) in [(4000, 80), (9000, 20), (2000, 60)] {
            for _ in 0..rounds {
                let key = format!("/r/a/{}/{:04}", ["x", "y", "y-"][random(3)], random(700));
                if random(100) < inserts {
                    assert_eq!(objects.put(object(&key, "x")).1.is_none(), model.insert(key));
                } else {
                    assert_eq!(objects.remove(&key).is_some(), model.remove(&key));
                }
            }
            let keys = |prefix: &str, after: Option<&str>| -> Vec<String> {
                objects.pick(prefix, after, None).map(|object| object.key.to_string()).collect()
            };
            assert!(keys("/r/a/", None).iter().eq(&model));
            assert_eq!((objects.len(), objects.count("/r/a/")), (model.len(), model.len()));
            for (prefix, after) in
                [("/r/a/y/", None), ("/r/a/x/", Some("/r/a/x/0350")), ("/r/a/y/", Some("/r/a/y/0"))]
            {
                let expected = model.iter().filter(|key| key.starts_with(prefix));
                let expected: Vec<_> =
                    expected.filter(|key| after.is_none_or(|after| key.as_str() > after)).collect();
                assert!(keys(prefix, after).iter().eq(expected), "{prefix} after {after:?}");
            }
            assert!(objects.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.slots.len())));
            for key in &model {
                assert_eq!(objects.get(key).map(|object| &*object.key), Some(key.as_str()));
            }
            assert!(objects.get("/r/a/x/none").is_none());
        }
    }

    #[test]
    fn objects_in_order_fill_their_chunks_and_leave_none_behind() {
        let key = |n: usize| format!("/r/a/{n:04}");
        for backwards in [false, true] {
            let mut objects: Objects = (0..CHUNK * 5).map(|n| object(&key(n), "x")).collect();
            assert_eq!(objects.chunks.len(), 5);
            for n in 0..CHUNK * 5 {
                let n = if backwards { CHUNK * 5 - 1 - n } else { n };
                assert!(objects.remove(&key(n)).is_some(), "{n}");
                assert!(objects.chunks.iter().all(|chunk| !chunk.slots.is_empty()));
            }
            assert!(objects.chunks.is_empty() && objects.counts.is_empty());
        }
    }

    #[test]
    fn objects_are_counted_as_they_come_and_go() {
        let mut objects: Objects = ["/r/a/x/1", "/r/a/y/1"].iter().map(|key| object(key, "x")).collect();
        for key in ["/r/a/x/2", "/r/a/x/2", "/r/a/z/1"] {
            objects.put(object(key, "x"));
        }
        let counts = |objects: &Objects| ["/r/a/", "/r/a/x/", "/r/a/y/", "/r/a/z/"].map(|p| objects.count(p));
        assert_eq!(counts(&objects), [4, 2, 1, 1]);
        objects.remove("/r/a/x/1");
        objects.remove("/r/a/x/1");
        objects.remove("/r/a/y/1");
        assert_eq!(counts(&objects), [2, 1, 0, 1]);
        objects.remove("/r/a/z/1");
        objects.remove("/r/a/x/2");
        assert_eq!(counts(&objects), [0; 4]);
        assert!(objects.counts.is_empty());
    }

    #[test]
    fn a_filter_is_asked_only_of_objects_with_the_labels_that_it_wants() {
        let mut objects: Objects = (0..1000)
            .map(|n| object(&format!("/r/a/{n:04}"), if n % 100 == 0 { "web" } else { "other" }))
            .collect();
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let wanted = Signature::default().with_label("app", "web");
        let filter = Filter::new(wanted, move |object| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            object.attrs.label("app") == Some("web")
        });
        assert_eq!(objects.pick("/r/a/", None, Some(&filter)).count(), 10);
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 10);
        // A changed object is found by what it is now.
        objects.put(object("/r/a/0001", "web"));
        objects.put(object("/r/a/0000", "other"));
        assert_eq!(names(objects.pick("/r/a/", None, Some(&filter)).take(2)), ["0001", "0100"]);
    }
}
