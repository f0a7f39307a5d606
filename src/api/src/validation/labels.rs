//! Labels and label selectors (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).

use super::Errors;
use crate::value::{entries, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation;
use serde_json::Value;

/// The form of a label's key.
pub fn label_name(name: &str, path: &Path, errors: &mut ErrorList) {
    errors.check_at(path, name, validation::qualified_name(name));
}

/// A map of labels in field `name` of `object`.
pub fn labels(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    for (key, value) in entries(object, name) {
        errors.check(path, name, key, validation::qualified_name(key));
        let value = value.as_str().unwrap_or("");
        errors.check(path, name, value, validation::label_value(value));
    }
}

/// A LabelSelector in field `name` of `object`. An absent one is fine.
pub fn label_selector(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(of) = object.get(name) {
        selector(of, &path.child(name), errors);
    }
}

/// A LabelSelector at `path`.
pub fn selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    labels(selector, "matchLabels", path, errors);
    for (i, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = list(requirement, "values");
        match text(requirement, "operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    errors.required(
                        &path.child("values"),
                        "must be specified when `operator` is 'In' or 'NotIn'",
                    );
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    errors.forbidden(
                        &path.child("values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        label_name(text(requirement, "key"), &path.child("key"), errors);
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            let messages = validation::label_value(value);
            if !messages.is_empty() {
                errors.check_at(&path.child("values").index(j), value, messages);
            }
        }
    }
}

/// Whether a LabelSelector has no requirements.
pub fn selector_is_empty(selector: &Value) -> bool {
    entries(selector, "matchLabels").next().is_none() && list(selector, "matchExpressions").is_empty()
}
