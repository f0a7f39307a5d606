//! Configurations that follow the store.

use crate::cached::{Feed, Sink};
use crate::registry::{Registry, prefix};
use apimachinery::gvk::GroupResource;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{Object, StorageError};

/// The API group of everything that decides about admission.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// What was made of all objects of one resource of the group, in the order of their names.
pub(super) struct Source<T> {
    state: Arc<State<T>>,
    feed: Feed,
}

struct State<T> {
    parse: fn(&Value) -> T,
    by_name: RwLock<BTreeMap<String, Arc<T>>>,
    /// The same as a list, for readers.
    all: RwLock<Arc<Vec<Arc<T>>>>,
    prefix_length: usize,
}

impl<T: Send + Sync + 'static> Source<T> {
    /// Reads all objects and follows them from then on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn start(
        registry: &Registry,
        resource: &str,
        parse: fn(&Value) -> T,
    ) -> Result<Self, StorageError> {
        let prefix = prefix(&GroupResource::new(GROUP, resource), "");
        let state = Arc::new(State {
            parse,
            by_name: RwLock::default(),
            all: RwLock::new(Arc::new(Vec::new())),
            prefix_length: prefix.len(),
        });
        let feed = Feed::start(Arc::clone(registry.storage()), prefix, Follower(Arc::clone(&state))).await?;
        Ok(Self { state, feed })
    }

    /// All there are, at least as of every write that was acknowledged before the call.
    pub(super) fn current(&self) -> Arc<Vec<Arc<T>>> {
        self.feed.catch_up();
        Arc::clone(&self.state.all.read())
    }
}

struct Follower<T>(Arc<State<T>>);

impl<T> Follower<T> {
    fn read(&self, object: &Object) -> Option<(String, Arc<T>)> {
        let name = object.key.get(self.0.prefix_length..).unwrap_or("").to_owned();
        match serde_json::from_slice(&object.value) {
            Ok(value) => Some((name, Arc::new((self.0.parse)(&value)))),
            Err(error) => {
                tracing::error!(key = %object.key, %error, "a stored configuration cannot be read");
                None
            }
        }
    }

    fn publish(&self, by_name: &BTreeMap<String, Arc<T>>) {
        *self.0.all.write() = Arc::new(by_name.values().cloned().collect());
    }
}

impl<T: Send + Sync + 'static> Sink for Follower<T> {
    fn reset(&self, objects: &[Arc<Object>]) {
        let mut by_name = self.0.by_name.write();
        *by_name = objects.iter().filter_map(|object| self.read(object)).collect();
        self.publish(&by_name);
    }

    fn put(&self, object: &Object) {
        let Some((name, parsed)) = self.read(object) else { return };
        let mut by_name = self.0.by_name.write();
        by_name.insert(name, parsed);
        self.publish(&by_name);
    }

    fn remove(&self, key: &str) {
        let mut by_name = self.0.by_name.write();
        by_name.remove(key.get(self.0.prefix_length..).unwrap_or(""));
        self.publish(&by_name);
    }
}
