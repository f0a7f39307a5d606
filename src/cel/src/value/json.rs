//! JSON as values, by what is declared of it, and back.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{Entries, Items, List, Map, Text, Value};
use crate::decl::{Decl, DeclKind};
use crate::error::{Answer, EvaluationError};
use crate::time::{Duration, Timestamp};
use crate::types::Type;

impl<'a> Value<'a> {
    /// A view of JSON, read as declared. Lists and objects are read only where they are looked at.
    ///
    /// # Errors
    /// The JSON is not of the declared type.
    pub fn from_json(json: &'a Json, decl: &'a Decl) -> Answer<'a> {
        if json.is_null() {
            return match decl.nullable || matches!(decl.kind, DeclKind::Dyn) {
                true => Ok(Value::Null),
                false => Err(EvaluationError::new("invalid data, got null for schema with nullable=false")),
            };
        }
        Ok(match (&decl.kind, json) {
            (DeclKind::Dyn | DeclKind::Native(Type::Dyn), _) => untyped(json),
            (DeclKind::IntOrString, Json::String(text)) => Value::text(text),
            (DeclKind::IntOrString, Json::Number(_)) if json.is_i64() => untyped(json),
            (DeclKind::IntOrString, _) => {
                let message = "invalid data, expected XIntOrString value to be either a string or integer";
                return Err(EvaluationError::new(message));
            }
            (DeclKind::Bool, Json::Bool(value)) => Value::Bool(*value),
            (DeclKind::Int, Json::Number(number)) => match whole(number) {
                Some(value) => Value::Int(value),
                None => return Err(unexpected("int", json)),
            },
            (DeclKind::Double, Json::Number(number)) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            (DeclKind::String, Json::String(text)) => Value::text(text),
            (DeclKind::Bytes, Json::String(text)) => match STANDARD.decode(text) {
                Ok(bytes) => Value::Bytes(bytes.into()),
                Err(error) => {
                    let message = format!("Invalid byte formatted string {text}: {error}");
                    return Err(EvaluationError::new(message));
                }
            },
            (DeclKind::Timestamp, Json::String(text)) => match Timestamp::parse(text) {
                Some(value) => Value::Timestamp(value),
                None => {
                    let message = format!("Invalid date-time formatted string {text}: no RFC 3339 time");
                    return Err(EvaluationError::new(message));
                }
            },
            (DeclKind::Date, Json::String(text)) => match Timestamp::parse(&format!("{text}T00:00:00Z")) {
                Some(value) => Value::Timestamp(value),
                None => {
                    let message = format!("Invalid date formatted string {text}: no RFC 3339 date");
                    return Err(EvaluationError::new(message));
                }
            },
            (DeclKind::Duration, Json::String(text)) => match Duration::parse(text) {
                Some(value) => Value::Duration(value),
                None => {
                    let message = format!("Invalid duration {text}: unable to parse {text:?} as a duration");
                    return Err(EvaluationError::new(message));
                }
            },
            (DeclKind::List { .. }, Json::Array(items)) => {
                Value::List(List { items: Items::Json(items), decl })
            }
            (DeclKind::Map { .. } | DeclKind::Object(_), Json::Object(entries)) => {
                Value::Map(Map { entries: Entries::Json(entries), decl })
            }
            (kind, _) => return Err(unexpected(expected(kind), json)),
        })
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// It has no form in JSON: a type, an opaque value, infinity, a map with keys that are no strings.
    pub fn to_json(&self) -> Result<Json, EvaluationError> {
        Ok(match self {
            Value::Null | Value::Optional(None) => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Uint(value) => Json::from(*value),
            Value::Double(value) => match serde_json::Number::from_f64(*value) {
                Some(number) => Json::Number(number),
                None => return Err(EvaluationError::new(format!("{value} cannot be written as JSON"))),
            },
            Value::String(text) => Json::String(text.to_string()),
            Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Value::Timestamp(value) => Json::String(value.to_string()),
            Value::Duration(value) => Json::String(value.to_string()),
            Value::Optional(Some(value)) => value.to_json()?,
            Value::List(list) => match &list.items {
                Items::Json(items) => Json::Array(items.to_vec()),
                Items::Shared(items) => {
                    Json::Array(items.iter().map(Value::to_json).collect::<Result<_, _>>()?)
                }
            },
            Value::Map(map) => match &map.entries {
                Entries::Json(entries) => Json::Object((*entries).clone()),
                Entries::Shared(entries) => {
                    let mut object = serde_json::Map::new();
                    for (key, value) in entries.iter() {
                        object.insert(key.to_value().to_string(), value.to_json()?);
                    }
                    Json::Object(object)
                }
                Entries::Object(_, fields) => {
                    let mut object = serde_json::Map::new();
                    for (name, value) in fields.iter() {
                        object.insert(name.clone(), value.to_json()?);
                    }
                    Json::Object(object)
                }
            },
            Value::Type(_) | Value::Opaque(_) => {
                let message = format!("a value of type {} cannot be written as JSON", self.type_name());
                return Err(EvaluationError::new(message));
            }
        })
    }
}

fn untyped(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int(value),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Text::Borrowed(text)),
        Json::Array(items) => Value::List(List { items: Items::Json(items), decl: Decl::dynamic() }),
        Json::Object(entries) => Value::Map(Map { entries: Entries::Json(entries), decl: Decl::dynamic() }),
    }
}

/// A whole number, also where it is written with a fraction of zero.
fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9.0e18).map(|value| value as i64)
    })
}

fn expected(kind: &DeclKind) -> &'static str {
    match kind {
        DeclKind::Bool => "bool",
        DeclKind::Int => "int",
        DeclKind::Double => "float",
        DeclKind::List { .. } => "an array for the provided schema with type=array",
        DeclKind::Map { .. } | DeclKind::Object(_) => "a map for the provided schema with type=object",
        _ => "string",
    }
}

fn unexpected(expected: &str, json: &Json) -> EvaluationError {
    let got = match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    if expected.contains("provided schema") {
        return EvaluationError::new(format!("invalid data, expected {expected}"));
    }
    EvaluationError::new(format!("invalid data, expected {expected}, got {got}"))
}

impl Value<'_> {
    /// The same value, borrowing from nothing: for literals of programs.
    pub(crate) fn constant(literal: &crate::ast::Literal) -> Value<'static> {
        use crate::ast::Literal;
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Uint(value) => Value::Uint(*value),
            Literal::Double(value) => Value::Double(*value),
            Literal::String(text) => Value::string(text.as_str()),
            Literal::Bytes(bytes) => Value::Bytes(Arc::from(bytes.as_slice())),
        }
    }
}
