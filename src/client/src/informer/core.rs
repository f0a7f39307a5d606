//! One running informer, without its type.

use std::{
    any::Any,
    collections::HashSet,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures::Stream;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};

use super::{
    slim,
    store::{Event, State, Stored, typed},
};
use crate::{
    ObjectKey,
    reflector::{Change, Sink},
};

/// What differs between kinds: decoding and reaching the metadata.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    decode: fn(&str) -> Result<Stored, serde_json::Error>,
    meta: fn(&(dyn Any + Send + Sync)) -> Option<&ObjectMeta>,
    name: &'static str,
}

impl Kind {
    pub(super) fn of<K: Resource + DeserializeOwned + Send + Sync + 'static>() -> Self {
        Self { decode: decode::<K>, meta: meta::<K>, name: std::any::type_name::<K>() }
    }
    /// Pods without what [`slim::pod`] leaves out.
    pub(super) fn of_slim_pods() -> Self {
        Self { decode: |json| decode_as::<Pod>(json, slim::pod), ..Self::of::<Pod>() }
    }
}

fn decode<K: Resource + DeserializeOwned + Send + Sync + 'static>(
    json: &str,
) -> Result<Stored, serde_json::Error> {
    decode_as::<K>(json, |_| {})
}

fn decode_as<K: Resource + DeserializeOwned + Send + Sync + 'static>(
    json: &str,
    slim: fn(&mut K),
) -> Result<Stored, serde_json::Error> {
    let mut object: K = serde_json::from_str(json)?;
    // About a third of an object's bytes, and no component reads them. Writes without managedFields keep what
    // the server has.
    object.meta_mut().managed_fields = None;
    slim(&mut object);
    Ok(Arc::new(object))
}

fn meta<K: Resource + Send + Sync + 'static>(object: &(dyn Any + Send + Sync)) -> Option<&ObjectMeta> {
    object.downcast_ref::<K>().map(Resource::meta)
}

#[derive(Clone)]
enum RawEvent {
    Applied(Stored, Option<Stored>),
    Deleted(Stored),
}

impl RawEvent {
    fn typed<K: Send + Sync + 'static>(&self) -> Option<Event<K>> {
        Some(match self.clone() {
            Self::Applied(new, old) => Event::Applied(typed(new)?, old.and_then(typed)),
            Self::Deleted(last) => Event::Deleted(typed(last)?),
        })
    }
}

type Handler = Box<dyn Fn(&RawEvent) + Send + Sync>;

/// The shared part of an informer: store, handlers, whether the first list has arrived.
pub(super) struct Core {
    pub(super) state: Arc<RwLock<State>>,
    kind: Kind,
    // Held while events are delivered, so that a new handler sees every object exactly once.
    handlers: Mutex<Vec<(u64, Handler)>>,
    next_handler: AtomicU64,
    synced: AtomicBool,
    synced_notify: Notify,
}

impl Core {
    pub(super) fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            state: Arc::default(),
            kind,
            handlers: Mutex::default(),
            next_handler: AtomicU64::new(0),
            synced: AtomicBool::new(false),
            synced_notify: Notify::new(),
        })
    }

    pub(super) fn has_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub(super) async fn synced(&self) {
        loop {
            let mut notified = std::pin::pin!(self.synced_notify.notified());
            notified.as_mut().enable();
            if self.has_synced() {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn add_handler<K: Send + Sync + 'static>(
        self: &Arc<Self>,
        handler: impl Fn(&Event<K>) + Send + Sync + 'static,
    ) -> HandlerGuard {
        self.add_raw_handler(Box::new(move |event| {
            if let Some(event) = event.typed() {
                handler(&event);
            }
        }))
    }

    pub(super) fn subscribe<K: Send + Sync + 'static>(self: &Arc<Self>) -> Subscription<K> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let guard = self.add_raw_handler(Box::new(move |event| {
            // The receiver is gone only while its guard is being dropped.
            let _ = sender.send(event.clone());
        }));
        Subscription { receiver, _guard: guard, kind: PhantomData }
    }

    fn add_raw_handler(self: &Arc<Self>, handler: Handler) -> HandlerGuard {
        let mut handlers = self.handlers.lock();
        let known = self.state.read().all();
        for object in known {
            handler(&RawEvent::Applied(object, None));
        }
        let id = self.next_handler.fetch_add(1, Ordering::Relaxed);
        handlers.push((id, handler));
        HandlerGuard { core: Arc::downgrade(self), id, detached: false }
    }

    /// Stores an object and tells the handlers, unless it is what is stored already.
    fn apply(&self, key: &ObjectKey, object: Stored) {
        let handlers = self.handlers.lock();
        let old = self.state.read().get(key).cloned();
        if let Some(old) = old {
            let (before, after) = (self.meta(&old), self.meta(&object));
            let same = |field: fn(&ObjectMeta) -> &Option<String>| before.map(field) == after.map(field);
            let same_uid = same(|meta| &meta.uid);
            if same_uid && same(|meta| &meta.resource_version) {
                return;
            }
            if !same_uid {
                // Deleted and created again while nobody watched: two events, as if somebody had.
                self.state.write().remove(key);
                deliver(&handlers, &RawEvent::Deleted(old));
            }
        }
        let old = self.state.write().insert(key, object.clone());
        deliver(&handlers, &RawEvent::Applied(object, old));
    }

    fn remove(&self, key: &ObjectKey, last: Option<Stored>) {
        let handlers = self.handlers.lock();
        let known = self.state.write().remove(key);
        if known.is_none() {
            return;
        }
        if let Some(object) = last.or(known) {
            deliver(&handlers, &RawEvent::Deleted(object));
        }
    }

    fn meta<'a>(&self, object: &'a Stored) -> Option<&'a ObjectMeta> {
        (self.kind.meta)(&**object)
    }

    fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
        self.synced_notify.notify_waiters();
    }
}

