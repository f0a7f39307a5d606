//! What objects say of themselves in `status.conditions` (API conventions, "Typical status properties"). Pure.

use serde_json::Value;

/// The condition of a type, if an object has it.
pub fn find<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().find(|condition| text(condition, "type") == kind)
}

/// Whether an object has a condition, and it holds.
pub fn is_true(object: &Value, kind: &str) -> bool {
    find(object, kind).is_some_and(|condition| text(condition, "status") == "True")
}

/// A field of a condition; empty without it.
pub fn text<'a>(condition: &'a Value, field: &str) -> &'a str {
    condition.get(field).and_then(Value::as_str).unwrap_or_default()
}
