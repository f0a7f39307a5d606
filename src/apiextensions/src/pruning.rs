//! Dropping what a schema does not name.

use serde_json::Value;

use crate::schema::{Additional, StructuralSchema};

/// Unknown fields that are told of one object: Kubernetes' strict decoder stops at as many.
const MAX_UNKNOWN: usize = 100;

/// What every object has, whatever its schema says; it is read by other rules.
pub(crate) const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops the fields of an object that the schema does not name, except where it says to preserve them. `apiVersion`,
/// `kind` and `metadata` of embedded objects stay as they are, and those of the object itself if it is a `root`.
///
/// Returns the paths of the fields dropped, as `spec.containers[0].foo`, at most 100.
pub fn prune(schema: &StructuralSchema, object: &mut Value, root: bool) -> Vec<String> {
    let mut walk = Walk { path: String::new(), unknown: Vec::new() };
    walk.prune(Some(schema), object, root || schema.embedded, schema.preserve_unknown);
    walk.unknown
}

struct Walk {
    path: String,
    unknown: Vec<String>,
}

impl Walk {
    fn child(&mut self, schema: Option<&StructuralSchema>, value: &mut Value, preserve: bool) {
        let embedded = schema.is_some_and(|schema| schema.embedded);
        let preserve = preserve || schema.is_some_and(|schema| schema.preserve_unknown);
        self.prune(schema, value, embedded, preserve);
    }

    /// `embedded`: the value is a whole object; `preserve`: what the schema does not name stays.
    fn prune(
        &mut self,
        schema: Option<&StructuralSchema>,
        value: &mut Value,
        embedded: bool,
        preserve: bool,
    ) {
        let before = self.path.len();
        match value {
            Value::Object(map) => map.retain(|key, value| {
                if embedded && META_FIELDS.contains(&key.as_str()) {
                    return true;
                }
                self.push_field(key);
                let known = schema.and_then(|schema| match (schema.property(key), &schema.additional) {
                    (Some(property), _) => Some(Some(property)),
                    (None, Additional::Schema(schema)) => Some(Some(schema.as_ref())),
                    (None, Additional::Allowed(_)) => Some(None),
                    (None, Additional::Unset) => None,
                });
                match known {
                    Some(child) => self.child(child, value, false),
                    None if preserve => {}
                    None if self.unknown.len() < MAX_UNKNOWN => self.unknown.push(self.path.clone()),
                    None => {}
                }
                self.path.truncate(before);
                known.is_some() || preserve
            }),
            Value::Array(items) => {
                let item_schema = schema.and_then(|schema| schema.items.as_deref());
                // What is preserved and has no schema for its items is kept as it is.
                if preserve && item_schema.is_none() {
                    return;
                }
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    self.child(item_schema, item, preserve);
                    self.path.truncate(before);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn push_field(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_dropped_and_told_by_path() {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {
                "a": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object",
                    "properties": {"y": {"type": "string"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                    "known": {"type": "object", "properties": {"z": {"type": "string"}}}}},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "properties": {"spec": {"type": "object"}}}}}}}))
        .unwrap();
        let mut object = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "extra": 1, "spec": {
            "a": "1", "b": 2, "list": [{"x": "1", "w": 1}], "map": {"k": {"y": "1", "w": 1}},
            "free": {"any": {"thing": 1}, "known": {"z": "1", "w": 1}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"foo": 1}, "spec": {"w": 1}, "status": {}}}});
        let unknown = prune(&schema, &mut object, true);
        assert_eq!(
            unknown,
            [
                "extra",
                "spec.b",
                "spec.free.known.w",
                "spec.list[0].w",
                "spec.map.k.w",
                "spec.pod.spec.w",
                "spec.pod.status"
            ]
        );
        assert_eq!(
            object,
            json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "spec": {
                "a": "1", "list": [{"x": "1"}], "map": {"k": {"y": "1"}},
                "free": {"any": {"thing": 1}, "known": {"z": "1"}},
                "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"foo": 1}, "spec": {}}}})
        );
    }

    #[test]
    fn at_most_a_hundred_are_told() {
        let schema = StructuralSchema::parse(&json!({"type": "object"})).unwrap();
        let mut object: Value = (0..200).map(|n| (format!("k{n}"), json!(n))).collect();
        assert_eq!(prune(&schema, &mut object, true).len(), MAX_UNKNOWN);
        assert_eq!(object, json!({}));
    }
}