fn deliver(handlers: &[(u64, Handler)], event: &RawEvent) {
    for (_, handler) in handlers {
        handler(event);
    }
}

/// Feeds a [`Core`] from a reflector.
pub(super) struct Feed {
    core: Arc<Core>,
    listed: HashSet<ObjectKey>,
}

impl Feed {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, listed: HashSet::new() }
    }

    fn decode(&self, json: &str) -> Option<(ObjectKey, String, Stored)> {
        let object = match (self.core.kind.decode)(json) {
            Ok(object) => object,
            Err(error) => {
                tracing::error!(kind = self.core.kind.name, "cannot decode an object: {error}");
                return None;
            }
        };
        let meta = self.core.meta(&object)?;
        let key =
            ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let revision = meta.resource_version.clone().unwrap_or_default();
        Some((key, revision, object))
    }
}

impl Sink for Feed {
    fn list_started(&mut self) {
        self.listed.clear();
    }

    fn list_item(&mut self, json: &str) {
        if let Some((key, _, object)) = self.decode(json) {
            self.core.apply(&key, object);
            self.listed.insert(key);
        }
    }

    fn list_finished(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let known = self.core.state.read().keys();
        for key in known.iter().filter(|key| !listed.contains(key)) {
            self.core.remove(key, None);
        }
        self.core.set_synced();
    }

    fn event(&mut self, change: Change, json: &str) -> Option<String> {
        let (key, revision, object) = self.decode(json)?;
        match change {
            Change::Added | Change::Modified => self.core.apply(&key, object),
            Change::Deleted => self.core.remove(&key, Some(object)),
        }
        Some(revision)
    }
}

/// Keeps a handler registered; dropping it removes the handler.
///
/// Must not be dropped inside a handler of the same informer.
#[must_use = "dropping the guard removes the handler"]
pub struct HandlerGuard {
    core: Weak<Core>,
    id: u64,
    detached: bool,
}

impl HandlerGuard {
    /// Keeps the handler for as long as the informer lives.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        if let Some(core) = self.core.upgrade() {
            core.handlers.lock().retain(|(id, _)| *id != self.id);
        }
    }
}

/// A stream of the events of one informer, beginning with what it holds already.
///
/// Events queue without bound while the subscriber is busy.
pub struct Subscription<K> {
    receiver: mpsc::UnboundedReceiver<RawEvent>,
    _guard: HandlerGuard,
    kind: PhantomData<fn() -> K>,
}

impl<K: Send + Sync + 'static> Subscription<K> {
    /// The next event; `None` when the informer has ended.
    ///
    /// Cancel safe: no event is lost.
    pub async fn recv(&mut self) -> Option<Event<K>> {
        self.receiver.recv().await?.typed()
    }
}

impl<K: Send + Sync + 'static> Stream for Subscription<K> {
    type Item = Event<K>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context).map(|event| event.and_then(|event| event.typed()))
    }
}
