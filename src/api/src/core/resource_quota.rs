//! ResourceQuota: <https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/resource-quota-v1/>.

use super::pod::validation::{amount, any_resource_name, is_standard};
use crate::columns::{age, name};
use crate::kind::Kind;
use crate::validation::{Errors, only_new, quantity_text};
use crate::value::{at, entries, field, list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// The kind.
#[derive(Debug)]
pub struct ResourceQuota;

impl Kind for ResourceQuota {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "ResourceQuota")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["quota"]
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        amounts(spec, "hard", &path, &mut errors);
        scopes(spec, &path, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = only_new(self.validate(object), || self.validate(old));
        let scopes = |object| -> BTreeSet<&str> { texts(field(object, "spec"), "scopes").collect() };
        if scopes(object) != scopes(old) {
            errors.invalid(
                &Path::new("spec").child("scopes"),
                at(object, &["spec", "scopes"]).clone(),
                "field is immutable",
            );
        }
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for map in ["hard", "used"] {
            amounts(field(object, "status"), map, &Path::new("status"), &mut errors);
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Request").describe("Request represents a minimum amount of cpu/memory that a container may consume."),
            Column::new("Limit").describe("Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = field(object, "status");
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in entries(status, "hard") {
            let used = field(status, "used").get(name).map_or("0".into(), quantity_text);
            let shown = format!("{name}: {used}/{}", quantity_text(hard));
            if name.starts_with("limits.") { &mut limits } else { &mut requests }.push(shown);
        }
        vec![name(object), Value::from(requests.join(", ")), Value::from(limits.join(", ")), age(object, now)]
    }
}

fn amounts(object: &Value, map: &str, path: &Path, errors: &mut ErrorList) {
    for (name, value) in entries(object, map) {
        let own = || path.child(map).key(name);
        any_resource_name(name, own, errors);
        // Storage is asked for by claims, and limited as `requests.storage`.
        if !name.contains('/') && (!is_standard(name) || name == "storage") {
            errors.invalid(&own(), name, "must be a standard resource for quota");
        }
        amount(name, value, own, errors);
    }
}

/// The standard resources of a quota that a scope says nothing about.
fn misapplied<'a>(scope: &'a str, spec: &'a Value) -> impl Iterator<Item = &'a str> {
    let limited = move |name: &str| match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => {
            matches!(
                name,
                "pods"
                    | "cpu"
                    | "memory"
                    | "requests.cpu"
                    | "requests.memory"
                    | "limits.cpu"
                    | "limits.memory"
            )
        }
        _ => true,
    };
    entries(spec, "hard").map(|(name, _)| name).filter(move |name| is_standard(name) && !limited(name))
}

fn scopes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    const MISAPPLIED: &str = "unsupported scope applied to resource";
    let own = path.child("scopes");
    let all = || list(spec, "scopes").to_vec();
    for scope in texts(spec, "scopes") {
        if !SCOPES.contains(&scope) {
            errors.invalid(&own, all(), "unsupported scope");
        }
        for _ in misapplied(scope, spec) {
            errors.invalid(&own, all(), MISAPPLIED);
        }
    }
    conflicts(texts(spec, "scopes").collect(), spec, &own, errors);
    let own = path.child("scopeSelector").child("matchExpressions");
    let requirements = list(field(spec, "scopeSelector"), "matchExpressions");
    // Errors stand at the list, without an index.
    for requirement in requirements {
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&own.child("scopeName"), scope, "unsupported scope");
        }
        for _ in misapplied(scope, spec) {
            errors.invalid(&own, field(spec, "scopeSelector").clone(), MISAPPLIED);
        }
        let values = list(requirement, "values");
        let with_values =
            !SCOPES.contains(&scope) || matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if !with_values && operator != "Exists" {
            errors.invalid(
                &own.child("operator"),
                operator,
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &own.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &own.child("values"),
                values.to_vec(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&own.child("operator"), other, "not a valid selector operator"),
        }
    }
    conflicts(requirements.iter().map(|r| text(r, "scopeName")).collect(), spec, &own, errors);
}

fn conflicts(scopes: Vec<&str>, spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&a) && scopes.contains(&b) {
            errors.invalid(path, field(spec, "scopes").clone(), "conflicting scopes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scopes_go_with_what_they_can_tell_apart() {
        let told = |hard: &str, scope: &str| -> Vec<String> {
            let object = json!({"spec": {"hard": {hard: "1"}, "scopes": [scope]}});
            ResourceQuota.validate(&object).iter().map(ToString::to_string).collect()
        };
        assert!(told("pods", "BestEffort").is_empty());
        assert!(told("requests.cpu", "Terminating").is_empty());
        assert!(told("count/widgets.example.com", "Terminating").is_empty());
        assert!(told("requests.storage", "VolumeAttributesClass").is_empty());
        for (hard, scope) in [("requests.cpu", "BestEffort"), ("secrets", "NotTerminating")] {
            assert!(
                told(hard, scope)[0].ends_with("unsupported scope applied to resource"),
                "{hard} {scope}"
            );
        }
    }

    #[test]
    fn names_amounts_and_selectors_have_rules() {
        let told = |spec: Value| -> Vec<String> {
            ResourceQuota.validate(&json!({"spec": spec})).iter().map(ToString::to_string).collect()
        };
        assert!(told(json!({"hard": {"count/x.y": "1", "requests.example.com/gpu": "1"}})).is_empty());
        assert_eq!(
            told(json!({"hard": {"odd": "1", "storage": "1", "pods": "1500m", "secrets": "-1"}})),
            [
                "spec.hard[odd]: Invalid value: \"odd\": must be a standard resource type or fully qualified",
                "spec.hard[odd]: Invalid value: \"odd\": must be a standard resource for quota",
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
                "spec.hard[secrets]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
            ]
        );
        assert_eq!(
            told(json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In"},
                {"scopeName": "Odd", "operator": "Near"},
            ]}})),
            [
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                "spec.scopeSelector.matchExpressions.scopeName: Invalid value: \"Odd\": unsupported scope",
                "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Near\": not a valid selector operator",
            ]
        );
        let with = |scopes: Value| json!({"spec": {"scopes": scopes}});
        let changed = ResourceQuota.validate_update(&with(json!(["BestEffort"])), &with(json!([])));
        assert_eq!(
            changed[0].to_string(),
            "spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"
        );
    }
}
