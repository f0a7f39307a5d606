//! What several plugins need.

use apimachinery::meta;
use apimachinery::status::Status;
use serde_json::{Map, Value};

use super::chain::Request;

/// The annotation by which a kubelet marks its mirror pods.
pub(super) use crate::authorization::MIRROR_ANNOTATION;

/// 403 about the object in flight, as plugins refuse.
pub(super) fn forbidden(request: &Request<'_>, object: &Value, why: impl std::fmt::Display) -> Status {
    // The server has not yet made a name of generateName.
    let name = [request.name, meta::name(object), meta::string(object, "generateName")];
    let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or("");
    Status::forbidden(&request.resource.group_resource(), name, why)
}

/// The string at a JSON pointer; empty when there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The list at a JSON pointer; empty when there is none.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object's `spec`, made if there is none.
pub(super) fn spec(object: &mut Value) -> Option<&mut Map<String, Value>> {
    map(object.as_object_mut()?, "spec")
}

/// The map in a field, made if there is none.
pub(super) fn map<'a>(object: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    let value = object.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

/// The list in a field, made if there is none.
pub(super) fn list<'a>(object: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Vec<Value>> {
    let value = object.entry(field).or_insert_with(|| Value::Array(Vec::new()));
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}

/// Is the field absent, null or empty text?
pub(super) fn is_unset(object: &Map<String, Value>, field: &str) -> bool {
    match object.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// Which lists of a pod's spec hold containers.
pub(super) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
