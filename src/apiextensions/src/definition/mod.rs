//! What is wrong with a CustomResourceDefinition, in the words of
//! `k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation`.
//!
//! | module | what |
//! |---|---|
//! | [`hub`] | what all versions have in common, which Kubernetes tells of once |
//! | [`spec`], [`names`], [`conversion`], [`approval`] | group, scope, versions; names; webhooks; `*.k8s.io` |
//! | [`columns`], [`field_path`] | printer columns, selectable fields, subresources; paths in a schema |
//! | [`schema`], [`keywords`], [`defaults`], [`rules`] | the schemas |

mod approval;
mod columns;
mod conversion;
mod defaults;
pub(crate) mod field_path;
mod hub;
mod keywords;
mod names;
mod rules;
mod schema;
mod spec;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::json::{at, field, list, text, texts};
use crate::object_meta::ObjectMeta;

/// What is wrong with a new definition, besides its metadata.
pub fn validate_create(definition: &Value, object_meta: &ObjectMeta) -> ErrorList {
    validate(definition, None, object_meta)
}

/// What is wrong with an updated definition, besides its metadata.
pub fn validate_update(definition: &Value, old: &Value, object_meta: &ObjectMeta) -> ErrorList {
    validate(definition, Some(old), object_meta)
}

/// What is wrong with an update of a definition's status.
pub fn validate_status_update(definition: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    status(definition, &mut errors);
    errors
}

/// Whether the server has begun to serve what the definition defines, so that names cannot change any more.
pub fn is_established(definition: &Value) -> bool {
    list(field(definition, "status"), "conditions")
        .iter()
        .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True")
}

fn validate(definition: &Value, old: Option<&Value>, object_meta: &ObjectMeta) -> ErrorList {
    let mut errors = ErrorList::new();
    name(definition, &mut errors);
    spec::validate(definition, old, object_meta, &mut errors);
    if let Some(old) = old {
        immutable(definition, old, &mut errors);
    }
    status(definition, &mut errors);
    approval::validate(definition, old, &mut errors);
    preserve_unknown_fields(definition, old, &mut errors);
    errors
}

fn name(definition: &Value, errors: &mut ErrorList) {
    let spec = field(definition, "spec");
    let wanted = format!("{}.{}", text(field(spec, "names"), "plural"), text(spec, "group"));
    let name = text(field(definition, "metadata"), "name");
    if name != wanted {
        let path = Path::new("metadata").child("name");
        errors.push(FieldError::invalid(&path, name, "must be spec.names.plural+\".\"+spec.group"));
    }
}

fn immutable(definition: &Value, old: &Value, errors: &mut ErrorList) {
    let mut same = |path: &[&str]| {
        let (new, old) = (at(definition, path), at(old, path));
        if new != old {
            errors.push(FieldError::invalid(&Path::new(&path.join(".")), new.clone(), "field is immutable"));
        }
    };
    // These decide under which keys objects are stored.
    if is_established(old) {
        same(&["spec", "scope"]);
        same(&["spec", "names", "kind"]);
    }
    same(&["spec", "group"]);
    same(&["spec", "names", "plural"]);
}

fn status(definition: &Value, errors: &mut ErrorList) {
    let (path, status) = (Path::new("status"), field(definition, "status"));
    names::validate(field(status, "acceptedNames"), &path.child("acceptedNames"), errors);
    stored_versions(definition, status, &path.child("storedVersions"), errors);
}

/// A version that was ever stored stays until its objects are migrated.
fn stored_versions(definition: &Value, status: &Value, path: &Path, errors: &mut ErrorList) {
    let stored: Vec<&str> = texts(status, "storedVersions").collect();
    if stored.is_empty() {
        let none = Value::Array(Vec::new());
        return errors.push(FieldError::invalid(path, none, "must have at least one stored version"));
    }
    let versions = list(field(definition, "spec"), "versions");
    for version in versions.iter().filter(|version| crate::json::is_true(version, "storage")) {
        let name = text(version, "name");
        if !stored.contains(&name) {
            let detail = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(path, stored.clone(), detail));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| text(version, "name") == *name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&path.index(index), *name, detail));
        }
    }
}

fn preserve_unknown_fields(definition: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let preserves =
        |definition: &Value| at(definition, &["spec", "preserveUnknownFields"]) == &Value::Bool(true);
    if preserves(definition) && !old.is_some_and(preserves) {
        let path = Path::new("spec").child("preserveUnknownFields");
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&path, true, detail));
    }
}

#[cfg(test)]
mod tests;
