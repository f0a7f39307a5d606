//! A configuration merged onto an object, and fields taken out of one.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::atom::{Atom, Ty};
use super::field_set::{FieldSet, Trie, is_member};
use super::path;
use crate::schema::Node;

/// Merges a configuration onto an object: what it sets is set, what it does not name stays.
pub(super) fn merge(schema: Node<'_>, object: &mut Value, config: &Value) {
    onto(Ty::root(schema), object, config);
}

fn onto(ty: Ty<'_>, live: &mut Value, config: &Value) {
    let atom = ty.atom(if config.is_null() { live } else { config });
    match (atom, config) {
        (Atom::Struct(_) | Atom::Map(_), Value::Object(config)) => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            let Value::Object(map) = live else { return };
            for (key, config) in config {
                let child = atom.child(key);
                match map.get_mut(key) {
                    // Null unsets what is owned as a whole, and leaves alone what is owned in parts.
                    Some(value) if config.is_null() => {
                        if matches!(child.atom(value), Atom::Leaf) || is_bare(value) {
                            map.remove(key);
                        }
                    }
                    Some(value) => onto(child, value, config),
                    None if config.is_null() => {}
                    None => {
                        let mut value = Value::Null;
                        onto(child, &mut value, config);
                        map.insert(key.clone(), value);
                    }
                }
            }
        }
        (Atom::Set | Atom::List(..), Value::Array(config)) => {
            let items = match std::mem::take(live) {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            *live = lists(atom, items, config).into();
        }
        (_, Value::Null) => {}
        _ => *live = config.clone(),
    }
}

fn is_bare(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

/// Merges lists item by item. Items of the configuration keep its order; items that only the object has keep their
/// place between the neighbours that both have.
fn lists(atom: Atom<'_>, live: Vec<Value>, config: &[Value]) -> Vec<Value> {
    let step = |item: &Value| atom.step(item).unwrap_or_default();
    let live_steps: Vec<String> = live.iter().map(step).collect();
    let config_steps: Vec<String> = config.iter().map(step).collect();
    let configured: HashSet<&str> = config_steps.iter().map(String::as_str).collect();
    let mut first_live: HashMap<&str, usize> = HashMap::new();
    for (at, step) in live_steps.iter().enumerate() {
        first_live.entry(step).or_insert(at);
    }
    let merged = |at: usize| -> Option<Value> {
        let config = config.get(at)?;
        let known =
            config_steps.get(at).and_then(|step| first_live.get(step.as_str())).and_then(|at| live.get(*at));
        let mut item = known.cloned().unwrap_or_default();
        onto(atom.child(""), &mut item, config);
        Some(item)
    };
    // What both have, in the configuration's order.
    let mut shared = config_steps.iter().filter(|step| first_live.contains_key(step.as_str())).peekable();
    let mut taken: HashSet<&str> = HashSet::new();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut r) = (0, 0);
    loop {
        match (live_steps.get(l), config_steps.get(r)) {
            (None, None) => return out,
            (Some(ours), Some(theirs)) if ours == theirs => {
                taken.insert(theirs);
                out.extend(merged(r));
                shared.next();
                l += 1;
                r += 1;
            }
            // In both, and its turn comes later.
            (Some(ours), Some(_))
                if configured.contains(ours.as_str()) && shared.peek().is_some_and(|next| *next != ours) =>
            {
                l += 1;
            }
            (Some(ours), _) if !configured.contains(ours.as_str()) => {
                out.extend(live.get(l).cloned());
                l += 1;
            }
            (Some(ours), _) if taken.contains(ours.as_str()) => l += 1,
            (_, Some(theirs)) => {
                taken.insert(theirs);
                out.extend(merged(r));
                r += 1;
                shared.next_if(|next| *next == theirs);
            }
            (Some(_), None) => l += 1,
        }
    }
}

/// Takes fields out of an object. What is left with nothing in it goes too.
pub(super) fn remove(schema: Node<'_>, object: &mut Value, fields: &FieldSet) {
    take_out(Ty::root(schema), object, fields.trie());
}

fn take_out(ty: Ty<'_>, value: &mut Value, fields: &Trie) {
    let atom = ty.atom(value);
    // Whether the field goes; a part of it may.
    let goes = |ty: Ty<'_>, step: &str, value: &mut Value| -> bool {
        match fields.get(step).and_then(Value::as_object) {
            None => false,
            Some(below) if is_member(below) => true,
            Some(below) => {
                let was_bare = is_empty(value);
                take_out(ty, value, below);
                !was_bare && is_empty(value)
            }
        }
    };
    match (atom, value) {
        (Atom::Struct(_) | Atom::Map(_), Value::Object(map)) => {
            map.retain(|key, value| !goes(atom.child(key), &path::field(key), value));
        }
        (Atom::Set | Atom::List(..), Value::Array(items)) => items.retain_mut(|item| match atom.step(item) {
            Some(step) => !goes(atom.child(""), &step, item),
            None => true,
        }),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) && is_bare(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture;
    use super::*;

    fn merged(mut live: Value, config: Value) -> Value {
        merge(fixture::schema().node(), &mut live, &config);
        live
    }

    fn names(live: &[&str], config: &[&str]) -> Vec<String> {
        let spec = |names: &[&str]| {
            let items: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": items}})
        };
        let merged = merged(spec(live), spec(config));
        let items = merged["spec"]["containers"].as_array().unwrap().clone();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn parts_merge_and_atomic_values_are_replaced() {
        assert_eq!(
            merged(
                json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x"]}, "spec": {"selector": {"a": "1"},
                    "containers": [{"name": "a", "image": "1"}], "replicas": 1, "paused": true}}),
                json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["y"]}, "spec": {"selector": {"b": "1"},
                    "containers": [{"name": "a", "ports": [{"containerPort": 1}]}], "replicas": null}})
            ),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]},
                "spec": {"selector": {"b": "1"}, "paused": true,
                    "containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 1}]}]}})
        );
    }

    #[test]
    fn items_keep_the_configurations_order_and_their_own_place() {
        assert_eq!(names(&["a", "b"], &["b", "a"]), ["b", "a"]);
        assert_eq!(names(&["a", "b"], &["c"]), ["a", "b", "c"]);
        assert_eq!(names(&["x", "a", "y", "b"], &["a", "n", "b"]), ["x", "a", "y", "n", "b"]);
        assert_eq!(names(&["a", "x", "b"], &["b", "a"]), ["x", "b", "a"]);
        assert_eq!(names(&[], &["a", "b"]), ["a", "b"]);
        assert_eq!(names(&["a", "b"], &[]), ["a", "b"]);
    }

    #[test]
    fn removed_fields_take_empty_parents_with_them() {
        let mut object = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x", "y"]}, "spec": {
            "replicas": 1, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}});
        let fields = json!({"f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x\"": {}}}, "f:spec": {
            "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}, "k:{\"name\":\"b\"}": {"f:image": {}}}}});
        let fields = FieldSet::from_trie(fields.as_object().unwrap().clone());
        remove(fixture::schema().node(), &mut object, &fields);
        assert_eq!(
            object,
            json!({"metadata": {"finalizers": ["y"]}, "spec": {"replicas": 1, "containers": [{"name": "b"}]}})
        );
    }
}
