//! The rules of a claim's spec (KEP-4381, KEP-4816, KEP-5075).

use super::lists::{limited, unique};
use super::{names, selectors};
use crate::validation::Errors;
use crate::value::{field, has, int, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// How many requests, and how many constraints and configurations of each kind, a claim can have.
pub const MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const REFERENCE: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// A claim's spec at `path`.
pub fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (devices, path) = (field(spec, "devices"), path.child("devices"));
    let requests = list(devices, "requests");
    if !requests.is_empty() {
        let path = path.child("requests");
        limited(requests, MAX, &path, errors, request);
        unique(requests, &path, errors, |request| text(request, "name"));
    }
    let constraints = list(devices, "constraints");
    if !constraints.is_empty() {
        limited(constraints, MAX, &path.child("constraints"), errors, |constraint, path, errors| {
            references(constraint, devices, path, errors);
            attribute(constraint, path, errors);
        });
    }
    let config = list(devices, "config");
    if !config.is_empty() {
        limited(config, MAX, &path.child("config"), errors, |config, path, errors| {
            references(config, devices, path, errors);
            selectors::configuration(config, false, path, errors);
        });
    }
}

fn request(request: &Value, path: &Path, errors: &mut ErrorList) {
    names::label(request, "name", path, errors);
    let alternatives = list(request, "firstAvailable");
    match (has(request, "exactly"), alternatives.is_empty()) {
        (false, true) => errors.required(path, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, false) => errors.invalid(
            path,
            "null",
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        ),
        (true, true) => asked(field(request, "exactly"), &path.child("exactly"), errors),
        (false, false) => {
            let path = path.child("firstAvailable");
            limited(alternatives, ALTERNATIVES_MAX, &path, errors, |alternative, path, errors| {
                names::label(alternative, "name", path, errors);
                asked(alternative, path, errors);
            });
            unique(alternatives, &path, errors, |alternative| text(alternative, "name"));
        }
    }
}

/// What is asked for, by a request or by one of its alternatives.
fn asked(asked: &Value, path: &Path, errors: &mut ErrorList) {
    names::class(asked, path, errors);
    selectors::selectors(asked, path, errors);
    let count = int(asked, "count").unwrap_or(0);
    match text(asked, "allocationMode") {
        "All" if count != 0 => {
            errors.invalid(&path.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => {
            errors.invalid(&path.child("count"), count, "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        other => errors.not_supported(&path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    selectors::tolerations(asked, path, errors);
}

fn attribute(constraint: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["matchAttribute", "distinctAttribute"] {
        if has(constraint, name) {
            return names::fully_qualified(text(constraint, name), &path.child(name), errors);
        }
    }
    errors.required(
        path,
        "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
    );
}

/// The `requests` of an object: each once, each a request of the claim.
pub fn references(object: &Value, devices: &Value, path: &Path, errors: &mut ErrorList) {
    let requests = list(object, "requests");
    if requests.is_empty() {
        return;
    }
    let path = path.child("requests");
    limited(requests, MAX, &path, errors, |name, path, errors| {
        reference(name.as_str().unwrap_or_default(), devices, path, errors);
    });
    unique(requests, &path, errors, Value::as_str);
}

/// The name of a request, or of one of its alternatives after a slash.
pub fn reference(name: &str, devices: &Value, path: &Path, errors: &mut ErrorList) {
    let (request, alternative) = name.split_once('/').map_or((name, None), |(r, a)| (r, Some(a)));
    if alternative.is_some_and(|alternative| alternative.contains('/')) {
        return errors.invalid(path, name, REFERENCE);
    }
    for part in [Some(request), alternative].into_iter().flatten() {
        errors.check_at(path, part, forms::dns1123_label(part));
    }
    let known = list(devices, "requests").iter().any(|known| {
        text(known, "name") == request
            && alternative.is_none_or(|alternative| {
                list(known, "firstAvailable").iter().any(|known| text(known, "name") == alternative)
            })
    });
    if !known {
        errors.invalid(path, name, REFERENCE);
    }
}
