//! The set of informers of a process.

use std::{any::TypeId, collections::HashMap, marker::PhantomData, ops::Deref, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client, Resource,
    core::{ApiResource, DynamicObject, PartialObjectMeta},
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    core::{Core, Feed, HandlerGuard, Kind, Subscription},
    store::{Event, Store},
};
use crate::{
    reflector::{self, ListWatch},
    rest::Object,
};

/// Which objects of a kind an informer holds. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Only this namespace, unless empty.
    pub namespace: String,
    /// Field selector such as `spec.nodeName=n1`, or empty.
    pub field_selector: String,
    /// Label selector, or empty.
    pub label_selector: String,
}

impl Scope {
    /// The objects that a field selector selects.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { field_selector: selector.into(), ..Self::default() }
    }

    /// The objects that a label selector selects.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { label_selector: selector.into(), ..Self::default() }
    }

    /// The objects of one namespace.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..Self::default() }
    }
}

/// Tells the informer of [`SharedInformers::pods`] from one of whole pods.
struct SlimPods;

/// Hands out informers, one per kind and scope, started on first use and shared from then on.
///
/// Clones share everything. When the last clone is dropped the watches end.
#[derive(Clone)]
pub struct SharedInformers {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    running: Mutex<HashMap<(TypeId, ListWatch), Arc<Core>>>,
    cancel: CancellationToken,
    _end_on_drop: DropGuard,
}

impl SharedInformers {
    /// No informer yet; they will watch through `client`.
    pub fn new(client: Client) -> Self {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        Self { inner: Arc::new(Inner { client, running: Mutex::default(), cancel, _end_on_drop: guard }) }
    }

    /// The client that watches.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The informer of all objects of a built-in kind. Must be called inside a tokio runtime.
    pub fn get<K: Object>(&self) -> Informer<K> {
        self.scoped(&Scope::default())
    }

    /// The informer of all pods for those who do not run them: env, probes, mounts and the like are left out, see
    /// `informer/slim.rs`. A pod of it must not be written back; patch, or read it anew.
    pub fn pods(&self) -> Informer<Pod> {
        let path = crate::rest::collection::<Pod>("");
        let target = ListWatch { path, ..ListWatch::default() };
        self.informer(self.start_core(TypeId::of::<SlimPods>(), target, Kind::of_slim_pods()))
    }

    /// The informer of some objects of a built-in kind; a separate watch for each scope.
    pub fn scoped<K: Object>(&self, scope: &Scope) -> Informer<K> {
        let path = crate::rest::collection::<K>(&scope.namespace);
        self.start(path, scope, false)
    }

    /// The informer of the metadata of all objects of any resource.
    pub fn metadata(&self, resource: &ApiResource) -> Informer<PartialObjectMeta<DynamicObject>> {
        let path = DynamicObject::url_path(resource, None);
        self.start(path, &Scope::default(), true)
    }

    /// The informer of all objects of any resource, for example a custom one.
    pub fn dynamic(&self, resource: &ApiResource, scope: &Scope) -> Informer<DynamicObject> {
        let namespace = Some(scope.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        self.start(DynamicObject::url_path(resource, namespace), scope, false)
    }

    fn start<K>(&self, path: String, scope: &Scope, metadata_only: bool) -> Informer<K>
    where
        K: Resource + DeserializeOwned + Send + Sync + 'static,
    {
        let target = ListWatch {
            path,
            field_selector: scope.field_selector.clone(),
            label_selector: scope.label_selector.clone(),
            metadata_only,
        };
        self.informer(self.start_core(TypeId::of::<K>(), target, Kind::of::<K>()))
    }

    fn informer<K: Send + Sync + 'static>(&self, core: Arc<Core>) -> Informer<K> {
        Informer { store: Store::new(core.state.clone()), core, kind: PhantomData }
    }

    fn start_core(&self, kind_id: TypeId, target: ListWatch, kind: Kind) -> Arc<Core> {
        let mut running = self.inner.running.lock();
        if let Some(core) = running.get(&(kind_id, target.clone())) {
            return core.clone();
        }
        let core = Core::new(kind);
        running.insert((kind_id, target.clone()), core.clone());
        let (client, cancel) = (self.inner.client.clone(), self.inner.cancel.clone());
        let mut feed = Feed::new(core.clone());
        tokio::spawn(async move { reflector::run(client, target, &mut feed, &cancel).await });
        core
    }

    /// Waits until every informer started so far holds a complete list.
    pub async fn synced(&self) {
        let cores: Vec<_> = self.inner.running.lock().values().cloned().collect();
        for core in cores {
            core.synced().await;
        }
    }

    /// Ends all watches. Stores keep what they hold.
    pub fn shutdown(&self) {
        self.inner.cancel.cancel();
    }
}

/// A shared cache of the objects of one kind; dereferences to its [`Store`] for reads.
pub struct Informer<K> {
    store: Store<K>,
    core: Arc<Core>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), core: self.core.clone(), kind: PhantomData }
    }
}

impl<K> Deref for Informer<K> {
    type Target = Store<K>;

    fn deref(&self) -> &Store<K> {
        &self.store
    }
}

impl<K: Send + Sync + 'static> Informer<K> {
    /// The objects.
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// Calls `handler` for every object already held (as new) and for every event from then on.
    ///
    /// Handlers run on the watch's task, after the store has changed: they must be quick and must not block.
    /// They may read any store; they must not add or remove handlers of the same informer.
    pub fn add_handler(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) -> HandlerGuard {
        self.core.add_handler(handler)
    }

    /// The events as a stream, beginning with what is already held.
    pub fn subscribe(&self) -> Subscription<K> {
        self.core.subscribe()
    }

    /// Waits until the first complete list has arrived.
    pub async fn synced(&self) {
        self.core.synced().await;
    }

    /// Whether the first complete list has arrived.
    pub fn has_synced(&self) -> bool {
        self.core.has_synced()
    }
}
