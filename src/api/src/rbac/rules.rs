//! Rules and subjects, shared by the four kinds (RBAC documentation, "Referring to resources").

use crate::validation::Errors;
use crate::value::{self, list, list_mut, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation;
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What is wrong with the rules of a role. Only cluster roles may name URLs.
pub fn validate_rules(role: &Value, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, rule) in list(role, "rules").iter().enumerate() {
        let path = Path::new("rules").index(index);
        if list(rule, "verbs").is_empty() {
            errors.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        if !list(rule, "nonResourceURLs").is_empty() {
            let others = ["apiGroups", "resources", "resourceNames"];
            if namespaced {
                errors.invalid(
                    &path.child("nonResourceURLs"),
                    value::field(rule, "nonResourceURLs").clone(),
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if others.iter().any(|name| !list(rule, name).is_empty()) {
                errors.invalid(
                    &path.child("nonResourceURLs"),
                    value::field(rule, "nonResourceURLs").clone(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if list(rule, "resources").is_empty() {
            errors.required(&path.child("resources"), "resource rules must supply at least one resource");
        }
    }
    errors
}

/// What is wrong with how a cluster role is put together from others.
pub fn validate_aggregation(role: &Value, errors: &mut ErrorList) {
    if !value::has(role, "aggregationRule") {
        return;
    }
    let selectors = list(value::field(role, "aggregationRule"), "clusterRoleSelectors");
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    if selectors.is_empty() {
        errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (index, selector) in selectors.iter().enumerate() {
        crate::validation::selector(selector, &path.index(index), errors);
    }
}

/// Fills in the groups of a binding's role and subjects.
pub fn default_binding(binding: &mut Value) {
    if let Some(reference) = value::object_mut(binding, "roleRef") {
        value::default_text(reference, "apiGroup", GROUP);
    }
    for subject in list_mut(binding, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            value::default_text(subject, "apiGroup", GROUP);
        }
    }
}

/// What is wrong with a binding.
pub fn validate_binding(binding: &Value, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let reference = value::field(binding, "roleRef");
    let path = Path::new("roleRef");
    if text(reference, "apiGroup") != GROUP {
        errors.not_supported(&path.child("apiGroup"), text(reference, "apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(reference, "kind")) {
        errors.not_supported(&path.child("kind"), text(reference, "kind"), kinds);
    }
    let name = text(reference, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.check(&path, "name", name, validation::path_segment(name));
    }
    for (index, subject) in list(binding, "subjects").iter().enumerate() {
        validate_subject(subject, &Path::new("subjects").index(index), namespaced, &mut errors);
    }
    errors
}

fn validate_subject(subject: &Value, path: &Path, namespaced: bool, errors: &mut ErrorList) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.check(path, "name", name, validation::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

/// What is wrong with an update of a binding: the role it binds cannot change.
pub fn validate_binding_update(binding: &Value, old: &Value, namespaced: bool) -> ErrorList {
    let mut errors = validate_binding(binding, namespaced);
    let (new, old) = (value::field(binding, "roleRef"), value::field(old, "roleRef"));
    if new != old {
        errors.invalid(&Path::new("roleRef"), new.clone(), "cannot change roleRef");
    }
    errors
}

/// The role of a binding as its table shows it.
pub fn role_cell(binding: &Value) -> Value {
    let reference = value::field(binding, "roleRef");
    Value::from(format!("{}/{}", text(reference, "kind"), text(reference, "name")))
}

/// The subjects of one kind as a binding's wide table shows them.
pub fn subjects_cell(binding: &Value, kind: &str) -> Value {
    let names: Vec<String> = list(binding, "subjects")
        .iter()
        .filter(|subject| text(subject, "kind") == kind)
        .map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, "namespace"), text(subject, "name")),
            _ => text(subject, "name").to_owned(),
        })
        .collect();
    Value::from(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_role_is_for_resources_or_for_urls() {
        let role = json!({"rules": [
            {"verbs": ["get"], "nonResourceURLs": ["/a"], "resources": ["pods"]}, {"apiGroups": [""]}]});
        assert_eq!(
            texts(&validate_rules(&role, true)),
            [
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: namespaced rules cannot apply to non-resource URLs",
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs",
                "rules[1].verbs: Required value: verbs must contain at least one value",
                "rules[1].resources: Required value: resource rules must supply at least one resource",
            ]
        );
    }

    #[test]
    fn roles_are_put_together_by_selectors() {
        let told = |rule: Value| {
            let mut errors = ErrorList::new();
            validate_aggregation(&json!({"aggregationRule": rule}), &mut errors);
            texts(&errors)
        };
        assert!(told(json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]})).is_empty());
        assert_eq!(
            told(json!({})),
            [
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
            ]
        );
        assert_eq!(
            told(json!({"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]})),
            [
                "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            ]
        );
    }
}
