//! One step of a path to a field, in the text of `FieldsV1`: `f:name` (a field or a map's key), `k:{"name":"a"}` (an
//! item of a list by its key fields), `v:"x"` (an item of a set by its value), `i:0` (an item by position).

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::schema::Node;

/// The step to a field or a map's key.
pub(super) fn field(name: &str) -> String {
    let mut step = String::with_capacity(2 + name.len());
    step.push_str("f:");
    step.push_str(name);
    step
}

/// The step to an item of a set.
pub(super) fn value(item: &Value) -> String {
    format!("v:{item}")
}

/// The step to an item by its position.
pub(super) fn index(at: usize) -> String {
    format!("i:{at}")
}

/// The step to an item of a list with these key fields. A key field that the item leaves out has its default; one
/// that has none is not part of the step. None if no key field is left, or the item is no object.
pub(super) fn key(item: &Value, keys: &[Cow<'static, str>], ty: Option<Node<'_>>) -> Option<String> {
    let item = item.as_object()?;
    let of = |name: &str| -> Option<&Value> {
        let default = || ty.and_then(|ty| ty.field(name)).and_then(|field| field.default.as_deref());
        item.get(name).filter(|value| !value.is_null()).or_else(default)
    };
    // The common case needs no tree.
    if let [name] = keys {
        let mut step = String::from("k:{");
        let _ = write!(step, "{}:{}}}", Quoted(name), of(name)?);
        return Some(step);
    }
    let present: Map<String, Value> =
        keys.iter().filter_map(|name| Some((name.clone().into_owned(), of(name)?.clone()))).collect();
    (!present.is_empty()).then(|| format!("k:{}", Value::Object(present)))
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self.0).unwrap_or_default())
    }
}

/// A path as kube-apiserver prints it: `.spec.containers[name="a"].image`.
pub fn display(steps: &[&str]) -> String {
    let mut text = String::new();
    for step in steps {
        let (kind, rest) = step.split_once(':').unwrap_or(("", step));
        // Writing to a String cannot fail.
        let _ = match kind {
            "f" => write!(text, ".{rest}"),
            "v" => write!(text, "[={rest}]"),
            "i" => write!(text, "[{rest}]"),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(text, "[{}]", keys.join(","))
            }
            _ => write!(text, "[{step}]"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_written_as_kubernetes_writes_them() {
        assert_eq!(field("spec"), "f:spec");
        assert_eq!(value(&json!("a\"b")), "v:\"a\\\"b\"");
        assert_eq!(key(&json!({"name": "a", "x": 1}), &["name".into()], None).unwrap(), "k:{\"name\":\"a\"}");
        assert_eq!(
            key(&json!({"protocol": "TCP", "port": 80}), &["protocol".into(), "port".into()], None).unwrap(),
            "k:{\"port\":80,\"protocol\":\"TCP\"}"
        );
        assert_eq!(key(&json!({"x": 1}), &["name".into()], None), None);
    }

    #[test]
    fn paths_are_printed_as_kubernetes_prints_them() {
        assert_eq!(
            display(&["f:spec", "k:{\"containerPort\":80,\"protocol\":\"TCP\"}", "f:x", "v:\"y\"", "i:3"]),
            ".spec[containerPort=80,protocol=\"TCP\"].x[=\"y\"][3]"
        );
    }
}
