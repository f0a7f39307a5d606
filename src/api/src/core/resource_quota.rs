//! ResourceQuota: <https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/resource-quota-v1/>.

use crate::columns::{age, name};
use crate::kind::Kind;
use crate::validation::{Errors, immutable, quantity, quantity_text};
use crate::value::{entries, field, list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

/// Resources without a domain that a quota can limit.
const RESOURCES: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
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
        let mut errors = self.validate(object);
        immutable(field(object, "spec"), field(old, "spec"), "scopes", &Path::new("spec"), &mut errors);
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
        let own = path.child(map).key(name);
        let messages = forms::qualified_name(name);
        if messages.is_empty()
            && !name.contains('/')
            && !RESOURCES.contains(&name)
            && !name.starts_with("hugepages-")
            && !name.starts_with("requests.hugepages-")
        {
            errors.invalid(&own, name, "must be a standard resource type or fully qualified");
            errors.invalid(&own, name, "must be a standard resource for quota");
        }
        errors.check_at(&own, name, messages);
        let Some(amount) = quantity(value) else { continue };
        if amount.sign() < 0 {
            errors.invalid(&own, quantity_text(value).as_ref(), "must be greater than or equal to 0");
        }
        let counts = name.starts_with("count/")
            || matches!(
                name,
                "configmaps"
                    | "persistentvolumeclaims"
                    | "pods"
                    | "replicationcontrollers"
                    | "resourcequotas"
                    | "secrets"
                    | "services"
                    | "services.loadbalancers"
                    | "services.nodeports"
            );
        if counts && amount.milli_value() % 1000 != 0 {
            errors.invalid(&own, quantity_text(value).as_ref(), "must be an integer");
        }
    }
}

/// Whether all standard resources that a quota limits can be told apart by a scope.
fn fits(scope: &str, spec: &Value) -> bool {
    let limited = |name: &str| match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => matches!(
            name,
            "pods" | "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"
        ),
    };
    entries(spec, "hard").all(|(name, _)| !RESOURCES.contains(&name) || limited(name))
}

fn scopes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    const MISAPPLIED: &str = "unsupported scope applied to resource";
    let own = path.child("scopes");
    for scope in texts(spec, "scopes") {
        if !SCOPES.contains(&scope) {
            errors.invalid(&own, scope, "unsupported scope");
        } else if !fits(scope, spec) {
            errors.invalid(&own, list(spec, "scopes").to_vec(), MISAPPLIED);
        }
    }
    for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if texts(spec, "scopes").any(|s| s == a) && texts(spec, "scopes").any(|s| s == b) {
            errors.invalid(&own, list(spec, "scopes").to_vec(), "conflicting scopes");
        }
    }
    for (i, requirement) in list(field(spec, "scopeSelector"), "matchExpressions").iter().enumerate() {
        let all = path.child("scopeSelector").child("matchExpressions");
        let path = all.index(i);
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        if SCOPES.contains(&scope) && !fits(scope, spec) {
            errors.invalid(&all, field(spec, "scopeSelector").clone(), MISAPPLIED);
        }
        let values = list(requirement, "values");
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        let only_exists = !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if only_exists && operator != "Exists" {
            errors.invalid(
                &path.child("operator"),
                operator,
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &path.child("values"),
                values.to_vec(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
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
}
