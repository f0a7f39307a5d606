//! ConfigMap: <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/config-map-v1/>.

use crate::columns::{age, name};
use crate::kind::Kind;
use crate::validation::Errors;
use crate::value::{entries, field, is_true, same};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::table::Column;
use apimachinery::validation::config_map_key;
use jiff::Timestamp;
use serde_json::Value;

/// The most that a ConfigMap or a Secret can hold: 1 MiB, below what the store takes as one object.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;

/// The kind.
#[derive(Debug)]
pub struct ConfigMap;

impl Kind for ConfigMap {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "ConfigMap")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["cm"]
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut total = 0;
        for (key, value) in entries(object, "data") {
            key_form("data", key, &mut errors);
            if field(object, "binaryData").get(key).is_some() {
                errors.invalid(&Path::new("data").key(key), key, "duplicate of key present in binaryData");
            }
            total += value.as_str().map_or(0, str::len);
        }
        for (key, value) in entries(object, "binaryData") {
            key_form("binaryData", key, &mut errors);
            total += decoded_length(value);
        }
        if total > MAX_DATA_BYTES {
            errors.push(FieldError::too_long(&Path::default(), MAX_DATA_BYTES));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        immutable_data(object, old, &["data", "binaryData"], &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Data").integer(), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let count = entries(object, "data").count() + entries(object, "binaryData").count();
        vec![name(object), Value::from(count), age(object, now)]
    }
}

/// The form of a key of a ConfigMap or a Secret.
pub fn key_form(map: &str, key: &str, errors: &mut ErrorList) {
    let messages = config_map_key(key);
    if !messages.is_empty() {
        errors.check_at(&Path::new(map).key(key), key, messages);
    }
}

/// The number of bytes in base64 text.
pub fn decoded_length(value: &Value) -> usize {
    let text = value.as_str().unwrap_or("");
    text.trim_end_matches('=').len() * 3 / 4
}

/// Once `immutable` is set, neither it nor the data change.
pub fn immutable_data(object: &Value, old: &Value, maps: &[&str], errors: &mut ErrorList) {
    if !is_true(old, "immutable") {
        return;
    }
    const WORDS: &str = "field is immutable when `immutable` is set";
    if !is_true(object, "immutable") {
        errors.forbidden(&Path::new("immutable"), WORDS);
    }
    for map in maps {
        if !same(field(object, map), field(old, map)) {
            errors.forbidden(&Path::new(map), WORDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_immutable_map_stays() {
        let old = json!({"data": {"a": "b"}, "immutable": true});
        let new = json!({"data": {"a": "c"}});
        let errors: Vec<String> =
            ConfigMap.validate_update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
    }

    #[test]
    fn keys_have_a_form_and_sizes_a_limit() {
        assert_eq!(ConfigMap.validate(&json!({"data": {"a/b": ""}})).len(), 1);
        let big = "x".repeat(MAX_DATA_BYTES + 1);
        assert_eq!(ConfigMap.validate(&json!({"data": {"a": big}})).len(), 1);
    }
}
