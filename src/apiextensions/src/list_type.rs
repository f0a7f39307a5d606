//! Lists that are sets or maps (`x-kubernetes-list-type`): nothing occurs twice.

use std::collections::HashMap;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::{Map, Value};

use crate::schema::{ListType, StructuralSchema};

/// What occurs twice in sets and maps anywhere in the object. The first repetition of each is told.
pub fn validate(schema: &StructuralSchema, value: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    walk(schema, value, path, &mut errors);
    errors
}

fn walk(schema: &StructuralSchema, value: &Value, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                // Scalars have nothing to look at, and most values are scalars.
                if !(value.is_object() || value.is_array()) {
                    continue;
                }
                if let Some(property) = schema.property(key) {
                    walk(property, value, &path.child(key), errors);
                } else if let Some(additional) = schema.additional_schema() {
                    walk(additional, value, &path.key(key), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type {
                Some(ListType::Set) => set(items, path, errors),
                Some(ListType::Map) => map(schema, items, path, errors),
                Some(ListType::Atomic) | None => {}
            }
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    if item.is_object() || item.is_array() {
                        walk(schema, item, &path.index(index), errors);
                    }
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn set(items: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, item) in repeated(items) {
        errors.push(FieldError::duplicate(&path.index(index), item.clone()));
    }
}

fn map(schema: &StructuralSchema, items: &[Value], path: &Path, errors: &mut ErrorList) {
    if let Some((index, item)) =
        items.iter().enumerate().find(|(_, item)| !item.is_object() && !item.is_null())
    {
        let detail = "must be an object for an array of list-type map";
        return errors.push(FieldError::invalid(&path.index(index), item.clone(), detail));
    }
    if items.len() > 1 {
        let keys: Vec<Value> = items.iter().map(|item| key(&schema.list_map_keys, item)).collect();
        set(&keys, path, errors);
    }
}

/// The key fields that an item has.
pub(crate) fn key(names: &[Box<str>], item: &Value) -> Value {
    let there = names.iter().filter_map(|name| Some((name.to_string(), item.get(name.as_ref())?.clone())));
    Value::Object(there.collect::<Map<_, _>>())
}

/// The first repetition of every value that occurs more than once.
fn repeated(items: &[Value]) -> Vec<(usize, &Value)> {
    if items.len() < 2 {
        return Vec::new();
    }
    let mut times: HashMap<String, usize> = HashMap::with_capacity(items.len());
    let mut out = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let seen = times.entry(item.to_string()).or_default();
        *seen += 1;
        if *seen == 2 {
            out.push((index, item));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn repetitions_are_told_once() {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "one": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                "two": {"type": "array", "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port", "protocol"], "items": {"type": "object"}},
                "maps": {"type": "object", "additionalProperties": {
                    "type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}}}}}}}))
        .unwrap();
        for (spec, wanted) in [
            (json!({"set": ["a", "b", "a", "a"]}), vec!["spec.set[2]: Duplicate value: \"a\""]),
            (
                json!({"one": [{"name": "a", "x": 1}, {"name": "a", "x": 2}, {}, {}]}),
                vec!["spec.one[1]: Duplicate value: {\"name\":\"a\"}", "spec.one[3]: Duplicate value: {}"],
            ),
            (
                json!({"two": [{"port": 1, "protocol": "TCP"}, {"port": 1, "protocol": "UDP"}, {"port": 1, "protocol": "TCP"}]}),
                vec!["spec.two[2]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\"}"],
            ),
            (
                json!({"one": [1]}),
                vec!["spec.one[0]: Invalid value: 1: must be an object for an array of list-type map"],
            ),
            (json!({"maps": {"k": [1, 1]}}), vec!["spec.maps[k][1]: Duplicate value: 1"]),
            (json!({"set": ["a", "b"], "one": [{"name": "a"}, {"name": "b"}]}), vec![]),
        ] {
            let errors = validate(&schema, &json!({"spec": spec}), &Path::default());
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, wanted);
        }
    }
}
