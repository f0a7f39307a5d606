//! Rules of `ObjectMeta` that hold for every kind (`k8s.io/apimachinery/pkg/api/validation`).

use crate::kind::NameRule;
use crate::validation::{self as rules, Errors, immutable};
use crate::value::{boolean, entries, field, list, same, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::schema::{SchemaRef, SchemaSet};
use apimachinery::{gvk, meta, validation};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

/// All annotations of an object together: enough for tools to keep a manifest in, too little to be a database.
pub const TOTAL_ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// Finalizers without a domain that Kubernetes itself uses.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// What custom resources have to know of `ObjectMeta`.
pub fn object_meta() -> apiextensions::ObjectMeta {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        crate::schema::schema_named("apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap_or_else(|| {
            // The table is part of the program, and a test looks the name up.
            tracing::error!("the built-in schema table has no ObjectMeta");
            SchemaRef::new(Arc::new(SchemaSet::default()), SchemaSet::default().reserve())
        })
    });
    apiextensions::ObjectMeta { schema: SCHEMA.clone(), validate: validate_embedded_object_meta }
}

/// What is wrong with the metadata of an object within another: it may have any name that a path can hold.
fn validate_embedded_object_meta(metadata: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, check) in [
        ("generateName", validation::path_segment as fn(&str) -> Vec<String>),
        ("name", validation::path_segment),
        ("namespace", validation::dns1123_label),
    ] {
        let value = text(metadata, name);
        if !value.is_empty() {
            errors.check(path, name, value, check(value));
        }
    }
    rules::non_negative(metadata, "generation", path, &mut errors);
    validate_common(metadata, path, &mut errors);
    validate_finalizers(metadata, path, &mut errors);
    errors
}

/// What is wrong with the metadata of a new object.
pub fn validate_object_meta(object: &Value, namespaced: bool, rule: NameRule) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata");
    let metadata = field(object, "metadata");
    let prefix = text(metadata, "generateName");
    if !prefix.is_empty() {
        errors.check(&path, "generateName", prefix, rule.check_prefix(prefix));
    }
    let name = text(metadata, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        errors.check(&path, "name", name, rule.check(name));
    }
    let namespace = text(metadata, "namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&path.child("namespace"), ""),
        (true, false) => errors.check(&path, "namespace", namespace, validation::dns1123_label(namespace)),
        (false, true) => {}
        (false, false) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
    }
    rules::non_negative(metadata, "generation", &path, &mut errors);
    validate_common(metadata, &path, &mut errors);
    validate_finalizers(metadata, &path, &mut errors);
    errors
}

/// What is wrong with the metadata of an updated object, compared with that of the old one. The engine has
/// already carried over what clients may leave out.
pub fn validate_object_meta_update(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata");
    let (new_meta, old_meta) = (field(object, "metadata"), field(old, "metadata"));
    if meta::is_terminating(old) {
        let added: Vec<String> = meta::finalizers(object)
            .filter(|new| !meta::finalizers(old).any(|known| known == *new))
            .map(|name| format!("\"{name}\""))
            .collect();
        if !added.is_empty() {
            errors.forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            );
        }
    }
    if text(new_meta, "resourceVersion").is_empty() {
        errors.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    let generation = meta::generation(object);
    if generation < meta::generation(old) {
        errors.invalid(&path.child("generation"), generation, "must not be decremented");
    }
    for name in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        immutable(new_meta, old_meta, name, &path, &mut errors);
    }
    validate_common(new_meta, &path, &mut errors);
    // Finalizers that were there before a rule was are left alone.
    if !same(field(new_meta, "finalizers"), field(old_meta, "finalizers")) {
        validate_finalizers(new_meta, &path, &mut errors);
    }
    errors
}

fn validate_common(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    rules::labels(metadata, "labels", path, errors);
    validate_annotations(metadata, path, errors);
    validate_owner_references(metadata, path, errors);
    validate_managed_fields(metadata, path, errors);
}

/// What is wrong with the annotations in `metadata`.
pub fn validate_annotations(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let mut total = 0;
    for (key, value) in entries(metadata, "annotations") {
        errors.check(path, "annotations", key, validation::qualified_name(&key.to_lowercase()));
        total += key.len() + value.as_str().unwrap_or("").len();
    }
    if total > TOTAL_ANNOTATIONS_MAX_BYTES {
        errors.push(apimachinery::field::FieldError::too_long(
            &path.child("annotations"),
            TOTAL_ANNOTATIONS_MAX_BYTES,
        ));
    }
}

