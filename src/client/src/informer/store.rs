//! The objects of one informer, with indexes.
//!
//! Objects are held type-erased, so that maps and indexes are compiled once for all kinds; [`Store`] gives the
//! type back.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
    sync::Arc,
};

use parking_lot::RwLock;

use crate::ObjectKey;

/// Index names that several components share.
pub mod index {
    /// By uid of the controlling owner (the owner reference with `controller: true`).
    pub const CONTROLLER_UID: &str = "controllerUID";
    /// Pods by `spec.nodeName`.
    pub const NODE_NAME: &str = "spec.nodeName";
}

/// A type-erased object.
pub(super) type Stored = Arc<dyn Any + Send + Sync>;
/// Computes the values under which an object is found.
pub(super) type Extract = Box<dyn Fn(&Stored) -> Vec<String> + Send + Sync>;

/// A change of the store, as handlers and subscribers see it.
#[derive(Debug)]
pub enum Event<K> {
    /// The object's new state, and its old one unless it was unknown.
    Applied(Arc<K>, Option<Arc<K>>),
    /// The object's last known state; it is gone.
    Deleted(Arc<K>),
}

impl<K> Clone for Event<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied(new, old) => Self::Applied(new.clone(), old.clone()),
            Self::Deleted(last) => Self::Deleted(last.clone()),
        }
    }
}

impl<K> Event<K> {
    /// The object: its new state, or its last one.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied(object, _) | Self::Deleted(object) => object,
        }
    }

    /// The states that matter to a mapping from objects to keys: the new one and, when there is one, the old.
    pub fn states(&self) -> impl Iterator<Item = &Arc<K>> {
        let old = match self {
            Self::Applied(_, old) => old.as_ref(),
            Self::Deleted(_) => None,
        };
        std::iter::once(self.object()).chain(old)
    }
}

#[derive(Default)]
pub(super) struct State {
    namespaces: BTreeMap<Box<str>, BTreeMap<Box<str>, Stored>>,
    len: usize,
    indexes: Vec<Index>,
}

struct Index {
    name: &'static str,
    extract: Extract,
    // The inner key is the object's address: it is unique while the object is held, and small.
    entries: HashMap<Box<str>, BTreeMap<usize, Stored>>,
}

impl Index {
    fn insert(&mut self, object: &Stored) {
        for value in (self.extract)(object) {
            self.entries.entry(value.into()).or_default().insert(address(object), object.clone());
        }
    }

    fn remove(&mut self, object: &Stored) {
        for value in (self.extract)(object) {
            if let Some(found) = self.entries.get_mut(value.as_str()) {
                found.remove(&address(object));
                if found.is_empty() {
                    self.entries.remove(value.as_str());
                }
            }
        }
    }
}

fn address(object: &Stored) -> usize {
    Arc::as_ptr(object).cast::<()>() as usize
}

impl State {
    pub(super) fn insert(&mut self, key: &ObjectKey, object: Stored) -> Option<Stored> {
        if !self.namespaces.contains_key(key.namespace.as_str()) {
            self.namespaces.insert(key.namespace.as_str().into(), BTreeMap::new());
        }
        let names = self.namespaces.get_mut(key.namespace.as_str())?;
        let old = match names.get_mut(key.name.as_str()) {
            Some(slot) => Some(std::mem::replace(slot, object.clone())),
            None => {
                names.insert(key.name.as_str().into(), object.clone());
                self.len += 1;
                None
            }
        };
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(old);
            }
            index.insert(&object);
        }
        old
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Stored> {
        let names = self.namespaces.get_mut(key.namespace.as_str())?;
        let old = names.remove(key.name.as_str())?;
        if names.is_empty() {
            self.namespaces.remove(key.namespace.as_str());
        }
        self.len -= 1;
        for index in &mut self.indexes {
            index.remove(&old);
        }
        Some(old)
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Stored> {
        self.lookup(&key.namespace, &key.name)
    }

    fn lookup(&self, namespace: &str, name: &str) -> Option<&Stored> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub(super) fn keys(&self) -> Vec<ObjectKey> {
        let all = self.namespaces.iter();
        all.flat_map(|(namespace, names)| names.keys().map(|name| ObjectKey::new(&**namespace, &**name)))
            .collect()
    }

    pub(super) fn all(&self) -> Vec<Stored> {
        self.namespaces.values().flat_map(|names| names.values().cloned()).collect()
    }

    pub(super) fn add_index(&mut self, name: &'static str, extract: Extract) {
        if self.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Index { name, extract, entries: HashMap::new() };
        for object in self.namespaces.values().flat_map(BTreeMap::values) {
            index.insert(object);
        }
        self.indexes.push(index);
    }
}

/// Synchronous reads of a cache. Cloning is cheap; all clones read the same objects.
///
/// What is read may be behind the server; it is never newer than the events already delivered.
pub struct Store<K> {
    state: Arc<RwLock<State>>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), kind: PhantomData }
    }
}

impl<K: Send + Sync + 'static> Store<K> {
    pub(super) fn new(state: Arc<RwLock<State>>) -> Self {
        Self { state, kind: PhantomData }
    }

    /// One object by its key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.find(&key.namespace, &key.name)
    }

    /// One object by namespace (empty for cluster-scoped kinds) and name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.state.read().lookup(namespace, name).cloned().and_then(typed)
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.state.read().all().into_iter().filter_map(typed).collect()
    }

    /// All objects of a namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        let names = state.namespaces.get(namespace);
        names.into_iter().flat_map(BTreeMap::values).cloned().filter_map(typed).collect()
    }

    /// The objects that an index has under `value`, in no particular order.
    ///
    /// Empty when the index was never added.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        let entries = state.indexes.iter().find(|candidate| candidate.name == index);
        let found = entries.and_then(|index| index.entries.get(value));
        found.into_iter().flat_map(BTreeMap::values).cloned().filter_map(typed).collect()
    }

    /// How many objects an index has under `value`, without touching them.
    pub fn count_by_index(&self, index: &str, value: &str) -> usize {
        let state = self.state.read();
        let entries = state.indexes.iter().find(|candidate| candidate.name == index);
        entries.and_then(|index| index.entries.get(value)).map_or(0, BTreeMap::len)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.state.read().keys()
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.state.read().len
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index. Adding one with a name that exists does nothing.
    pub fn add_index(&self, name: &'static str, extract: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let extract: Extract =
            Box::new(move |object| object.downcast_ref::<K>().map(&extract).unwrap_or_default());
        self.state.write().add_index(name, extract);
    }
}

pub(super) fn typed<K: Send + Sync + 'static>(object: Stored) -> Option<Arc<K>> {
    object.downcast::<K>().ok()
}
