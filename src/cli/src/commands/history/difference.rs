//! Two states of an object, field by field.

use super::at;
use serde_json::Value;
use std::collections::BTreeSet;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Where it is: `spec.template.spec.containers[web].image`.
    pub(super) path: String,
    /// What it was.
    pub(super) before: Option<Value>,
    /// What it is.
    pub(super) after: Option<Value>,
}

/// Metadata that the API server keeps by itself.
const KEPT_BY_SERVER: [&str; 4] = ["managedFields", "resourceVersion", "generation", "selfLink"];

/// All fields that differ, in the order of their paths.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&without_server_fields(before), &without_server_fields(after), String::new(), &mut found);
    found
}

fn without_server_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !KEPT_BY_SERVER.contains(&name.as_str()));
    }
    object
}

fn compare(before: &Value, after: &Value, path: String, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                part(one.get(name), other.get(name), field(&path, name), found);
            }
        }
        (Value::Array(one), Value::Array(other)) => match (names(one), names(other)) {
            // Containers, ports and the like are told by their names, wherever they stand.
            (Some(left), Some(right)) => {
                let all: BTreeSet<&str> = left.iter().chain(&right).copied().collect();
                for name in all {
                    let find = |list: &'_ [Value]| {
                        list.iter()
                            .find(|item| item.get("name").and_then(Value::as_str) == Some(name))
                            .cloned()
                    };
                    part(find(one).as_ref(), find(other).as_ref(), format!("{path}[{name}]"), found);
                }
            }
            _ => found.push(Difference { path, before: Some(before.clone()), after: Some(after.clone()) }),
        },
        _ => found.push(Difference { path, before: Some(before.clone()), after: Some(after.clone()) }),
    }
}

fn part(before: Option<&Value>, after: Option<&Value>, path: String, found: &mut Vec<Difference>) {
    match (before, after) {
        (Some(before), Some(after)) => compare(before, after, path, found),
        (before, after) => found.push(Difference { path, before: before.cloned(), after: after.cloned() }),
    }
}

fn field(path: &str, name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match (path.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

/// The names of a list's items, if each has one of its own.
fn names(list: &[Value]) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> = list.iter().map(|item| at(item, &["name"]).as_str()).collect();
    names.filter(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_that_differ_are_told_by_their_paths() {
        let before = json!({"metadata": {"resourceVersion": "1", "labels": {"a.b/c": "x"}}, "spec": {"replicas": 1,
            "containers": [{"name": "web", "image": "a"}, {"name": "gone"}], "args": ["1", "2"]}});
        let after = json!({"metadata": {"resourceVersion": "2", "labels": {"a.b/c": "y"}}, "spec": {"replicas": 3,
            "containers": [{"name": "new"}, {"name": "web", "image": "b"}], "args": ["1", "3"]}});
        let found = differences(&before, &after);
        let paths: Vec<&str> = found.iter().map(|difference| difference.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "metadata.labels[\"a.b/c\"]",
                "spec.args",
                "spec.containers[gone]",
                "spec.containers[new]",
                "spec.containers[web].image",
                "spec.replicas"
            ]
        );
        let last = found.last().unwrap();
        assert_eq!((&last.before, &last.after), (&Some(json!(1)), &Some(json!(3))));
        assert_eq!(found[2].after, None);
        assert!(differences(&before, &before).is_empty());
    }

    #[test]
    fn lists_without_names_are_told_as_a_whole() {
        let found =
            differences(&json!({"a": [{"name": "x"}, {"name": "x"}]}), &json!({"a": [{"name": "x"}]}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "a");
    }
}
