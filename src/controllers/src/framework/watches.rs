//! From events to keys.

use std::{future::Future, pin::Pin, time::Duration};

use client::{Event, Informer, ObjectKey, WorkQueue, informer::HandlerGuard, rest::Object};
use kube::Resource;

use crate::ownership;

/// Where a mapping from events puts keys.
#[derive(Clone)]
pub struct Keys {
    queue: WorkQueue<ObjectKey>,
}

impl Keys {
    /// The keys go into this queue.
    pub fn new(queue: WorkQueue<ObjectKey>) -> Self {
        Self { queue }
    }

    /// Reconcile this key.
    pub fn add(&self, key: ObjectKey) {
        self.queue.add(key);
    }

    /// Reconcile this key after a delay.
    pub fn add_after(&self, key: ObjectKey, delay: Duration) {
        self.queue.add_after(key, delay);
    }
}

/// What a controller watches.
pub struct Watches {
    keys: Keys,
    pub(super) guards: Vec<HandlerGuard>,
    pub(super) synced: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Watches {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, guards: Vec::new(), synced: Vec::new() }
    }

    /// Where keys go, for watches that a controller adds while it runs.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Every event of an object reconciles the object's own key.
    pub fn primary<K: Object>(&mut self, informer: &Informer<K>) {
        self.mapped(informer, |event, keys| keys.add(ObjectKey::of(&**event.object())));
    }

    /// The same, but what is deleted needs nothing any more.
    pub fn applied<K: Object>(&mut self, informer: &Informer<K>) {
        self.mapped(informer, |event, keys| {
            if let Event::Applied(object, _) = event {
                keys.add(ObjectKey::of(&**object));
            }
        });
    }

    /// Every event of an object reconciles its controller, if that is of kind `O` (and its former controller,
    /// when that changed).
    pub fn owned<K: Object, O: Resource<DynamicType = ()>>(&mut self, informer: &Informer<K>) {
        self.mapped(informer, |event, keys| {
            for state in event.states() {
                if let Some(key) = ownership::controller_key::<O>(state.meta()) {
                    keys.add(key);
                }
            }
        });
    }

    /// Every event is mapped by a function. It runs on the watch's task: quick and without blocking.
    pub fn mapped<K: Object>(
        &mut self,
        informer: &Informer<K>,
        map: impl Fn(&Event<K>, &Keys) + Send + Sync + 'static,
    ) {
        let keys = self.keys.clone();
        self.guards.push(informer.add_handler(move |event| map(event, &keys)));
        self.reads(informer);
    }

    /// The informer is read while reconciling, but its events do not matter.
    pub fn reads<K: Object>(&mut self, informer: &Informer<K>) {
        let informer = informer.clone();
        self.synced.push(Box::pin(async move { informer.synced().await }));
    }

    /// One key that is always there, for controllers that work on the whole cluster.
    pub fn singleton(&mut self) {
        self.keys.add(ObjectKey::default());
    }
}
