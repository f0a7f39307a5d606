//! Accessors for `ObjectMeta` within a JSON tree. Reading never fails: what is absent is empty.

use crate::gvk::Gvk;
use serde_json::{Map, Value};

/// A string under `metadata`; empty when absent.
pub fn string<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object).and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or("")
}

/// The `metadata` object, if it is one.
pub fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata").and_then(Value::as_object)
}

/// The `metadata` object, made where there is none. `None` when `object` is no JSON object.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let meta = object.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    meta.as_object_mut()
}

/// Sets a field under `metadata`.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(meta) = metadata_mut(object) {
        meta.insert(field.to_owned(), value.into());
    }
}

/// Removes a field under `metadata`.
pub fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove(field))
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    string(object, "name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    string(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    string(object, "uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    string(object, "resourceVersion")
}

/// `metadata.generation`, 0 when absent.
pub fn generation(object: &Value) -> i64 {
    metadata(object).and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_terminating(object: &Value) -> bool {
    !string(object, "deletionTimestamp").is_empty()
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    metadata(object)?.get("labels")?.as_object()
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    metadata(object)?.get("annotations")?.as_object()
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// Sets one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    set_in_map(object, "annotations", key, value);
}

/// Sets one label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    set_in_map(object, "labels", key, value);
}

fn set_in_map(object: &mut Value, map: &str, key: &str, value: &str) {
    if let Some(meta) = metadata_mut(object) {
        let entry = meta.entry(map).or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(key.to_owned(), Value::from(value));
        }
    }
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    metadata(object)
        .and_then(|m| m.get("finalizers"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> &[Value] {
    metadata(object)
        .and_then(|m| m.get("ownerReferences"))
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// `apiVersion` and `kind`.
pub fn gvk(object: &Value) -> Gvk {
    let text = |field| object.get(field).and_then(Value::as_str).unwrap_or("");
    Gvk::from_api_version(text("apiVersion"), text("kind"))
}

/// Sets `apiVersion` and `kind`.
pub fn set_gvk(object: &mut Value, gvk: &Gvk) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".to_owned(), Value::from(gvk.api_version()));
        map.insert("kind".to_owned(), Value::from(gvk.kind.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_metadata_reads_as_empty() {
        let object = json!({"metadata": 3});
        assert_eq!(name(&object), "");
        assert_eq!(finalizers(&object).count(), 0);
        assert!(owner_references(&object).is_empty());
    }

    #[test]
    fn setting_makes_what_is_missing() {
        let mut object = json!({});
        set_annotation(&mut object, "a", "b");
        set(&mut object, "name", "n");
        assert_eq!(object, json!({"metadata": {"name": "n", "annotations": {"a": "b"}}}));
    }
}
