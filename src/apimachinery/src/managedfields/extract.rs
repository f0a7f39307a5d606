//! An applied configuration checked against the schema, and the fields that it sets.

use std::collections::HashSet;

use serde_json::Value;

use super::atom::{Atom, Ty};
use super::field_set::{FieldSet, Trie, attach};
use super::path;
use crate::schema::{ListType, Node, Scalar, Shape, canonical};

/// Checks a configuration in the words of structured-merge-diff, and brings quantities and times to the form in which
/// the stored object has them, so that `1000m` is no other value than `1`.
///
/// # Errors
/// One text for all that is wrong.
pub(super) fn check(schema: Node<'_>, config: &mut Value) -> Result<(), String> {
    let mut checker = Checker { path: Vec::new(), errors: Vec::new() };
    checker.value(schema, config);
    match checker.errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(many.iter().fold("errors:".to_owned(), |text, err| format!("{text}\n  {err}"))),
    }
}

struct Checker {
    path: Vec<String>,
    errors: Vec<String>,
}

impl Checker {
    fn error(&mut self, what: &str) {
        let steps: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let path = path::display(&steps);
        self.errors.push(if path.is_empty() { what.to_owned() } else { format!("{path}: {what}") });
    }

    fn value(&mut self, node: Node<'_>, value: &mut Value) {
        if value.is_null() {
            return;
        }
        match node.shape() {
            Shape::Any(_) | Shape::SchemaOr { .. } => {}
            Shape::Scalar(scalar) => self.scalar(*scalar, value),
            Shape::Struct { .. } | Shape::Map { .. } => self.object(node, value),
            Shape::List { item, list_type } => self.list(node.at(*item), list_type, value),
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &mut Value) {
        let right = match scalar {
            Scalar::String | Scalar::Bytes => value.is_string(),
            Scalar::Int32 | Scalar::Int64 | Scalar::Double => value.is_number(),
            Scalar::Bool => value.is_boolean(),
            Scalar::Time | Scalar::MicroTime | Scalar::Quantity | Scalar::IntOrString => {
                !value.is_object() && !value.is_array()
            }
        };
        if right {
            canonical(scalar, value);
            return;
        }
        let wanted = match scalar {
            Scalar::Int32 | Scalar::Int64 | Scalar::Double => "numeric (int or float)",
            Scalar::Bool => "boolean",
            Scalar::String | Scalar::Bytes => "string",
            Scalar::Time | Scalar::MicroTime | Scalar::Quantity | Scalar::IntOrString => "any scalar",
        };
        let found = go_type(value);
        self.error(&format!("expected {wanted}, got {found}"));
    }

    fn object(&mut self, node: Node<'_>, value: &mut Value) {
        let Value::Object(map) = value else {
            let found = go_type(value);
            return self.error(&format!("expected map, got {found}"));
        };
        for (key, value) in map {
            self.path.push(path::field(key));
            match node.child(key) {
                Some(child) => self.value(child, value),
                None if node.ty().preserve_unknown => {}
                None => self.error("field not declared in schema"),
            }
            self.path.pop();
        }
    }

    fn list(&mut self, item: Node<'_>, list_type: &ListType, value: &mut Value) {
        let Value::Array(items) = value else {
            let found = go_type(value);
            return self.error(&format!("expected list, got {found}"));
        };
        let mut seen = HashSet::new();
        for (index, value) in items.iter_mut().enumerate() {
            let step = match list_type {
                ListType::Unset | ListType::Atomic => Ok(format!("i:{index}")),
                ListType::Set if value.is_null() => Err("set elements may not be null".to_owned()),
                ListType::Set if value.is_array() || value.is_object() => {
                    Err("associative list without keys has an element that's not a scalar".to_owned())
                }
                ListType::Set => Ok(path::value(value)),
                ListType::Map(_) if value.is_null() => {
                    Err("associative list with keys may not have a null element".to_owned())
                }
                ListType::Map(_) if !value.is_object() => {
                    Err("associative list with keys may not have non-map elements".to_owned())
                }
                ListType::Map(keys) => {
                    path::key(value, keys, Some(item)).ok_or_else(|| match keys.as_ref() {
                        [key] => format!(
                            "associative list with keys has an element that omits key field {key:?} \
                         (and doesn't have default value)"
                        ),
                        keys => format!(
                            "associative list with keys has an element that omits all key fields {keys:?} \
                         (and doesn't have default values for any key fields)"
                        ),
                    })
                }
            };
            let step = match step {
                Ok(step) => step,
                Err(why) => {
                    self.error(&format!("element {index}: {why}"));
                    continue;
                }
            };
            if !seen.insert(step.clone()) {
                self.error(&format!("duplicate entries for key {}", path::display(&[&step])));
                continue;
            }
            self.path.push(step);
            self.value(item, value);
            self.path.pop();
        }
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The fields that a checked configuration sets: leaves, keys of maps and items of lists; a struct's field is one only
/// if it has nothing in it.
pub(super) fn fields(schema: Node<'_>, config: &Value) -> FieldSet {
    FieldSet::from_trie(below(Ty::root(schema), config).unwrap_or_default())
}

/// What is below a value, not the value itself; None if the value is to be owned as a whole.
fn below(ty: Ty<'_>, value: &Value) -> Option<Trie> {
    let atom = ty.atom(value);
    let mut node = Trie::new();
    match (atom, value) {
        (Atom::Struct(schema), Value::Object(map)) => {
            for (key, value) in map {
                let known = schema.field(key).is_some();
                insert(&mut node, path::field(key), atom.child(key), value, !known);
            }
        }
        (Atom::Map(ty), Value::Object(map)) => {
            for (key, value) in map {
                insert(&mut node, path::field(key), ty, value, true);
            }
        }
        (Atom::Set | Atom::List(..), Value::Array(items)) => {
            for item in items {
                insert(&mut node, atom.step(item)?, atom.child(""), item, true);
            }
        }
        // A list that is null sets nothing.
        (Atom::Set | Atom::List(..), Value::Null) => {}
        _ => return None,
    }
    Some(node)
}

/// Adds a child; `member`: it is a field of its own even if there is something below it.
fn insert(node: &mut Trie, step: String, ty: Ty<'_>, value: &Value, member: bool) {
    let is_empty_list = matches!(value, Value::Array(items) if items.is_empty());
    let child = match below(ty, value) {
        None => Some(Trie::new()),
        // `{}` is a field, an empty list sets nothing.
        Some(child) if child.is_empty() => (member || !(is_empty_list || value.is_null())).then_some(child),
        Some(child) if member => super::field_set::mark(Some(child)),
        Some(child) => Some(child),
    };
    let mut parent = Some(std::mem::take(node));
    attach(&mut parent, || step, child);
    *node = parent.unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture;
    use super::*;

    fn problem(mut config: Value) -> String {
        check(fixture::schema().node(), &mut config).unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_path() {
        assert_eq!(problem(json!({"spec": {"foo": 1}})), ".spec.foo: field not declared in schema");
        assert_eq!(
            problem(json!({"spec": {"replicas": "1"}})),
            ".spec.replicas: expected numeric (int or float), got string"
        );
        assert_eq!(
            problem(json!({"spec": {"containers": [{"image": "x"}]}})),
            ".spec.containers: element 0: associative list with keys has an element that omits key field \"name\" \
             (and doesn't have default value)"
        );
        assert_eq!(
            problem(json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}})),
            ".spec.containers: duplicate entries for key [name=\"a\"]"
        );
        assert_eq!(
            problem(json!({"spec": {"containers": [{"name": "a", "x": 1}], "args": 3}})),
            "errors:\n  .spec.args: expected list, got int64\n  .spec.containers[name=\"a\"].x: field not declared in schema"
        );
    }

    #[test]
    fn quantities_take_their_canonical_form() {
        let mut config =
            json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1000m"}}}]}});
        check(fixture::schema().node(), &mut config).unwrap();
        assert_eq!(config["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
    }

    #[test]
    fn fields_are_leaves_keys_and_items() {
        let config = json!({
            "metadata": {"labels": {"a": "1"}, "annotations": {}, "finalizers": ["f"]},
            "spec": {"selector": {"a": "1"}, "reference": {"name": "x"}, "args": ["x"], "strategy": {}, "replicas": null,
                "raw": {"x": {"y": [1]}, "z": {}}, "opaque": {"x": 1},
                "containers": [{"name": "c", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}}]}});
        assert_eq!(
            Value::from(fields(fixture::schema().node(), &config).into_trie()),
            json!({
                "f:metadata": {"f:labels": {"f:a": {}}, "f:annotations": {}, "f:finalizers": {"v:\"f\"": {}}},
                "f:spec": {"f:selector": {}, "f:reference": {}, "f:args": {}, "f:strategy": {}, "f:replicas": {},
                    "f:raw": {"f:x": {".": {}, "f:y": {}}, "f:z": {}}, "f:opaque": {},
                    "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                        "f:resources": {"f:limits": {"f:cpu": {}}}}}}
            })
        );
    }
}
