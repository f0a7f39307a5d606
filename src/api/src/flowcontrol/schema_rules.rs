//! Which requests a flow schema is for: subjects, resources, paths.

use crate::validation::{Errors, required_text};
use crate::value::{field, has, is_true, list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Kinds of subjects, and the field that each has to itself.
const SUBJECTS: [(&str, &str); 3] =
    [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

/// What is wrong with the rules of a spec.
pub fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        let path = path.child("rules").index(i);
        if list(rule, "subjects").is_empty() {
            errors.required(&path.child("subjects"), "subjects must contain at least one value");
        }
        for (j, subject) in list(rule, "subjects").iter().enumerate() {
            validate_subject(subject, &path.child("subjects").index(j), errors);
        }
        if list(rule, "resourceRules").is_empty() && list(rule, "nonResourceRules").is_empty() {
            errors.required(&path, "at least one of resourceRules and nonResourceRules has to be non-empty");
        }
        for (j, rule) in list(rule, "resourceRules").iter().enumerate() {
            resource_rule(rule, &path.child("resourceRules").index(j), errors);
        }
        for (j, rule) in list(rule, "nonResourceRules").iter().enumerate() {
            path_rule(rule, &path.child("nonResourceRules").index(j), errors);
        }
    }
}

fn validate_subject(subject: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = text(subject, "kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind) else {
        return errors.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    if has(subject, own) {
        subject_name(kind, field(subject, own), &path.child(own), errors);
    } else {
        errors.required(&path.child(own), &format!("{own} is required when subject kind is '{kind}'"));
    }
    for (other_kind, other) in SUBJECTS.iter().filter(|(name, other)| *name != kind && has(subject, other)) {
        errors.forbidden(
            &path.child(other),
            format!("{other} is forbidden when subject kind is not '{other_kind}'"),
        );
    }
}

fn subject_name(kind: &str, subject: &Value, path: &Path, errors: &mut ErrorList) {
    let there = required_text(subject, "name", path, errors);
    if kind != "ServiceAccount" {
        return;
    }
    let (name, namespace) = (text(subject, "name"), text(subject, "namespace"));
    if there && name != "*" {
        errors.check(path, "name", name, forms::dns1123_subdomain(name));
    }
    if namespace.is_empty() {
        errors.required(&path.child("namespace"), "must specify namespace for service account");
    } else {
        errors.check(path, "namespace", namespace, forms::dns1123_label(namespace));
    }
}

fn resource_rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    verbs(rule, path, errors);
    some_or_all(
        rule,
        "apiGroups",
        "resource rules must supply at least one api group",
        "api groups",
        path,
        errors,
    );
    some_or_all(
        rule,
        "resources",
        "resource rules must supply at least one resource",
        "resources",
        path,
        errors,
    );
    if list(rule, "namespaces").is_empty() && is_true(rule, "clusterScope") {
        return;
    }
    let none = "resource rules that are not cluster scoped must supply at least one namespace";
    if some_or_all(rule, "namespaces", none, "namespaces", path, errors) {
        for (i, namespace) in texts(rule, "namespaces").enumerate() {
            for message in forms::dns1123_label(namespace) {
                errors.invalid(
                    &path.child("namespaces").index(i),
                    namespace,
                    format!("each member of this list must be '*' or a DNS-1123 label; {message}"),
                );
            }
        }
    }
}

fn path_rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    verbs(rule, path, errors);
    let none = "nonResourceURLs must contain at least one value";
    if some_or_all(rule, "nonResourceURLs", none, "non-resource URLs", path, errors) {
        for (i, url) in texts(rule, "nonResourceURLs").enumerate() {
            if let Some(problem) = url_problem(url) {
                errors.invalid(&path.child("nonResourceURLs").index(i), url, problem);
            }
        }
    }
}

