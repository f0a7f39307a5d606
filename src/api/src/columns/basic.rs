//! Names, ages and joined lists.

use crate::value::{field, list, text};
use apimachinery::meta;
use apimachinery::table::Column;
use apimachinery::time;
use jiff::Timestamp;
use serde_json::Value;

/// What an empty cell shows.
const NONE: &str = "<none>";

/// The name cell.
pub fn name(object: &Value) -> Value {
    Value::from(meta::name(object))
}

/// The age cell: time since the object was created.
pub fn age(object: &Value, now: Timestamp) -> Value {
    let at = meta::string(object, "creationTimestamp");
    Value::from(time::age((!at.is_empty()).then_some(at), now))
}

/// Time since a time stamp, `<unknown>` where it is empty.
pub fn translate_timestamp_since(at: &str, now: Timestamp) -> String {
    time::age((!at.is_empty()).then_some(at), now)
}

/// Time since the time stamp in a field of `status`.
pub fn status_age(object: &Value, name: &str, now: Timestamp) -> Value {
    Value::from(translate_timestamp_since(text(field(object, "status"), name), now))
}

/// `<none>`.
pub fn none() -> Value {
    Value::from(NONE)
}

/// The text, or `<none>` when it is empty.
pub fn or_none(shown: &str) -> Value {
    Value::from(if shown.is_empty() { NONE } else { shown })
}

/// A string field as a cell; empty when absent.
pub fn text_cell(object: &Value, name: &str) -> Value {
    Value::from(text(object, name))
}

/// An integer field as a cell; zero when absent.
pub fn int_cell(object: &Value, name: &str) -> Value {
    Value::from(field(object, name).as_i64().unwrap_or(0))
}

/// `true` or `false`.
pub fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Texts joined by commas.
pub fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().fold(String::new(), |mut out, text| {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(text);
        out
    })
}

/// Texts joined by commas, or `<none>`.
pub fn joined_or_none<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    or_none(&joined(texts))
}

/// A selector as kubectl writes it: a LabelSelector (`a=b,c in (d,e),!f`) or a plain map of labels.
/// `<none>` when it is empty.
pub fn selector_text(selector: &Value) -> Value {
    let is_label_selector = selector.get("matchLabels").is_some_and(Value::is_object)
        || selector.get("matchExpressions").is_some_and(Value::is_array);
    let map = if is_label_selector { field(selector, "matchLabels") } else { selector };
    let mut parts: Vec<(String, String)> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or(""))))
        .collect();
    if is_label_selector {
        for expression in list(selector, "matchExpressions") {
            let key = text(expression, "key");
            let mut values: Vec<&str> = list(expression, "values").iter().filter_map(Value::as_str).collect();
            values.sort_unstable();
            let values = joined(values);
            let shown = match text(expression, "operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                _ => format!("!{key}"),
            };
            parts.push((key.to_owned(), shown));
        }
        parts.sort_by(|a, b| a.0.cmp(&b.0));
    }
    joined_or_none(parts.iter().map(|(_, shown)| shown.as_str()))
}

/// The condition of a type in `status.conditions`.
pub fn last_condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(field(object, "status"), "conditions").iter().find(|c| text(c, "type") == kind)
}

/// The columns of kinds whose tables show the time of creation as it is.
pub fn created_at_columns() -> Vec<Column> {
    let mut created = Column::new("Created At");
    created.kind = "date".to_owned();
    vec![Column::object_name(), created]
}

/// Their cells.
pub fn created_at_row(object: &Value) -> Vec<Value> {
    vec![name(object), Value::from(meta::string(object, "creationTimestamp"))]
}
