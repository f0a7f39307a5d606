//! Access to stored objects for everyone inside the crate: no admission, no authorization.

use super::error;
use super::key::{key, prefix};
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use serde_json::Value;
use std::sync::Arc;
use storage::{Encoded, List, ListOptions, ListRevision, Object, Storage, StorageError, Watch, WatchFrom};

/// The stored objects. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    storage: Arc<dyn Storage>,
}

impl Registry {
    /// A registry over a store.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage }
    }

    /// The store underneath.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// One object, the most recent state.
    ///
    /// # Errors
    /// When the store fails; absence is no error.
    pub async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Object>>> {
        self.storage.get(&key(resource, namespace, name)).await.map_err(|e| error::status(e, resource, name))
    }

    /// One object as this node has it; the most recent state when it has none. In a cluster it may not have heard yet
    /// what was just written elsewhere, as upstream's informers may not, and it asks nobody: for what requests are
    /// judged by, and for writes, which fail when it was outdated.
    ///
    /// # Errors
    /// As [`Registry::get`].
    pub(crate) async fn recent(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Object>>> {
        let here = self.storage.recent(&key(resource, namespace, name));
        match here.map_err(|e| error::status(e, resource, name))? {
            Some(object) => Ok(Some(object)),
            None => self.get(resource, namespace, name).await,
        }
    }

    /// All objects of a resource in a namespace, as this node has them (see [`Registry::recent`]).
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn list_recent(&self, resource: &GroupResource, namespace: &str) -> Result<List> {
        let options = ListOptions { revision: ListRevision::Any, ..ListOptions::default() };
        let listed = self.storage.list(&prefix(resource, namespace), options).await;
        listed.map_err(|e| error::status(e, resource, ""))
    }

    /// One object as a tree.
    ///
    /// # Errors
    /// As [`Registry::get`]; 500 when the stored bytes are no JSON.
    pub async fn get_value(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>> {
        self.get(resource, namespace, name).await?.map(|object| decode(&object)).transpose()
    }

    /// All objects of a resource in a namespace, or everywhere when it is empty; the most recent state.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, resource: &GroupResource, namespace: &str) -> Result<List> {
        self.storage
            .list(&prefix(resource, namespace), ListOptions::default())
            .await
            .map_err(|e| error::status(e, resource, ""))
    }

    /// All objects of a resource in a namespace, or everywhere when it is empty, as trees.
    ///
    /// # Errors
    /// As [`Registry::list`]; 500 when stored bytes are no JSON.
    pub async fn list_values(&self, resource: &GroupResource, namespace: &str) -> Result<Vec<Value>> {
        self.list(resource, namespace).await?.items.iter().map(|object| decode(object)).collect()
    }

    /// The changes of a resource in a namespace, or everywhere when it is empty.
    ///
    /// # Errors
    /// 410 when the revision is gone.
    pub async fn watch(&self, resource: &GroupResource, namespace: &str, from: WatchFrom) -> Result<Watch> {
        self.storage
            .watch(&prefix(resource, namespace), from)
            .await
            .map_err(|e| error::status(e, resource, ""))
    }

    /// Stores a new object as it is, with uid and creation time filled in.
    ///
    /// # Errors
    /// 409 when the name is taken.
    pub async fn create(&self, resource: &GroupResource, mut object: Value) -> Result<Arc<Object>> {
        super::meta_rules::fill_created(&mut object, jiff::Timestamp::now());
        let name = meta::name(&object).to_owned();
        let key = key(resource, meta::namespace(&object), &name);
        let encoded = encode(&object)?;
        self.storage.create(&key, encoded).await.map_err(|e| error::status(e, resource, &name))
    }

    /// Replaces an object as it is; at any revision when it has no `resourceVersion`.
    ///
    /// # Errors
    /// 404 when it does not exist, 409 when it has changed since it was read.
    pub async fn update(&self, resource: &GroupResource, object: &Value) -> Result<Arc<Object>> {
        let name = meta::name(object);
        let expected = match meta::resource_version(object) {
            "" => 0,
            text => text.parse().map_err(|_| Status::bad_request("invalid resource version"))?,
        };
        let key = key(resource, meta::namespace(object), name);
        self.storage
            .update(&key, expected, encode(object)?)
            .await
            .map_err(|e| error::status(e, resource, name))
    }

    /// Reads, changes and writes an object, again and again until nobody came between. An unchanged object
    /// is not written.
    ///
    /// # Errors
    /// 404 when it does not exist, and what `change` refuses with.
    pub async fn guaranteed_update(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Value) -> Result<()> + Send,
    ) -> Result<Arc<Object>> {
        let key = key(resource, namespace, name);
        let mut current = self.get(resource, namespace, name).await?;
        loop {
            let Some(old) = current else { return Err(Status::not_found(resource, name)) };
            let before = decode(&old)?;
            let mut object = before.clone();
            change(&mut object)?;
            if object == before {
                return Ok(old);
            }
            match self.storage.update(&key, old.revision, encode(&object)?).await {
                Ok(written) => return Ok(written),
                Err(StorageError::Conflict { current: now, .. }) => current = Some(now),
                Err(e) => return Err(error::status(e, resource, name)),
            }
        }
    }

    /// Removes an object at once, finalizers or not.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub async fn remove(&self, resource: &GroupResource, namespace: &str, name: &str) -> Result<Arc<Object>> {
        self.storage
            .delete(&key(resource, namespace, name), 0)
            .await
            .map_err(|e| error::status(e, resource, name))
    }
}

/// The tree of a stored object.
///
/// # Errors
/// 500 when the stored bytes are no JSON.
pub fn decode(object: &Object) -> Result<Value> {
    serde_json::from_slice(&object.value)
        .map_err(|e| Status::internal(format!("stored object {} cannot be decoded: {e}", object.key)))
}

pub(crate) fn encode(object: &Value) -> Result<Encoded> {
    Encoded::new(object).map_err(Status::internal)
}
