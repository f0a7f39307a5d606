//! Objects parsed on demand, remembered as long as their revision stays.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::status::{Result, Status};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use storage::Object;

use crate::registry::Registry;

/// Where parsed objects are forgotten, all at once: a bound on memory that clusters of usual size never meet
/// (a parsed object here is some hundred bytes).
const CAPACITY: usize = 10_000;

/// By key: the revision, and what was read from it.
type Parsed<T> = HashMap<Arc<str>, (u64, Arc<T>)>;

/// Reads objects of one resource as `T`; parses only what has changed.
pub(crate) struct Memo<T> {
    registry: Registry,
    resource: GroupResource,
    parsed: Mutex<Parsed<T>>,
}

/// An empty name would be a key of the whole collection.
fn is_name(namespace: &str, name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !namespace.contains('/')
}

impl<T: DeserializeOwned> Memo<T> {
    pub(crate) fn new(registry: Registry, group: &str, resource: &str) -> Self {
        Self { registry, resource: GroupResource::new(group, resource), parsed: Mutex::default() }
    }

    /// One object, the most recent state.
    ///
    /// # Errors
    /// When the store fails or the object cannot be read as `T`.
    pub(crate) async fn get(&self, namespace: &str, name: &str) -> Result<Option<Arc<T>>> {
        if !is_name(namespace, name) {
            return Ok(None);
        }
        let found = self.registry.get(&self.resource, namespace, name).await?;
        found.map(|object| self.parse(&object)).transpose()
    }

    /// One object as this node has it; the most recent state when it has none ([`Registry::recent`]).
    ///
    /// # Errors
    /// As [`Memo::get`].
    pub(crate) async fn recent(&self, namespace: &str, name: &str) -> Result<Option<Arc<T>>> {
        if !is_name(namespace, name) {
            return Ok(None);
        }
        let found = self.registry.recent(&self.resource, namespace, name).await?;
        found.map(|object| self.parse(&object)).transpose()
    }

    /// One object as this node has it if it suits, and otherwise the most recent state: it may have been made anew without
    /// this node having heard of it.
    ///
    /// # Errors
    /// As [`Memo::get`].
    pub(crate) async fn recent_if(
        &self,
        namespace: &str,
        name: &str,
        suits: impl Fn(&T) -> bool,
    ) -> Result<Option<Arc<T>>> {
        match self.recent(namespace, name).await? {
            Some(found) if !suits(&found) => self.get(namespace, name).await,
            found => Ok(found),
        }
    }

    /// All objects of a namespace, or everywhere when it is empty; the most recent state.
    ///
    /// # Errors
    /// As [`Memo::get`].
    pub(crate) async fn list(&self, namespace: &str) -> Result<Vec<Arc<T>>> {
        let list = self.registry.list(&self.resource, namespace).await?;
        list.items.iter().map(|object| self.parse(object)).collect()
    }

    /// The same as this node has them ([`Registry::recent`]).
    ///
    /// # Errors
    /// As [`Memo::get`].
    pub(crate) async fn list_recent(&self, namespace: &str) -> Result<Vec<Arc<T>>> {
        let list = self.registry.list_recent(&self.resource, namespace).await?;
        list.items.iter().map(|object| self.parse(object)).collect()
    }

    /// An object read otherwise.
    ///
    /// # Errors
    /// When it cannot be read as `T`.
    pub(crate) fn parse(&self, object: &Object) -> Result<Arc<T>> {
        if let Some((revision, parsed)) = self.parsed.lock().get(&object.key)
            && *revision == object.revision
        {
            return Ok(Arc::clone(parsed));
        }
        let parsed: Arc<T> = serde_json::from_slice(&object.value).map(Arc::new).map_err(Status::internal)?;
        let mut all = self.parsed.lock();
        if all.len() >= CAPACITY {
            all.clear();
        }
        all.insert(Arc::clone(&object.key), (object.revision, Arc::clone(&parsed)));
        Ok(parsed)
    }
}