fn validate_finalizers(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let all = list(metadata, "finalizers");
    for finalizer in all.iter().filter_map(Value::as_str) {
        let messages = validation::qualified_name(finalizer);
        if messages.is_empty() && !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            errors.invalid(
                &path.child("finalizers"),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            );
        }
        errors.check(path, "finalizers", finalizer, messages);
    }
    let names = |wanted: &str| all.iter().any(|f| f.as_str() == Some(wanted));
    if names("orphan") && names("foregroundDeletion") {
        errors.invalid(
            &path.child("finalizers"),
            all.to_vec(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        );
    }
}

fn validate_owner_references(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let references = list(metadata, "ownerReferences");
    if references.is_empty() {
        return;
    }
    let path = path.child("ownerReferences");
    let mut controller: Option<String> = None;
    for reference in references {
        let api_version = text(reference, "apiVersion");
        let (group, version) = gvk::parse_api_version(api_version);
        if version.is_empty() {
            errors.invalid(&path.child("apiVersion"), api_version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if text(reference, name).is_empty() {
                errors.invalid(&path.child(name), "", "must not be empty");
            }
        }
        if text(reference, "kind") == "Event" && matches!(group, "" | "events.k8s.io") {
            let shown = gvk::Gvk::new(group, version, "Event");
            errors.invalid(&path, reference.clone(), format!("{shown} is disallowed from being an owner"));
        }
        if boolean(reference, "controller") == Some(true) {
            let this = format!("{}/{}", text(reference, "kind"), text(reference, "name"));
            match &controller {
                Some(first) => errors.invalid(
                    &path,
                    references.to_vec(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                ),
                None => controller = Some(this),
            }
        }
    }
}

fn validate_managed_fields(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, entry) in list(metadata, "managedFields").iter().enumerate() {
        let path = || path.child("managedFields").index(i);
        let operation = text(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            errors.invalid(&path().child("operation"), operation, "must be `Apply` or `Update`");
        }
        let fields_type = text(entry, "fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            errors.invalid(&path().child("fieldsType"), fields_type, "must be `FieldsV1`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(metadata: Value) -> Vec<String> {
        validate_object_meta(&json!({"metadata": metadata}), true, NameRule::Dns1123Subdomain)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn embedded_metadata_has_the_rules_of_all_metadata() {
        let meta = object_meta();
        assert!(meta.schema.field("ownerReferences").is_some());
        let path = Path::new("spec").child("metadata");
        let wrong = (meta.validate)(&json!({"name": "a/b", "labels": {"": "x"}}), &path);
        assert_eq!(wrong[0].to_string(), "spec.metadata.name: Invalid value: \"a/b\": may not contain '/'");
        assert!(
            wrong[1]
                .to_string()
                .starts_with("spec.metadata.labels: Invalid value: \"\": name part must be non-empty")
        );
        assert!((meta.validate)(&json!({}), &path).is_empty());
    }

    #[test]
    fn a_name_is_required_and_has_a_form() {
        assert_eq!(
            errors(json!({"namespace": "n"})),
            ["metadata.name: Required value: name or generateName is required"]
        );
        let found = errors(json!({"namespace": "n", "name": "X"}));
        assert!(found[0].starts_with(
            "metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain must consist of"
        ));
        assert!(errors(json!({"namespace": "n", "name": "x-1", "generateName": "x-"})).is_empty());
    }

    #[test]
    fn only_one_owner_is_the_controller() {
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
        let found =
            errors(json!({"namespace": "n", "name": "x", "ownerReferences": [owner("a"), owner("b")]}));
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with("Found \"true\" in references for Pod/a and Pod/b"), "{}", found[0]);
    }

    #[test]
    fn identity_does_not_change() {
        let old = json!({"metadata": {"name": "x", "uid": "1", "resourceVersion": "1"}});
        let new = json!({"metadata": {"name": "x", "uid": "2"}});
        let found: Vec<String> =
            validate_object_meta_update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
                "metadata.uid: Invalid value: \"2\": field is immutable"
            ]
        );
    }
}
