//! The schema of a custom resource as OpenAPI publishes it: what its definition says, with metadata and identity as
//! every object has them.

use super::version::CustomVersion;
use serde_json::{Map, Value, json};

/// Keywords that OpenAPI v2 has no place for.
const ONLY_V3: [&str; 5] = ["allOf", "anyOf", "oneOf", "not", "nullable"];
/// What is left out of v2 where a value may be of more than one form, so that clients that check by it refuse
/// nothing that the server takes.
const FORMS: [&str; 4] = ["type", "items", "properties", "additionalProperties"];

const API_VERSION: &str = "The version of the schema that this object is written in, with its group.";
const KIND: &str = "The kind of resource that this object is. Cannot be updated. In CamelCase.";

/// The published schema. `metadata` is that of `ObjectMeta`, a reference.
pub(crate) fn published(version: &CustomVersion, v2: bool, metadata: &Value) -> Map<String, Value> {
    let schema = version.definition().schema(version.name()).unwrap_or_default();
    let Value::Object(mut schema) = schema else {
        let mut any = Map::new();
        any.insert("type".to_owned(), json!("object"));
        any.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
        return any;
    };
    walk(&mut schema, v2, metadata);
    identify(&mut schema, metadata);
    if !v2 {
        let fields: Vec<Value> =
            version.selectable_fields().map(|field| json!({"fieldPath": field})).collect();
        if !fields.is_empty() {
            schema.insert("x-kubernetes-selectable-fields".to_owned(), Value::Array(fields));
        }
    }
    schema
}

/// Every object says what it is.
fn identify(schema: &mut Map<String, Value>, metadata: &Value) {
    let Some(properties) = schema.entry("properties").or_insert_with(|| json!({})).as_object_mut() else {
        return;
    };
    properties.insert("apiVersion".to_owned(), json!({"type": "string", "description": API_VERSION}));
    properties.insert("kind".to_owned(), json!({"type": "string", "description": KIND}));
    properties.insert("metadata".to_owned(), metadata.clone());
}

fn walk(schema: &mut Map<String, Value>, v2: bool, metadata: &Value) {
    let says = |schema: &Map<String, Value>, name: &str| schema.get(name) == Some(&Value::Bool(true));
    if v2 {
        if says(schema, "nullable") || says(schema, "x-kubernetes-int-or-string") {
            FORMS.iter().for_each(|name| drop(schema.remove(*name)));
        }
        if says(schema, "x-kubernetes-preserve-unknown-fields") {
            ["items", "properties"].iter().for_each(|name| drop(schema.remove(*name)));
        }
        ONLY_V3.iter().for_each(|name| drop(schema.remove(*name)));
        schema.remove("default");
    }
    for name in ["items", "additionalProperties", "not"] {
        if let Some(Value::Object(inner)) = schema.get_mut(name) {
            walk(inner, v2, metadata);
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let inner = schema.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
        inner.filter_map(Value::as_object_mut).for_each(|inner| walk(inner, v2, metadata));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let inner = properties.values_mut().filter_map(Value::as_object_mut);
        inner.for_each(|inner| walk(inner, v2, metadata));
    }
    if says(schema, "x-kubernetes-embedded-resource") {
        identify(schema, metadata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_cannot_tell_is_left_out() {
        let mut schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "nullable": true, "default": "x"},
            "b": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true}}});
        walk(schema.as_object_mut().unwrap(), true, &json!({"$ref": "m"}));
        assert_eq!(schema["properties"]["a"], json!({}));
        assert_eq!(schema["properties"]["b"], json!({"x-kubernetes-int-or-string": true}));
        assert_eq!(schema["properties"]["pod"]["properties"]["metadata"], json!({"$ref": "m"}));
    }
}
