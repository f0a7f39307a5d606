//! Reading fields of a definition's JSON. What is absent, or of another type than asked for, is empty: types were
//! checked when the object was decoded.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// A field's value; null when absent.
pub(crate) fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&NULL)
}

/// The value at the end of a path; null when absent.
pub(crate) fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(object, |value, name| field(value, name))
}

/// A field, unless it is absent or null.
pub(crate) fn some<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A text; empty when absent.
pub(crate) fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    field(object, name).as_str().unwrap_or_default()
}

/// A list; empty when absent.
pub(crate) fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    field(object, name).as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(crate) fn texts<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a str> + Clone {
    list(object, name).iter().filter_map(Value::as_str)
}

/// Whether a boolean is there and true.
pub(crate) fn is_true(object: &Value, name: &str) -> bool {
    field(object, name) == &Value::Bool(true)
}

/// The entries of a map, sorted by key; none when absent.
pub(crate) fn entries<'a>(object: &'a Value, name: &str) -> Vec<(&'a str, &'a Value)> {
    let map: Option<&Map<String, Value>> = field(object, name).as_object();
    let mut entries: Vec<_> = map.into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

/// Whether a value is what Go's zero value would be.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
