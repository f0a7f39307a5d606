//! A registry over a store in memory, for tests.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use datastore::{Datastore, Options};
use serde_json::Value;

use std::sync::Arc;

use crate::registry::{FieldExtractor, Registry};

pub(crate) async fn registry() -> Registry {
    let extractor = Arc::new(FieldExtractor::built_in());
    let options = Options { extractor, compaction_interval: None, ..Options::default() };
    Registry::new(Datastore::open_in_memory(options).await.unwrap())
}

/// The resource of an object, by the rule that nearly all kinds follow.
pub(crate) fn resource(object: &Value) -> GroupResource {
    let gvk = meta::gvk(object);
    let mut plural = gvk.kind.to_lowercase();
    match plural.strip_suffix('y') {
        Some(stem) => plural = format!("{stem}ies"),
        None if plural.ends_with('s') => plural.push_str("es"),
        None => plural.push('s'),
    }
    GroupResource::new(gvk.group, plural)
}

/// Stores an object and returns it as stored.
pub(crate) async fn create(registry: &Registry, object: Value) -> Value {
    let stored = registry.create(&resource(&object), object).await.unwrap();
    crate::registry::decode(&stored).unwrap()
}

pub(crate) async fn update(registry: &Registry, object: &Value) {
    registry.update(&resource(object), object).await.unwrap();
}

pub(crate) async fn remove(registry: &Registry, object: &Value) {
    registry.remove(&resource(object), meta::namespace(object), meta::name(object)).await.unwrap();
}
