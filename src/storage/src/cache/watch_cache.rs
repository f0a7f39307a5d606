//! The cache as a whole.

use super::clock::Clock;
use super::shard::Shard;
use super::subscription::WatchedScope;
use crate::error::StorageError;
use crate::interface::{List, ListOptions, WatchFrom};
use crate::keys::{Scope, resource_prefix};
use crate::object::Object;
use crate::watch::{History, Watch};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a reader is made to wait for a revision that is not there yet. kube-apiserver's cacher waits
/// as long before it answers "Too large resource version".
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);

/// One change that the store has made durable.
#[derive(Debug)]
pub enum Change {
    /// A created or updated object.
    Put(Object),
    /// A deletion.
    Delete {
        /// The key that is gone.
        key: Arc<str>,
        /// The revision of the deletion.
        revision: u64,
    },
}

impl Change {
    fn key(&self) -> &str {
        match self {
            Self::Put(object) => &object.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// What came of a publication. Dropping it wakes the watches concerned, which may wait until the writers
/// have their answer: readers see the changes already.
#[must_use]
#[derive(Debug, Default)]
pub struct Published {
    /// For every change, the object as watchers see it; None for the deletion of a key that was not there.
    pub objects: Vec<Option<Arc<Object>>>,
    wake: Vec<Arc<WatchedScope>>,
}

impl Drop for Published {
    fn drop(&mut self) {
        for scope in self.wake.drain(..) {
            scope.wake();
        }
    }
}

/// All current objects and recent changes.
///
/// Guarantees: a batch given to [`WatchCache::publish`] becomes visible at once across all resources; what
/// a list returns is the state at the revision it names. There is one publisher.
#[derive(Debug)]
pub struct WatchCache {
    clock: Arc<Clock>,
    /// The revision at which the cache was loaded, or brought to by a leap: rings know everything since.
    base: AtomicU64,
    shards: RwLock<BTreeMap<Arc<str>, Arc<Shard>>>,
}

impl WatchCache {
    /// A cache of objects as they are at a revision.
    ///
    /// # Errors
    /// [`StorageError::InvalidKey`] for an object whose key is no key.
    pub fn new(revision: u64, compacted: u64, objects: Vec<Object>) -> Result<Self, StorageError> {
        let clock = Arc::new(Clock::new(revision, compacted));
        let mut by_prefix: BTreeMap<Arc<str>, Vec<Object>> = BTreeMap::new();
        for object in objects {
            by_prefix.entry(resource_prefix(&object.key)?.into()).or_default().push(object);
        }
        let shards = by_prefix
            .into_iter()
            .map(|(prefix, objects)| {
                let shard = Shard::new(Arc::clone(&prefix), Arc::clone(&clock), revision);
                shard.state.write().objects = objects.into_iter().collect();
                (prefix, Arc::new(shard))
            })
            .collect();
        Ok(Self { clock, base: AtomicU64::new(revision), shards: RwLock::new(shards) })
    }

    /// The revision of the last change that readers can see.
    pub fn revision(&self) -> u64 {
        self.clock.revision()
    }

    /// The oldest revision that can still be asked for.
    pub fn compacted_revision(&self) -> u64 {
        self.clock.compacted()
    }

    /// Makes durable changes visible, in order, and moves the cache to `revision`.
    pub fn publish(&self, changes: Vec<Change>, revision: u64) -> Published {
        let mut published = Published { objects: Vec::with_capacity(changes.len()), wake: Vec::new() };
        let mut touched: BTreeMap<&str, usize> = BTreeMap::new();
        for change in &changes {
            match resource_prefix(change.key()) {
                Ok(prefix) => _ = touched.insert(prefix, 0),
                Err(error) => tracing::error!(%error, "a change that no reader can see"),
            }
        }
        let shards: Vec<Arc<Shard>> = touched.keys().map(|prefix| self.shard(prefix)).collect();
        for (index, slot) in touched.values_mut().enumerate() {
            *slot = index;
        }
        // All locks are taken, in the order of prefixes, before the first change: whoever sees one change of
        // the batch finds the others too.
        let mut states: Vec<_> = shards.iter().map(|shard| shard.state.write()).collect();
        let places: Vec<Option<usize>> = changes
            .iter()
            .map(|change| resource_prefix(change.key()).ok().and_then(|prefix| touched.get(prefix).copied()))
            .collect();
        for (change, place) in changes.into_iter().zip(places) {
            let found = place.and_then(|at| Some((shards.get(at)?, states.get_mut(at)?)));
            let object = found.and_then(|(shard, state)| match change {
                Change::Put(object) => Some(state.put(shard, object, &mut published.wake)),
                Change::Delete { key, revision } => state.delete(shard, &key, revision, &mut published.wake),
            });
            published.objects.push(object);
        }
        self.clock.advance(revision);
        drop(states);
        published
    }

    /// Notes that revisions before this one can no longer be asked for, and lets go of their events.
    pub fn compact(&self, revision: u64) {
        self.clock.compact(revision);
        for shard in self.shards.read().values() {
            shard.state.write().forget(shard, revision);
        }
    }

    /// For a leap to a revision whose steps nobody knows: ends every watch that has not seen it, with
    /// `SlowWatcher`, and forgets the events until then. Called before the leap is published and again after it.
    pub fn interrupt(&self, revision: u64) {
        self.base.fetch_max(revision, Ordering::AcqRel);
        let shards: Vec<_> = self.shards.read().values().cloned().collect();
        for shard in shards {
            let scopes = shard.scopes();
            for scope in &scopes {
                scope.lost.fetch_max(revision, Ordering::AcqRel);
            }
            shard.state.write().forget(&shard, revision);
            scopes.iter().for_each(|scope| scope.wake());
        }
    }

    /// Ends all watches.
    pub fn close(&self) {
        self.clock.close();
        let shards: Vec<_> = self.shards.read().values().cloned().collect();
        for scope in shards.iter().flat_map(|shard| shard.scopes()) {
            scope.wake();
        }
    }

    /// The current object under a key.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        let shard = self.existing(resource_prefix(key).ok()?)?;
        let state = shard.state.read();
        state.objects.get(key).cloned()
    }

    /// Lists the current state.
    ///
    /// Cost: proportional to the objects of the prefix that are looked at; a limit stops it early, except
    /// that those remaining are counted when there is no filter.
    ///
    /// # Errors
    /// [`StorageError::InvalidKey`].
    pub fn list(&self, prefix: &str, options: &ListOptions) -> Result<List, StorageError> {
        let mut out = List { revision: self.revision(), ..List::default() };
        let scope = Scope::new(prefix)?;
        let shards = self.covering(scope);
        let states: Vec<_> = shards.iter().map(|shard| shard.state.read()).collect();
        if !states.is_empty() {
            out.revision = self.revision();
        }
        if let Scope::Key(key) = scope {
            let object = states.first().and_then(|state| state.objects.get(key));
            let picked =
                object.filter(|object| options.filter.as_ref().is_none_or(|filter| filter.picks(object)));
            out.items.extend(picked.cloned());
            out.remaining = Some(0);
            return Ok(out);
        }
        let mut remaining = 0;
        for state in &states {
            let (more, after) = state.list(scope.text(), options, &mut out.items);
            out.more |= more;
            remaining += after;
        }
        out.remaining = options.filter.is_none().then_some(remaining);
        Ok(out)
    }

    /// The list at a past revision, where nothing below the prefix has changed since.
    ///
    /// # Errors
    /// [`StorageError::InvalidKey`].
    pub fn list_unchanged_since(
        &self,
        prefix: &str,
        revision: u64,
        options: &ListOptions,
    ) -> Result<Option<List>, StorageError> {
        // Before the base, resources that are empty now may have had objects.
        if revision < self.base.load(Ordering::Acquire) || self.revision() < revision {
            return Ok(None);
        }
        let scope = Scope::new(prefix)?;
        let mut list = self.list(prefix, options)?;
        // Asked after the list was made: if nothing has changed until now, nothing had then.
        let changed = self.covering(scope).iter().any(|shard| {
            let state = shard.state.read();
            state.ring.complete_after() > revision
                || state.ring.after(revision).any(|event| scope.contains(&event.object.key))
        });
        list.revision = revision;
        Ok((!changed).then_some(list))
    }

    /// How many objects there are below a prefix.
    ///
    /// # Errors
    /// [`StorageError::InvalidKey`].
    pub fn count(&self, prefix: &str) -> Result<u64, StorageError> {
        let scope = Scope::new(prefix)?;
        if let Scope::Key(key) = scope {
            return Ok(u64::from(self.get(key).is_some()));
        }
        let count = |shard: &Arc<Shard>| {
            let state = shard.state.read();
            if *shard.prefix == *prefix { state.objects.len() } else { state.objects.count(prefix) }
        };
        Ok(self.covering(scope).iter().map(count).sum::<usize>() as u64)
    }

    /// Watches a resource, a namespace of one, or a single key. `history` reads back what has left the cache.
    ///
    /// # Errors
    /// `Compacted` when the start is older than what is kept; `FutureRevision` when it has not been reached
    /// (wait with [`WatchCache::wait_for`] first); `InvalidKey` when the prefix is wider than a resource or
    /// narrower than a namespace.
    pub fn watch(
        &self,
        prefix: &str,
        from: WatchFrom,
        history: Arc<dyn History>,
    ) -> Result<Watch, StorageError> {
        let resource = resource_prefix(prefix)?;
        if let Scope::Prefix(text) = Scope::new(prefix)?
            && text.get(resource.len()..).is_some_and(|rest| rest.matches('/').count() > 1)
        {
            let reason = "it is narrower than a namespace";
            return Err(StorageError::InvalidKey { key: prefix.to_owned(), reason });
        }
        let shard = self.shard(resource);
        let from = match from {
            WatchFrom::Now => self.revision(),
            WatchFrom::Revision(revision) => revision,
        };
        if from > self.revision() {
            return Err(StorageError::FutureRevision { requested: from, current: self.revision() });
        }
        self.check_compacted(from)?;
        Ok(Watch::new(prefix.into(), shard, history, from))
    }

    /// Waits until a revision is visible, for a moment.
    ///
    /// # Errors
    /// [`StorageError::FutureRevision`] when it does not come.
    pub async fn wait_for(&self, revision: u64) -> Result<(), StorageError> {
        if self.revision() >= revision {
            return Ok(());
        }
        tokio::time::timeout(WAIT_FOR_REVISION, self.clock.reached(revision))
            .await
            .map_err(|_| StorageError::FutureRevision { requested: revision, current: self.revision() })
    }

    /// Checks that a revision can still be asked for.
    ///
    /// # Errors
    /// [`StorageError::Compacted`].
    pub fn check_compacted(&self, revision: u64) -> Result<(), StorageError> {
        let oldest = self.compacted_revision();
        if revision < oldest {
            return Err(StorageError::Compacted { requested: revision, oldest });
        }
        Ok(())
    }

    /// The shards that hold a scope's objects, in order.
    fn covering(&self, scope: Scope<'_>) -> Vec<Arc<Shard>> {
        match resource_prefix(scope.text()) {
            Ok(resource) => self.existing(resource).into_iter().collect(),
            Err(_) => {
                let shards = self.shards.read();
                let within = |(prefix, _): &(&Arc<str>, _)| prefix.starts_with(scope.text());
                shards.iter().filter(within).map(|(_, shard)| Arc::clone(shard)).collect()
            }
        }
    }

    fn existing(&self, resource: &str) -> Option<Arc<Shard>> {
        self.shards.read().get(resource).cloned()
    }

    fn shard(&self, resource: &str) -> Arc<Shard> {
        if let Some(shard) = self.existing(resource) {
            return shard;
        }
        let mut shards = self.shards.write();
        if let Some(shard) = shards.get(resource) {
            return Arc::clone(shard);
        }
        let prefix: Arc<str> = resource.into();
        let shard = Arc::new(Shard::new(
            Arc::clone(&prefix),
            Arc::clone(&self.clock),
            self.base.load(Ordering::Acquire),
        ));
        shards.insert(prefix, Arc::clone(&shard));
        shard
    }
}
