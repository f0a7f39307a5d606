//! One environment for tables of expressions: a few variables, all libraries.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use cel::{Bindings, Budget, Decl, Environment, Library, Type, Value};
use serde_json::json;

fn variables() -> Vec<(&'static str, Decl, serde_json::Value)> {
    vec![
        ("x", Type::Int.into(), json!(5)),
        ("s", Type::String.into(), json!("héllo")),
        ("d", Decl::dynamic().clone(), json!({"a": 1, "b": [1, 2.5, "t", null], "c": {"d": "e"}})),
        ("l", Type::list(Type::Int).into(), json!([3, 1, 2])),
        ("m", Type::map(Type::String, Type::Int).into(), json!({"one": 1, "two": 2})),
        ("t", Type::Timestamp.into(), json!("2024-02-29T12:34:56.789Z")),
    ]
}

fn environment() -> Environment {
    let mut builder = Environment::builder();
    for library in [Library::Bindings, Library::Math, Library::Encoders, Library::Mutation] {
        builder = builder.library(library);
    }
    for (name, decl, _) in variables() {
        builder = builder.variable(name, decl);
    }
    builder.build()
}

/// The value as JSON text (or its name, where JSON has no form for it), or the first error.
pub fn evaluate(source: &str) -> String {
    let program = match environment().compile(source) {
        Ok(program) => program,
        Err(errors) => return format!("compile: {}", errors.0[0].message),
    };
    let variables = variables();
    let mut bindings = Bindings::new();
    for (name, decl, value) in &variables {
        bindings = bindings.json(name, value, decl).unwrap();
    }
    match program.evaluate(&bindings, &mut Budget::single()) {
        Ok(Value::Uint(value)) => format!("{value}u"),
        Ok(Value::Type(name)) => format!("type {}", &*name),
        Ok(Value::Optional(None)) => "none".to_owned(),
        Ok(value) => value.to_json().map_or_else(|_| value.to_string(), |json| json.to_string()),
        Err(error) => format!("error: {error}"),
    }
}

/// Checks a table of expressions and what comes of them, and tells all that differ.
pub fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(source, expected)| (source, expected, evaluate(source)))
        .filter(|(_, expected, found)| *expected != found)
        .map(|(source, expected, found)| format!("{source}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
