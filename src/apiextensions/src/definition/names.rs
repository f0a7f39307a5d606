//! The names of what is defined.

use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation::dns1035_label;
use serde_json::Value;

use crate::json::{list, text};

pub(super) fn validate(names: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["plural", "singular"] {
        label(text(names, name), &path.child(name), errors);
    }
    for name in ["kind", "listKind"] {
        let value = text(names, name);
        let wrong = dns1035_label(&value.to_lowercase());
        if !value.is_empty() && !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.push(FieldError::invalid(&path.child(name), value, detail));
        }
    }
    lists(names, "shortNames", path, errors);
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), list_kind, detail));
    }
    lists(names, "categories", path, errors);
}

fn lists(names: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let path = path.child(name);
    for (index, value) in list(names, name).iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        let wrong = dns1035_label(value);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&path.index(index), value, wrong.join(",")));
        }
    }
}

fn label(value: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = dns1035_label(value);
    if !value.is_empty() && !wrong.is_empty() {
        errors.push(FieldError::invalid(path, value, wrong.join(",")));
    }
}
