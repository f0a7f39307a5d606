//! All APIServices, followed through a watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use storage::Object;
use tokio::sync::Notify;

use super::api_service::ApiService;
use crate::cached::Sink;
use crate::outbound::SERVICE_NAME;

/// APIServices by name, and what waits for changes of them.
#[derive(Default)]
pub(super) struct Table {
    all: RwLock<BTreeMap<String, Arc<ApiService>>>,
    /// Whether any of them is served elsewhere: most servers have none, and requests need not be looked at.
    any_remote: AtomicBool,
    identity: Option<Arc<CertifiedKey>>,
    /// Something changed that availability depends on.
    pub(super) changed: Notify,
}

impl Table {
    pub(super) fn new(identity: Option<Arc<CertifiedKey>>) -> Self {
        Self { identity, ..Self::default() }
    }

    /// All, by name.
    pub(super) fn all(&self) -> Vec<Arc<ApiService>> {
        self.all.read().values().cloned().collect()
    }

    /// Who serves a group and version elsewhere.
    ///
    /// # Cost
    /// One atomic read where nobody does.
    pub(super) fn remote(&self, group: &str, version: &str) -> Option<Arc<ApiService>> {
        if !self.any_remote() {
            return None;
        }
        let all = self.all.read();
        let mut found = all.values().filter(|s| s.remote.is_some());
        found.find(|service| service.group == group && service.version == version).cloned()
    }

    pub(super) fn any_remote(&self) -> bool {
        self.any_remote.load(Ordering::Relaxed)
    }

    fn uses(&self, namespace: &str, service: &str) -> bool {
        let all = self.all.read();
        let mut remotes = all.values().filter_map(|api| api.remote.as_ref());
        remotes.any(|remote| remote.namespace == namespace && remote.service == service)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<ApiService>>) -> bool) {
        let mut all = self.all.write();
        let matters = change(&mut all);
        self.any_remote.store(all.values().any(|service| service.remote.is_some()), Ordering::Relaxed);
        drop(all);
        if matters {
            self.changed.notify_one();
        }
    }

    fn parse(&self, object: &Object) -> Option<Arc<ApiService>> {
        let value = crate::registry::decode(object).ok()?;
        Some(Arc::new(ApiService::parse(&value, self.identity.as_ref())))
    }
}

/// Takes APIServices into the table.
pub(super) struct ApiServices(pub(super) Arc<Table>);

impl Sink for ApiServices {
    fn reset(&self, objects: &[Arc<Object>]) {
        let parsed = objects.iter().filter_map(|object| self.0.parse(object));
        let parsed: BTreeMap<_, _> = parsed.map(|service| (service.name.clone(), service)).collect();
        self.0.change(|all| {
            *all = parsed;
            true
        });
    }

    fn put(&self, object: &Object) {
        let Some(service) = self.0.parse(object) else { return };
        self.0.change(|all| {
            let old = all.insert(service.name.clone(), Arc::clone(&service));
            // What the status says came from here.
            !old.is_some_and(|old| old.same_spec(&service))
        });
    }

    fn remove(&self, key: &str) {
        let name = key.rsplit('/').next().unwrap_or(key);
        self.0.change(|all| all.remove(name).is_some());
    }
}

/// Tells of changes of Services that APIServices name.
pub(super) struct Services(pub(super) Arc<Table>);

impl Services {
    fn touched(&self, key: &str) {
        let mut parts = key.rsplit('/');
        if self.0.any_remote()
            && let (Some(name), Some(namespace)) = (parts.next(), parts.next())
            && self.0.uses(namespace, name)
        {
            self.0.changed.notify_one();
        }
    }
}

impl Sink for Services {
    fn reset(&self, _: &[Arc<Object>]) {
        self.0.changed.notify_one();
    }

    fn put(&self, object: &Object) {
        self.touched(&object.key);
    }

    fn remove(&self, key: &str) {
        self.touched(key);
    }
}

/// Tells of changes of the endpoints of such Services.
pub(super) struct Slices(pub(super) Arc<Table>);

#[derive(Deserialize)]
struct Labelled {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Sink for Slices {
    fn reset(&self, _: &[Arc<Object>]) {
        self.0.changed.notify_one();
    }

    fn put(&self, object: &Object) {
        if self.0.any_remote()
            && let Ok(Labelled { metadata }) = serde_json::from_slice(&object.value)
            && let Some(service) = metadata.labels.get(SERVICE_NAME)
            && self.0.uses(&metadata.namespace, service)
        {
            self.0.changed.notify_one();
        }
    }

    fn remove(&self, _: &str) {
        // Its Service is not known any more.
        if self.0.any_remote() {
            self.0.changed.notify_one();
        }
    }
}
