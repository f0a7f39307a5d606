//! What all versions of a definition have in common. Kubernetes' internal form has it once, for the whole
//! definition, and errors name it there: `spec.validation` for the schema of a definition with one version.

use apimachinery::field::Path;
use serde_json::Value;

use crate::json::{field, is_zero, list, some};

/// A part of versions, with the path under which Kubernetes tells of it.
pub(super) struct Part<'a> {
    /// The version that it is of; the first one where all have the same.
    pub(super) version: &'a Value,
    /// The path of the part.
    pub(super) path: Path,
}

/// A field of versions: once if it is the same in all, else for each that has it.
pub(super) fn parts<'a>(spec: &'a Value, name: &str, hub_name: &str) -> Vec<Part<'a>> {
    let path = Path::new("spec");
    let versions = list(spec, "versions");
    let Some(first) = versions.first() else { return Vec::new() };
    let same = versions.iter().all(|version| equal(field(version, name), field(first, name)));
    let there =
        |version: &Value| some(version, name).is_some_and(|value| !value.is_array() || !is_zero(value));
    if same {
        let part = Part { version: first, path: path.child(hub_name) };
        return Some(part).into_iter().filter(|part| there(part.version)).collect();
    }
    let path = path.child("versions");
    versions
        .iter()
        .enumerate()
        .filter(|(_, version)| there(version))
        .map(|(index, version)| Part { version, path: path.index(index).child(name) })
        .collect()
}

fn equal(a: &Value, b: &Value) -> bool {
    // An empty list is as good as none; an empty object is not.
    a == b || (is_zero(a) && is_zero(b) && !a.is_object() && !b.is_object())
}
