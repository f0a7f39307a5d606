//! What both kinds of webhook configurations share.

use crate::validation::{self, Errors};
use crate::value::{self, list, list_mut, text};
use apimachinery::field::{ErrorList, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Longest time a webhook may take, in seconds.
const MAX_TIMEOUT_SECONDS: i64 = 30;

/// Fills in what a webhook leaves out.
pub fn default(configuration: &mut Value, mutating: bool) {
    for webhook in list_mut(configuration, "webhooks") {
        value::default_text(webhook, "failurePolicy", "Fail");
        value::default_text(webhook, "matchPolicy", "Equivalent");
        value::default(webhook, "namespaceSelector", json!({}));
        value::default(webhook, "objectSelector", json!({}));
        value::default(webhook, "timeoutSeconds", 10);
        if mutating {
            value::default_text(webhook, "reinvocationPolicy", "Never");
        }
        if let Some(service) = value::at_mut(webhook, &["clientConfig", "service"]) {
            value::default(service, "port", 443);
        }
        for rule in list_mut(webhook, "rules") {
            value::default_text(rule, "scope", "*");
        }
    }
}

/// What is wrong with the webhooks.
pub fn validate(configuration: &Value) -> ErrorList {
    let (mut errors, mut names) = (ErrorList::new(), BTreeSet::new());
    for (index, webhook) in list(configuration, "webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        let name = text(webhook, "name");
        if validation::required_text(webhook, "name", &path, &mut errors) {
            errors.check(&path, "name", name, apimachinery::validation::dns1123_subdomain(name));
            if name.split('.').count() < 3 {
                errors.invalid(
                    &path.child("name"),
                    name,
                    "should be a domain with at least three segments separated by dots",
                );
            }
            if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        validate_one(webhook, &path, &mut errors);
    }
    errors
}

fn validate_one(webhook: &Value, path: &Path, errors: &mut ErrorList) {
    if list(webhook, "admissionReviewVersions").is_empty() {
        errors.required(&path.child("admissionReviewVersions"), "must specify one of v1, v1beta1");
    }
    match text(webhook, "sideEffects") {
        "" => errors.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun"),
        "None" | "NoneOnDryRun" => {}
        other => errors.not_supported(&path.child("sideEffects"), other, &["None", "NoneOnDryRun"]),
    }
    validation::one_of(webhook, "failurePolicy", path, &["Ignore", "Fail"], errors);
    validation::one_of(webhook, "matchPolicy", path, &["Exact", "Equivalent"], errors);
    validation::range(webhook, "timeoutSeconds", path, 1, MAX_TIMEOUT_SECONDS, errors);
    for name in ["namespaceSelector", "objectSelector"] {
        validation::label_selector(webhook, name, path, errors);
    }
    let client = value::field(webhook, "clientConfig");
    let (url, service) = (!text(client, "url").is_empty(), value::has(client, "service"));
    let path_client = path.child("clientConfig");
    if url == service {
        errors.required(&path_client, "exactly one of url or service is required");
    } else if url && !text(client, "url").starts_with("https://") {
        errors.invalid(
            &path_client.child("url"),
            text(client, "url"),
            "'https' is the only allowed URL scheme",
        );
    } else if service {
        let service = value::field(client, "service");
        validation::required_text(service, "name", &path_client.child("service"), errors);
        validation::required_text(service, "namespace", &path_client.child("service"), errors);
    }
    for (index, rule) in list(webhook, "rules").iter().enumerate() {
        let path = path.child("rules").index(index);
        for name in ["operations", "apiGroups", "apiVersions", "resources"] {
            if list(rule, name).is_empty() {
                errors.required(&path.child(name), "");
            }
        }
        validation::one_of(rule, "scope", &path, &["Cluster", "Namespaced", "*"], errors);
    }
}
