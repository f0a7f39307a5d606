//! Which fields a write added, changed and removed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::atom::{Atom, Ty};
use super::field_set::{FieldSet, Trie, attach, mark};
use super::path;
use crate::schema::Node;

/// The difference between two objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// The part of a comparison below one node. None: nothing there.
#[derive(Default)]
struct Difference {
    added: Option<Trie>,
    modified: Option<Trie>,
    removed: Option<Trie>,
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.added.is_none() && self.modified.is_none() && self.removed.is_none()
    }

    fn take_child(&mut self, step: impl Fn() -> String, child: Difference) {
        attach(&mut self.added, &step, child.added);
        attach(&mut self.modified, &step, child.modified);
        attach(&mut self.removed, &step, child.removed);
    }
}

/// Compares two whole objects of a type.
pub(super) fn compare(ty: Node<'_>, old: &Value, new: &Value) -> Comparison {
    let difference = values(Ty::root(ty), Some(old), Some(new));
    let set = |trie: Option<Trie>| FieldSet::from_trie(trie.unwrap_or_default());
    Comparison {
        added: set(difference.added),
        modified: set(difference.modified),
        removed: set(difference.removed),
    }
}

fn values(ty: Ty<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let Some(shown) = new.filter(|new| !new.is_null()).or(old).or(new) else { return Difference::default() };
    if old == new {
        return Difference::default();
    }
    let atom = ty.atom(shown);
    let parts = match atom {
        Atom::Leaf => None,
        Atom::Struct(_) | Atom::Map(_) => objects(atom, old, new),
        Atom::Set | Atom::List(..) => lists(atom, old, new),
    };
    let Some(mut parts) = parts else { return leaf(old, new) };
    if old.is_none() {
        parts.added = mark(parts.added);
    } else if new.is_none() {
        parts.removed = mark(parts.removed);
    }
    parts
}

/// A value that is owned as a whole, and differs.
fn leaf(old: Option<&Value>, new: Option<&Value>) -> Difference {
    let here = || Some(Trie::new());
    match (old, new) {
        (None, _) => Difference { added: here(), ..Difference::default() },
        (_, None) => Difference { removed: here(), ..Difference::default() },
        _ => Difference { modified: here(), ..Difference::default() },
    }
}

/// None if the values are to be treated as one field: neither has entries, or one is no object.
fn objects(atom: Atom<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Difference> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let old = object(old, &NONE)?;
    let new = object(new, &NONE)?;
    if old.is_empty() && new.is_empty() {
        return None;
    }
    let mut parts = Difference::default();
    // Both sides are sorted by key.
    let mut olds = old.iter().peekable();
    let mut news = new.iter().peekable();
    loop {
        let (key, old, new) = match (olds.peek(), news.peek()) {
            (None, None) => return Some(parts),
            (Some((a, _)), Some((b, _))) if a == b => {
                let (old, new) = (olds.next(), news.next());
                (old.map(|(key, _)| key), old.map(|(_, value)| value), new.map(|(_, value)| value))
            }
            (Some((a, _)), Some((b, _))) if a > b => {
                let new = news.next();
                (new.map(|(key, _)| key), None, new.map(|(_, value)| value))
            }
            (Some(_), _) => {
                let old = olds.next();
                (old.map(|(key, _)| key), old.map(|(_, value)| value), None)
            }
            (None, Some(_)) => {
                let new = news.next();
                (new.map(|(key, _)| key), None, new.map(|(_, value)| value))
            }
        };
        let Some(key) = key else { continue };
        let child = values(atom.child(key), old, new);
        if !child.is_empty() {
            parts.take_child(|| path::field(key), child);
        }
    }
}

/// The object's entries; none for an absent value or null. None if the value is something else.
fn object<'a>(value: Option<&'a Value>, none: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Some(none),
        Some(Value::Object(map)) => Some(map),
        Some(_) => None,
    }
}

/// None if the lists are to be treated as one field: neither has items, or some item cannot be told apart.
fn lists(atom: Atom<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Difference> {
    let old = index(atom, old)?;
    let new = index(atom, new)?;
    if old.is_empty() && new.is_empty() {
        return None;
    }
    let mut parts = Difference::default();
    for (step, olds) in &old {
        let news = new.get(step).map(Vec::as_slice).unwrap_or_default();
        item(atom, &mut parts, step, olds, news);
    }
    for (step, news) in &new {
        if !old.contains_key(step) {
            item(atom, &mut parts, step, &[], news);
        }
    }
    Some(parts)
}

/// Compares the items of one key. Two items may claim the same one; then they are compared as a whole.
fn item(atom: Atom<'_>, parts: &mut Difference, step: &str, old: &[&Value], new: &[&Value]) {
    let child = match (old, new) {
        (old, new) if old.len() > 1 && !new.is_empty() || new.len() > 1 && !old.is_empty() => {
            if old == new {
                Difference::default()
            } else {
                leaf(old.first().copied(), new.first().copied())
            }
        }
        (old, new) => values(atom.child(""), old.first().copied(), new.first().copied()),
    };
    if !child.is_empty() {
        parts.take_child(|| step.to_owned(), child);
    }
}

fn index<'a>(atom: Atom<'_>, list: Option<&'a Value>) -> Option<BTreeMap<String, Vec<&'a Value>>> {
    let mut items: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    match list {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for item in list {
                items.entry(atom.step(item)?).or_default().push(item);
            }
        }
        Some(_) => return None,
    }
    Some(items)
}

