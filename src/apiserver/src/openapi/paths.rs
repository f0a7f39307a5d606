//! Paths and their operations as OpenAPI v2 or v3 writes them.

use super::Dialect;
use super::definitions::gvk_extension;
use super::operation::{Content, Operation, Path};
use super::parameters::{Location, Parameter};
use serde_json::{Map, Value, json};

/// A path with its operations.
pub(super) fn path_item(dialect: Dialect, path: &Path<'_>) -> Value {
    let mut out = Map::new();
    for operation in &path.operations {
        out.insert(operation.method.to_owned(), self::operation(dialect, operation));
    }
    if !path.parameters.is_empty() {
        out.insert("parameters".to_owned(), path.parameters.iter().map(|p| used(dialect, p)).collect());
    }
    Value::Object(out)
}

fn operation(dialect: Dialect, operation: &Operation<'_>) -> Value {
    let mut out = json!({"operationId": operation.id, "tags": [operation.tag]});
    let mut put = |key: &str, value: Value| api::value::set(&mut out, key, value);
    if !operation.description.is_empty() {
        put("description", json!(operation.description));
    }
    let mut parameters: Vec<Value> = Vec::new();
    if dialect == Dialect::V2 {
        parameters.extend(operation.body.as_ref().map(|body| {
            let mut parameter =
                json!({"name": "body", "in": "body", "schema": reference(dialect, &body.target.name)});
            if body.required {
                api::value::set(&mut parameter, "required", true);
            }
            parameter
        }));
        put("schemes", json!(["https"]));
        put("consumes", json!(operation.consumes));
        put("produces", json!(operation.produces));
    } else if let Some(body) = &operation.body {
        let mut request =
            json!({"content": content(&operation.consumes, &reference(dialect, &body.target.name))});
        if body.required {
            api::value::set(&mut request, "required", true);
        }
        put("requestBody", request);
    }
    parameters.extend(operation.parameters.iter().map(|p| used(dialect, p)));
    if !parameters.is_empty() {
        put("parameters", json!(parameters));
    }
    put("responses", responses(dialect, operation));
    if let Some((action, gvk)) = &operation.action {
        put("x-kubernetes-action", json!(action));
        put("x-kubernetes-group-version-kind", gvk_extension(gvk));
    }
    out
}

fn responses(dialect: Dialect, operation: &Operation<'_>) -> Value {
    let mut out = Map::new();
    for (code, held) in &operation.responses {
        let schema = match held {
            Content::Type(target) => reference(dialect, &target.name),
            Content::Text => json!({"type": "string"}),
        };
        let mut response = json!({"description": phrase(*code)});
        match dialect {
            Dialect::V2 => api::value::set(&mut response, "schema", schema),
            Dialect::V3 => api::value::set(&mut response, "content", content(&operation.produces, &schema)),
        }
        out.insert(code.to_string(), response);
    }
    out.insert("401".to_owned(), json!({"description": phrase(401)}));
    Value::Object(out)
}

/// What a status code is called (RFC 9110 section 15).
fn phrase(code: u16) -> &'static str {
    http::StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason()).unwrap_or("")
}

fn reference(dialect: Dialect, name: &str) -> Value {
    json!({"$ref": dialect.reference(name)})
}

/// One schema in several forms.
fn content(media: &[&str], schema: &Value) -> Value {
    media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

/// A parameter where it is used; v2 documents define common ones once.
fn used(dialect: Dialect, parameter: &Parameter) -> Value {
    match (dialect, parameter.shared_as) {
        (Dialect::V2, Some(name)) => json!({"$ref": format!("#/parameters/{name}")}),
        _ => self::parameter(dialect, parameter),
    }
}

/// A parameter written out.
pub(super) fn parameter(dialect: Dialect, parameter: &Parameter) -> Value {
    let place = match parameter.location {
        Location::Query => "query",
        Location::Path => "path",
    };
    let mut out = json!({"name": parameter.name, "in": place, "description": parameter.description});
    match dialect {
        Dialect::V2 => {
            api::value::set(&mut out, "type", parameter.ty);
            api::value::set(&mut out, "uniqueItems", true);
        }
        Dialect::V3 => {
            api::value::set(&mut out, "schema", json!({"type": parameter.ty, "uniqueItems": true}));
        }
    }
    if parameter.location == Location::Path {
        api::value::set(&mut out, "required", true);
    }
    out
}
