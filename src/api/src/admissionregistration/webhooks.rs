//! What both kinds of webhook configurations share.

use super::expressions::{Declared, environment};
use super::rules;
use crate::validation::{self, Errors};
use crate::value::{self, list, list_mut, text, texts};
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

/// What is wrong with the webhooks of a new configuration.
pub fn validate(configuration: &Value) -> ErrorList {
    validate_with(configuration, &Strict::ALL)
}

/// What is wrong with the webhooks of a changed configuration.
pub fn validate_update(configuration: &Value, old: &Value) -> ErrorList {
    validate_with(configuration, &Strict::since(configuration, old))
}

/// Rules that hold only where the stored configuration keeps them: what was let in once is not to become an obstacle
/// to every other change.
struct Strict {
    conditions: bool,
    side_effects: bool,
    versions: bool,
    names: bool,
    selectors: bool,
}

impl Strict {
    const ALL: Self =
        Self { conditions: true, side_effects: true, versions: true, names: true, selectors: true };

    fn since(configuration: &Value, old: &Value) -> Self {
        let conditions = |configuration: &Value| -> Vec<Value> {
            let webhooks = list(configuration, "webhooks").iter();
            webhooks.map(|webhook| value::field(webhook, "matchConditions").clone()).collect()
        };
        let webhooks = list(old, "webhooks");
        let names: BTreeSet<&str> = webhooks.iter().map(|webhook| text(webhook, "name")).collect();
        let mut wrong = ErrorList::new();
        for webhook in webhooks {
            validate_selectors(webhook, &Path::default(), &mut wrong);
        }
        let accepted = |webhook: &Value| {
            let mut versions = texts(webhook, "admissionReviewVersions").peekable();
            versions.peek().is_none() || versions.any(is_accepted)
        };
        Self {
            conditions: conditions(configuration) != conditions(old),
            side_effects: webhooks.iter().all(|w| matches!(text(w, "sideEffects"), "None" | "NoneOnDryRun")),
            versions: webhooks.iter().all(accepted),
            names: names.len() == webhooks.len(),
            selectors: wrong.is_empty(),
        }
    }
}

fn is_accepted(version: &str) -> bool {
    matches!(version, "v1" | "v1beta1")
}

fn validate_with(configuration: &Value, strict: &Strict) -> ErrorList {
    let (mut errors, mut names) = (ErrorList::new(), BTreeSet::new());
    for (index, webhook) in list(configuration, "webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        let name = text(webhook, "name");
        validate_name(webhook, &path, &mut errors);
        validate_one(webhook, strict, &path, &mut errors);
        if strict.conditions && value::has(webhook, "matchConditions") {
            let environment = environment(Declared { params: false, authorizer: true }).build();
            rules::match_conditions(webhook, &environment, &path, &mut errors);
        }
        validate_versions(webhook, strict, &path.child("admissionReviewVersions"), &mut errors);
        if strict.names && !name.is_empty() && !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
    errors
}

/// A domain name of three labels or more.
fn validate_name(webhook: &Value, path: &Path, errors: &mut ErrorList) {
    if !validation::required_text(webhook, "name", path, errors) {
        return;
    }
    let name = text(webhook, "name");
    let wrong = apimachinery::validation::dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.invalid(&path.child("name"), name, wrong.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(
            &path.child("name"),
            name,
            "should be a domain with at least three segments separated by dots",
        );
    }
}

fn validate_versions(webhook: &Value, strict: &Strict, path: &Path, errors: &mut ErrorList) {
    let versions: Vec<&str> = texts(webhook, "admissionReviewVersions").collect();
    if versions.is_empty() {
        errors.required(path, "must specify one of v1, v1beta1");
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            errors.invalid(&path.index(index), *version, "duplicate version");
            continue;
        }
        errors.check_at(&path.index(index), version, apimachinery::validation::dns1035_label(version));
    }
    if strict.versions && !versions.iter().any(|version| is_accepted(version)) {
        errors.invalid(path, json!(versions), "must include at least one of v1, v1beta1");
    }
}

fn validate_one(webhook: &Value, strict: &Strict, path: &Path, errors: &mut ErrorList) {
    for (index, rule) in list(webhook, "rules").iter().enumerate() {
        rules::validate(rule, &path.child("rules").index(index), errors);
    }
    validation::one_of(webhook, "failurePolicy", path, &["Fail", "Ignore"], errors);
    validation::one_of(webhook, "matchPolicy", path, &["Equivalent", "Exact"], errors);
    let effects: &[&str] = if strict.side_effects {
        &["None", "NoneOnDryRun"]
    } else {
        &["None", "NoneOnDryRun", "Some", "Unknown"]
    };
    match text(webhook, "sideEffects") {
        "" => {
            let detail = format!("must specify one of {}", effects.join(", "));
            errors.required(&path.child("sideEffects"), &detail);
        }
        given if effects.contains(&given) => {}
        other => errors.not_supported(&path.child("sideEffects"), other, effects),
    }
    if let Some(seconds) = value::int(webhook, "timeoutSeconds")
        && !(1..=MAX_TIMEOUT_SECONDS).contains(&seconds)
    {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, detail);
    }
    if strict.selectors {
        validate_selectors(webhook, path, errors);
    }
    validation::one_of(webhook, "reinvocationPolicy", path, &["IfNeeded", "Never"], errors);
    let client = value::field(webhook, "clientConfig");
    let path = path.child("clientConfig");
    match (value::has(client, "url"), value::has(client, "service")) {
        (true, false) => validate_url(text(client, "url"), &path.child("url"), errors),
        (false, true) => validate_service(value::field(client, "service"), &path.child("service"), errors),
        _ => errors.required(&path, "exactly one of url or service is required"),
    }
}