/// All fields of an object that comes to be: what a comparison with an object with nothing in it would have added.
///
/// In Go that object is not without fields: structs that are no pointers are there, and so are required fields, as
/// null. What is there is not added, only what is in it.
pub(super) fn created(ty: Node<'_>, new: &Value) -> FieldSet {
    FieldSet::from_trie(fresh(Ty::root(ty), new, true, true).unwrap_or_default())
}

/// `present`: the empty object has the value, if only as null. `zero`: and it is a struct with nothing set.
fn fresh(ty: Ty<'_>, value: &Value, present: bool, zero: bool) -> Option<Trie> {
    let atom = ty.atom(value);
    let mut node = None;
    match (atom, value) {
        (Atom::Struct(_) | Atom::Map(_), Value::Object(map)) if !map.is_empty() => {
            for (key, value) in map {
                let (present, zero) = match atom {
                    Atom::Struct(ty) if zero => ty
                        .field(key)
                        .map_or((false, false), |field| (field.always || field.required, field.always)),
                    _ => (false, false),
                };
                let child = fresh(atom.child(key), value, present, zero);
                attach(&mut node, || path::field(key), child);
            }
        }
        (Atom::Struct(_), Value::Object(_)) if zero => return None,
        (Atom::Set | Atom::List(..), Value::Array(items)) if !items.is_empty() => {
            for item in items {
                let Some(step) = atom.step(item) else { return Some(Trie::new()) };
                let child = fresh(atom.child(""), item, false, false);
                attach(&mut node, || step, child);
            }
        }
        _ => return Some(Trie::new()),
    }
    if present { node } else { mark(node) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture;
    use super::*;

    fn sets(old: Value, new: Value) -> (Value, Value, Value) {
        let schema = fixture::schema();
        let Comparison { added, modified, removed } = compare(schema.node(), &old, &new);
        (added.into_trie().into(), modified.into_trie().into(), removed.into_trie().into())
    }

    #[test]
    fn scalars_and_atomic_parts_are_told_as_a_whole() {
        assert_eq!(
            sets(
                json!({"spec": {"replicas": 1, "selector": {"a": "1"}, "args": ["x"]}}),
                json!({"spec": {"selector": {"a": "2"}, "args": ["x", "y"], "paused": true}})
            ),
            (
                json!({"f:spec": {"f:paused": {}}}),
                json!({"f:spec": {"f:selector": {}, "f:args": {}}}),
                json!({"f:spec": {"f:replicas": {}}})
            )
        );
    }

    #[test]
    fn items_of_lists_are_told_by_key_and_of_sets_by_value() {
        assert_eq!(
            sets(
                json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"containers": [{"name": "c", "image": "1"}]}}),
                json!({"metadata": {"finalizers": ["b", "d"]},
                    "spec": {"containers": [{"name": "n", "ports": [{"containerPort": 80}]}, {"name": "c", "image": "2"}]}})
            ),
            (
                json!({"f:metadata": {"f:finalizers": {"v:\"d\"": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"n\"}": {
                    ".": {}, "f:name": {}, "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                        {".": {}, "f:containerPort": {}}}}}}}),
                json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {"f:image": {}}}}}),
                json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}})
            )
        );
    }

    #[test]
    fn order_alone_is_no_difference() {
        let (a, b) = (json!({"name": "a"}), json!({"name": "b"}));
        let none = json!({});
        assert_eq!(
            sets(json!({"spec": {"containers": [a, b]}}), json!({"spec": {"containers": [b, a]}})),
            (none.clone(), none.clone(), none)
        );
    }

    #[test]
    fn two_items_of_one_key_are_compared_as_a_whole() {
        let list = |image: &str| json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "a", "image": image}]}});
        assert_eq!(
            sets(list("1"), list("2")).1,
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {}}}})
        );
    }

    #[test]
    fn a_created_object_has_its_fields_as_kubernetes_lists_them() {
        let new = json!({"metadata": {"labels": {"a": "1"}}, "spec": {
            "replicas": 1, "selector": {"a": "1"},
            "containers": [{"name": "c", "image": "i", "resources": {}}]}, "status": {}});
        assert_eq!(
            Value::from(created(fixture::schema().node(), &new).into_trie()),
            json!({
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:replicas": {}, "f:selector": {},
                    "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}},
            })
        );
    }
}
