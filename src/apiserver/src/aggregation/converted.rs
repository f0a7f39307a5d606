//! OpenAPI v3 of an aggregated server that has v2 only.
//!
//! Upstream counterpart: `k8s.io/kube-openapi/pkg/openapiconv`.

use serde_json::{Map, Value, json};

/// What v2 says of the form of a parameter beside it, and v3 in its schema.
const FORM: [&str; 17] = [
    "type",
    "format",
    "items",
    "default",
    "enum",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "collectionFormat",
];
/// Where nothing is said of media types.
const ANY: &str = "*/*";

/// A document of v3 with these paths and definitions of v2.
pub(super) fn document(paths: Map<String, Value>, definitions: Map<String, Value>) -> Value {
    let paths: Map<String, Value> = paths.into_iter().map(|(path, item)| (path, path_item(item))).collect();
    let mut document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": definitions},
    });
    refer(&mut document);
    document
}

/// Schemas are elsewhere in v3.
fn refer(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|text| text.strip_prefix(super::swagger::REFERENCE)) {
                    Some(name) if key == "$ref" => *value = json!(format!("#/components/schemas/{name}")),
                    _ => refer(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(refer),
        _ => {}
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let converted = item.into_iter().map(|(key, value)| match (key.as_str(), value) {
        ("parameters", Value::Array(all)) => (key, all.into_iter().map(parameter).collect()),
        ("get" | "put" | "post" | "delete" | "options" | "head" | "patch", Value::Object(value)) => {
            (key, operation(value))
        }
        (_, value) => (key, value),
    });
    Value::Object(converted.collect())
}

fn operation(mut operation: Map<String, Value>) -> Value {
    let mut media = |name: &str| -> Vec<String> {
        let listed = operation.remove(name);
        let listed = listed.as_ref().and_then(Value::as_array).into_iter().flatten();
        let mut media: Vec<String> = listed.filter_map(Value::as_str).map(str::to_owned).collect();
        if media.is_empty() {
            media.push(ANY.to_owned());
        }
        media
    };
    let (consumes, produces) = (media("consumes"), media("produces"));
    operation.remove("schemes");
    if let Some(Value::Array(all)) = operation.remove("parameters") {
        let (body, others): (Vec<Value>, Vec<Value>) =
            all.into_iter().partition(|parameter| parameter.get("in") == Some(&json!("body")));
        if let Some(Value::Object(mut body)) = body.into_iter().next() {
            let schema = body.remove("schema").unwrap_or_default();
            body.retain(|key, _| matches!(key.as_str(), "description" | "required"));
            body.insert("content".to_owned(), content(&consumes, &schema));
            operation.insert("requestBody".to_owned(), Value::Object(body));
        }
        let others: Vec<Value> = others.into_iter().map(parameter).collect();
        operation.insert("parameters".to_owned(), Value::Array(others));
    }
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            if let Some(schema) = response.remove("schema") {
                response.insert("content".to_owned(), content(&produces, &schema));
            }
        }
    }
    Value::Object(operation)
}

fn content(media: &[String], schema: &Value) -> Value {
    let all = media.iter().map(|media| (media.clone(), json!({"schema": schema})));
    Value::Object(all.collect())
}

fn parameter(parameter: Value) -> Value {
    let Value::Object(mut parameter) = parameter else { return parameter };
    let mut schema = Map::new();
    for name in FORM {
        if let Some(value) = parameter.remove(name)
            && name != "collectionFormat"
        {
            schema.insert(name.to_owned(), value);
        }
    }
    if !schema.is_empty() {
        parameter.insert("schema".to_owned(), Value::Object(schema));
    }
    Value::Object(parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_answers_and_parameters_take_the_form_of_v3() {
        let thing = json!({"$ref": "#/definitions/Thing"});
        let paths = json!({"/apis/a/v1/things": {
            "parameters": [{"name": "pretty", "in": "query", "type": "string", "uniqueItems": true}],
            "post": {
                "operationId": "create", "consumes": ["application/json"], "schemes": ["https"],
                "parameters": [
                    {"name": "body", "in": "body", "required": true, "schema": thing},
                    {"name": "dryRun", "in": "query", "description": "d", "type": "string"}],
                "responses": {"201": {"description": "Created", "schema": thing}, "401": {"description": "no"}}}}});
        let definitions = json!({"Thing": {"properties": {"next": thing}}});
        let (Value::Object(paths), Value::Object(definitions)) = (paths, definitions) else { panic!() };
        let reference = json!({"schema": {"$ref": "#/components/schemas/Thing"}});
        let document = document(paths, definitions);
        assert_eq!(document["openapi"], "3.0.0");
        assert_eq!(
            document["paths"]["/apis/a/v1/things"],
            json!({
                "parameters": [{"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
                "post": {
                    "operationId": "create",
                    "parameters": [{"name": "dryRun", "in": "query", "description": "d", "schema": {"type": "string"}}],
                    "requestBody": {"required": true, "content": {"application/json": reference}},
                    "responses": {
                        "201": {"description": "Created", "content": {"*/*": reference}},
                        "401": {"description": "no"}}}})
        );
        assert_eq!(document["components"]["schemas"]["Thing"]["properties"]["next"], reference["schema"]);
    }
}
