//! Rules of webhooks and policies: what is wrong with them.

use crate::validation::Errors;
use crate::value::{self, list, text, texts};
use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

/// Operations of webhooks and of validating policies.
pub(super) const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// Operations of mutating policies: nothing is left to change of what is deleted.
pub(super) const MUTABLE_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// What is wrong with a rule (`RuleWithOperations`).
pub(super) fn validate(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let operations = list(rule, "operations");
    alone(rule, "operations", "operations", path, errors);
    for (index, operation) in operations.iter().enumerate() {
        let operation = operation.as_str().unwrap_or("");
        if !OPERATIONS.contains(&operation) {
            errors.not_supported(&path.child("operations").index(index), operation, &OPERATIONS);
        }
    }
    alone(rule, "apiGroups", "API groups", path, errors);
    alone(rule, "apiVersions", "API versions", path, errors);
    for (index, version) in texts(rule, "apiVersions").enumerate() {
        if version.is_empty() {
            errors.required(&path.child("apiVersions").index(index), "");
        }
    }
    resources(rule, &path.child("resources"), errors);
    crate::validation::one_of(rule, "scope", path, &["*", "Cluster", "Namespaced"], errors);
}

/// What is wrong with a rule of a policy (`NamedRuleWithOperations`).
pub(super) fn validate_named(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, name) in texts(rule, "resourceNames").enumerate() {
        let at = path.child("resourceNames").index(index);
        errors.check_at(&at, name, apimachinery::validation::path_segment(name));
        if !seen.insert(name) {
            errors.duplicate(&at, name);
        }
    }
    validate(rule, path, errors);
}

/// A list has something in it, and a wildcard nothing beside it.
fn alone(rule: &Value, name: &str, what: &str, path: &Path, errors: &mut ErrorList) {
    let items = list(rule, name);
    let at = path.child(name);
    if items.is_empty() {
        errors.required(&at, "");
    }
    if items.len() > 1 && items.iter().any(|item| item == "*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.invalid(&at, value::field(rule, name).clone(), detail);
    }
}

fn resources(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let all: Vec<&str> = texts(rule, "resources").collect();
    if all.is_empty() {
        errors.required(path, "");
    }
    let (mut any_subresource_of, mut subresource_of_any) = (BTreeSet::new(), BTreeSet::new());
    for (index, resource) in all.iter().enumerate() {
        let at = path.index(index);
        if resource.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let Some((name, subresource)) = resource.split_once('/') else { continue };
        if any_subresource_of.contains(name) {
            errors.invalid(&at, *resource, format!("if '{name}/*' is present, must not specify {resource}"));
        }
        if subresource_of_any.contains(subresource) {
            let detail = format!("if '*/{subresource}' is present, must not specify {resource}");
            errors.invalid(&at, *resource, detail);
        }
        if subresource == "*" {
            any_subresource_of.insert(name);
        }
        if name == "*" {
            subresource_of_any.insert(subresource);
        }
    }
    let whole = || value::field(rule, "resources").clone();
    if all.len() > 1 && all.contains(&"*/*") {
        errors.invalid(path, whole(), "if '*/*' is present, must not specify other resources");
    }
    // Only the last of those without subresources counts, as it does upstream.
    let plain = all.iter().rfind(|resource| !resource.contains('/') && !resource.is_empty());
    let plain = plain.is_some_and(|resource| *resource != "*");
    if all.contains(&"*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, whole(), detail);
    }
}

/// What is wrong with match conditions. Those that were there before are not compiled again.
pub(super) fn match_conditions(
    holder: &Value,
    environment: &cel::Environment,
    path: &Path,
    errors: &mut ErrorList,
) {
    use super::expressions::{Outcome, compile};
    /// Upstream's bound.
    const MAX: usize = 64;
    let conditions = list(holder, "matchConditions");
    let path = path.child("matchConditions");
    if conditions.len() > MAX {
        errors.push(FieldError::too_many(&path, conditions.len(), MAX));
    }
    let mut names = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate().take(MAX) {
        let at = path.index(index);
        let expression = text(condition, "expression").trim();
        if expression.is_empty() {
            errors.required(&at.child("expression"), "");
        } else if let Err(why) = compile(environment, expression, Outcome::Bool) {
            errors.invalid(&at.child("expression"), expression, why);
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.required(&at.child("name"), "");
            continue;
        }
        errors.check(&at, "name", name, apimachinery::validation::qualified_name(name));
        if !names.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
    }
}
