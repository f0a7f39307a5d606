//! A set of fields, kept in the very form in which it is stored: the `FieldsV1` trie.
//!
//! A node is a JSON object. Its keys are steps ([`super::path`]) to child nodes, and `.` says that the node itself is
//! in the set. A node without keys is in the set too, so a node that is not must never be left without children.
//! Reading a stored set and writing it back therefore cost nothing, and the operations cost as much as the smaller
//! side.

use serde_json::{Map, Value};

/// Key that marks a node with children as a member.
pub(super) const MEMBER: &str = ".";

/// One node of the trie and all below it.
pub(super) type Trie = Map<String, Value>;

/// A set of field paths. The root itself is never a member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSet(Trie);

impl FieldSet {
    /// Takes a stored `fieldsV1`.
    pub fn from_trie(mut trie: Map<String, Value>) -> Self {
        trie.remove(MEMBER);
        Self(trie)
    }

    /// The form in which it is stored.
    pub fn into_trie(self) -> Map<String, Value> {
        self.0
    }

    /// The trie, to be read.
    pub fn trie(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: FieldSet) {
        union(&mut self.0, other.0);
    }

    /// Takes out all that is in another set.
    pub fn subtract(&mut self, other: &FieldSet) {
        subtract_children(&mut self.0, &other.0);
    }

    /// What is in both sets.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        Self(intersect_children(&self.0, &other.0))
    }

    /// Takes a top-level field and all below it out.
    pub fn remove_field(&mut self, name: &str) {
        self.0.remove(&format!("f:{name}"));
    }

    /// Makes every named field above a member a member as well.
    pub fn with_named_parents(mut self) -> Self {
        add_named_parents(&mut self.0);
        self
    }

    /// Every member, as the steps that lead to it, in order of the steps' text.
    pub fn paths(&self) -> Vec<Vec<&str>> {
        let mut paths = Vec::new();
        collect(&self.0, &mut Vec::new(), &mut paths);
        paths
    }
}

/// Whether the node of this trie is in the set.
pub(super) fn is_member(node: &Trie) -> bool {
    node.is_empty() || node.contains_key(MEMBER)
}

/// Makes the node a member; a node that does not exist yet comes to be.
pub(super) fn mark(node: Option<Trie>) -> Option<Trie> {
    let mut node = node.unwrap_or_default();
    if !node.is_empty() {
        node.insert(MEMBER.to_owned(), Value::Object(Map::new()));
    }
    Some(node)
}

/// Puts a child under a node, if there is one.
pub(super) fn attach(parent: &mut Option<Trie>, step: impl FnOnce() -> String, child: Option<Trie>) {
    if let Some(child) = child {
        parent.get_or_insert_with(Map::new).insert(step(), Value::Object(child));
    }
}

fn children(node: &Trie) -> impl Iterator<Item = (&String, &Trie)> {
    let node = node.iter().filter(|(step, _)| *step != MEMBER);
    node.filter_map(|(step, child)| child.as_object().map(|child| (step, child)))
}

fn union(into: &mut Trie, from: Trie) {
    for (step, child) in from {
        if step == MEMBER {
            into.insert(step, child);
            continue;
        }
        let Value::Object(child) = child else { continue };
        match into.get_mut(&step) {
            Some(Value::Object(known)) => {
                let member = is_member(known) || is_member(&child);
                union(known, child);
                if member && !known.is_empty() {
                    known.insert(MEMBER.to_owned(), Value::Object(Map::new()));
                }
            }
            _ => {
                into.insert(step, Value::Object(child));
            }
        }
    }
}

fn subtract_children(from: &mut Trie, gone: &Trie) {
    for (step, gone) in children(gone) {
        let Some(Value::Object(node)) = from.get_mut(step) else { continue };
        let member = is_member(node) && !is_member(gone);
        node.remove(MEMBER);
        subtract_children(node, gone);
        if node.is_empty() {
            if !member {
                from.remove(step);
            }
        } else if member {
            node.insert(MEMBER.to_owned(), Value::Object(Map::new()));
        }
    }
}

fn intersect_children(a: &Trie, b: &Trie) -> Trie {
    // The side with fewer children leads.
    let (a, b) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut both = Map::new();
    for (step, a) in children(a) {
        let Some(Value::Object(b)) = b.get(step) else { continue };
        let member = is_member(a) && is_member(b);
        let mut node = intersect_children(a, b);
        if node.is_empty() {
            if member {
                both.insert(step.clone(), Value::Object(node));
            }
            continue;
        }
        if member {
            node.insert(MEMBER.to_owned(), Value::Object(Map::new()));
        }
        both.insert(step.clone(), Value::Object(node));
    }
    both
}

fn add_named_parents(node: &mut Trie) {
    for (step, child) in node.iter_mut() {
        let Value::Object(child) = child else { continue };
        if step == MEMBER || child.is_empty() {
            continue;
        }
        add_named_parents(child);
        if step.starts_with("f:") {
            child.insert(MEMBER.to_owned(), Value::Object(Map::new()));
        }
    }
}

fn collect<'a>(node: &'a Trie, path: &mut Vec<&'a str>, paths: &mut Vec<Vec<&'a str>>) {
    for (step, child) in children(node) {
        path.push(step);
        if is_member(child) {
            paths.push(path.clone());
        }
        collect(child, path, paths);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::from_trie(value.as_object().unwrap().clone())
    }

    #[test]
    fn a_union_keeps_members_of_both_sides() {
        let mut a = set(json!({"f:a": {}, "f:b": {"f:c": {}}}));
        a.add(set(json!({"f:a": {"f:x": {}}, "f:b": {".": {}, "f:d": {}}})));
        assert_eq!(a, set(json!({"f:a": {".": {}, "f:x": {}}, "f:b": {".": {}, "f:c": {}, "f:d": {}}})));
    }

    #[test]
    fn a_difference_leaves_no_empty_nodes_behind() {
        let mut a = set(
            json!({"f:a": {}, "f:b": {"f:c": {}}, "f:d": {".": {}, "f:e": {}}, "f:g": {".": {}, "f:h": {}}}),
        );
        a.subtract(&set(json!({"f:a": {}, "f:b": {"f:c": {}}, "f:d": {"f:e": {}}, "f:g": {}})));
        assert_eq!(a, set(json!({"f:d": {}, "f:g": {"f:h": {}}})));
    }

    #[test]
    fn an_intersection_has_what_is_in_both() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:x": {}}));
        let b = set(json!({"f:a": {"f:b": {}}, "f:x": {".": {}, "f:y": {}}, "f:z": {}}));
        assert_eq!(a.intersection(&b), set(json!({"f:a": {"f:b": {}}, "f:x": {}})));
        assert!(a.intersection(&set(json!({"f:a": {"f:q": {}}}))).is_empty());
    }

    #[test]
    fn named_parents_become_members_and_items_of_lists_do_not() {
        let a = set(json!({"f:a": {"k:{\"n\":1}": {"f:b": {"f:c": {}}}}})).with_named_parents();
        assert_eq!(a, set(json!({"f:a": {".": {}, "k:{\"n\":1}": {"f:b": {".": {}, "f:c": {}}}}})));
    }

    #[test]
    fn paths_are_all_members() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}}));
        assert_eq!(a.paths(), [vec!["f:a"], vec!["f:a", "f:b"], vec!["f:c", "f:d"]]);
    }
}
