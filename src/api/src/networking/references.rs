//! References to other objects in specs of this group.

use crate::validation::{Errors, required_path_segment};
use crate::value::{field, has, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// A reference to an object of any kind: a backend, the parameters of a class.
pub fn local(reference: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(group) = field(reference, "apiGroup").as_str() {
        errors.check(path, "apiGroup", group, forms::dns1123_subdomain(group));
    }
    required_path_segment(reference, "kind", path, errors);
    required_path_segment(reference, "name", path, errors);
}

/// The parameters of an IngressClass, which may be in a namespace.
pub fn parameters(reference: &Value, path: &Path, errors: &mut ErrorList) {
    local(reference, path, errors);
    let own = || path.child("namespace");
    match text(reference, "scope") {
        "" => errors.required(&path.child("scope"), ""),
        "Namespace" => match field(reference, "namespace").as_str() {
            None => errors.required(&own(), "`parameters.scope` is set to 'Namespace'"),
            Some(namespace) => {
                errors.check(path, "namespace", namespace, forms::dns1123_label(namespace));
            }
        },
        "Cluster" if has(reference, "namespace") => {
            errors.forbidden(&own(), "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        other => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}