fn validate_selectors(webhook: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["namespaceSelector", "objectSelector"] {
        validation::label_selector(webhook, name, path, errors);
    }
}

/// What is wrong with the URL of a webhook.
fn validate_url(url: &str, path: &Path, errors: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or("") };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be provided{FORM}"));
    }
    if !user.is_empty() {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

/// What is wrong with a reference to the Service of a webhook.
fn validate_service(service: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, detail) in
        [("name", "service name is required"), ("namespace", "service namespace is required")]
    {
        if text(service, name).is_empty() {
            errors.required(&path.child(name), detail);
        }
    }
    let port = value::int(service, "port").unwrap_or(0);
    let wrong = apimachinery::validation::port_number(port);
    if !wrong.is_empty() {
        errors.invalid(&path.child("port"), port, format!("port is not valid: {}", wrong.join(", ")));
    }
    let (at, target) = (path.child("path"), text(service, "path"));
    match target {
        "" | "/" => return,
        "//" => return errors.invalid(&at, target, "segment[0] may not be empty"),
        _ => {}
    }
    if !target.starts_with('/') {
        errors.invalid(&at, target, "must start with a '/'");
    }
    let inner = target.strip_prefix('/').unwrap_or(target);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (index, step) in inner.split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(&at, target, format!("segment[{index}] may not be empty"));
            continue;
        }
        for failure in apimachinery::validation::dns1123_subdomain(step) {
            errors.invalid(&at, target, format!("segment[{index}]: {failure}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(more: &Value) -> Vec<String> {
        let mut webhook = json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "n", "port": 443}}});
        let Value::Object(more) = more.clone() else { panic!("an object") };
        webhook.as_object_mut().unwrap().extend(more);
        let configuration = json!({"webhooks": [webhook]});
        validate(&configuration).iter().map(|e| format!("{e}").replace("webhooks[0].", "")).collect()
    }

    #[test]
    fn a_client_is_a_url_or_a_service() {
        assert!(wrong(&json!({})).is_empty());
        assert_eq!(
            wrong(&json!({"clientConfig": {"url": "http://u@h/p?q"}})),
            [
                "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
                "clientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL"
            ]
        );
        assert_eq!(
            wrong(
                &json!({"clientConfig": {"service": {"name": "s", "namespace": "n", "port": 0, "path": "/a//b"}}})
            ),
            [
                "clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "clientConfig.service.path: Invalid value: \"/a//b\": segment[1] may not be empty"
            ]
        );
    }

    #[test]
    fn conditions_are_compiled_unless_they_were_there() {
        let broken = json!({"matchConditions": [{"name": "a", "expression": "object.x =="}, {"name": "a", "expression": "true"}]});
        let found = wrong(&broken);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with(
            "matchConditions[0].expression: Invalid value: \"object.x ==\": compilation failed"
        ));
        assert_eq!(found[1], "matchConditions[1].name: Duplicate value: \"a\"");
        let configuration = json!({"webhooks": [broken]});
        let kept = validate_update(&configuration, &configuration);
        assert!(kept.iter().all(|e| !e.to_string().contains("matchConditions")));
    }

    #[test]
    fn what_was_let_in_stays() {
        let webhook = json!({"name": "a.b.c", "sideEffects": "Some", "admissionReviewVersions": ["v2"],
            "objectSelector": {"matchLabels": {"a": "-"}},
            "clientConfig": {"url": "https://h"}});
        let old = json!({"webhooks": [webhook, webhook]});
        assert!(validate_update(&old, &old).is_empty());
        assert_eq!(validate(&old).len(), 7, "{:?}", validate(&old));
        assert_eq!(
            wrong(&json!({"name": "a_b", "sideEffects": null}))[1],
            "sideEffects: Required value: must specify one of None, NoneOnDryRun"
        );
        assert_eq!(
            wrong(&json!({"name": "a.b"})),
            [
                "name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"
            ]
        );
    }

    #[test]
    fn wildcards_stand_alone() {
        let rule = json!({"operations": ["*", "CREATE"], "apiGroups": ["*"], "apiVersions": ["v1"],
            "resources": ["pods/*", "pods/status", "*", "nodes"]});
        assert_eq!(
            wrong(&json!({"rules": [rule]})),
            [
                "rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
                "rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
                "rules[0].resources: Invalid value: [\"pods/*\",\"pods/status\",\"*\",\"nodes\"]: if '*' is present, must not specify other resources without subresources"
            ]
        );
    }
}