fn verbs(rule: &Value, path: &Path, errors: &mut ErrorList) {
    if some_or_all(rule, "verbs", "verbs must contain at least one value", "verbs", path, errors)
        && texts(rule, "verbs").any(|verb| !VERBS.contains(&verb))
    {
        errors.not_supported(&path.child("verbs"), list(rule, "verbs").to_vec(), &VERBS);
    }
}

/// A list that names some, or all with a star that stands alone. Answers whether it names some.
fn some_or_all(
    rule: &Value,
    name: &str,
    none: &str,
    words: &str,
    path: &Path,
    errors: &mut ErrorList,
) -> bool {
    let all = list(rule, name);
    if all.is_empty() {
        errors.required(&path.child(name), none);
        return false;
    }
    let starred = texts(rule, name).any(|item| item == "*");
    if starred && all.len() > 1 {
        errors.invalid(
            &path.child(name),
            all.to_vec(),
            format!("if '*' is present, must not specify other {words}"),
        );
    }
    !starred
}

/// What is wrong with a path that may end in `/*`.
fn url_problem(url: &str) -> Option<&'static str> {
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if url.strip_suffix("/*").unwrap_or(url).contains('*') => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(rule: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate(&json!({ "rules": [rule] }), &Path::new("spec"), &mut errors);
        errors.iter().map(|e| e.to_string().replacen("spec.rules[0]", "", 1)).collect()
    }

    #[test]
    fn a_subject_is_of_one_kind() {
        let any = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
        let with = |subject: Value| told(&json!({"subjects": [subject], "nonResourceRules": [any]}));
        assert_eq!(with(json!({"kind": "User", "user": {"name": "a"}})), Vec::<String>::new());
        assert_eq!(
            with(json!({"kind": "User", "group": {"name": "a"}})),
            [
                ".subjects[0].user: Required value: user is required when subject kind is 'User'",
                ".subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ]
        );
        assert_eq!(
            with(json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*"}})),
            [
                ".subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account"
            ]
        );
        assert_eq!(
            with(json!({"kind": "Robot"})),
            [
                ".subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\""
            ]
        );
        assert_eq!(
            told(&json!({})),
            [
                ".subjects: Required value: subjects must contain at least one value",
                ": Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ]
        );
    }

    #[test]
    fn a_star_stands_alone() {
        let group = json!({"kind": "Group", "group": {"name": "a"}});
        let with = |rule: Value| told(&json!({"subjects": [group], "resourceRules": [rule]}));
        assert_eq!(
            with(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "clusterScope": true})),
            Vec::<String>::new()
        );
        assert_eq!(
            with(
                json!({"verbs": ["*", "get"], "apiGroups": ["*", ""], "resources": [], "namespaces": ["A"]})
            )
            .iter()
            .map(|m| m.chars().take(125).collect::<String>())
            .collect::<Vec<_>>(),
            [
                ".resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
                ".resourceRules[0].apiGroups: Invalid value: [\"*\",\"\"]: if '*' is present, must not specify other api groups",
                ".resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                ".resourceRules[0].namespaces[0]: Invalid value: \"A\": each member of this list must be '*' or a DNS-1123 label; a lowercase RF",
            ]
        );
        assert_eq!(
            with(json!({"verbs": ["push"], "apiGroups": ["*"], "resources": ["*"]})),
            [
                ".resourceRules[0].verbs: Unsupported value: [\"push\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
                ".resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            ]
        );
    }

    #[test]
    fn paths_begin_with_a_slash() {
        for (url, problem) in [
            ("/healthz/*", None),
            ("/", None),
            ("", Some("must not be empty")),
            ("healthz", Some("must start with slash")),
            ("/a b", Some("must not contain white-space")),
            ("/a//b", Some("must not contain double slash")),
            ("/a*", Some("wildcard can only do suffix matching")),
            ("/*/*", Some("wildcard can only do suffix matching")),
        ] {
            assert_eq!(url_problem(url), problem, "{url}");
        }
    }
}
