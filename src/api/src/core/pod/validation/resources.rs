//! Requests and limits.

use super::known::CONTAINER_RESOURCES;
use crate::core::pod::resources::{aggregate, is_pod_level};
use crate::validation::{Errors, quantity, quantity_text};
use crate::value::{entries, field, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::quantity::Quantity;
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::BTreeSet;

/// Resources without a domain that there are anywhere: of containers, of nodes, in quotas.
const STANDARD: [&str; 20] = [
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

/// Objects that quotas count, of which there are whole numbers only.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// The name of any resource: with a domain, or one of the standard ones. Answers whether it is right.
pub fn any_resource_name(name: &str, path: impl Fn() -> Path, errors: &mut ErrorList) -> bool {
    let messages = forms::qualified_name(name);
    if !messages.is_empty() {
        errors.check_at(&path(), name, messages);
        return false;
    }
    if !name.contains('/') && !is_standard(name) {
        errors.invalid(&path(), name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

/// Whether a resource without a domain is a known one.
pub fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// The name of a resource that a container can ask for.
pub fn resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    container_resource_name(name, &|| path.clone(), errors);
}

/// The same, where the path is only told if something is wrong.
pub fn container_resource_name(name: &str, path: &dyn Fn() -> Path, errors: &mut ErrorList) {
    if CONTAINER_RESOURCES.contains(&name) {
        return;
    }
    any_resource_name(name, path, errors);
    if !name.contains('/') {
        if !name.starts_with("hugepages-") {
            errors.invalid(&path(), name, "must be a standard resource for containers");
        }
    } else if !is_native(name)
        && (name.starts_with("requests.") || !forms::qualified_name(&format!("requests.{name}")).is_empty())
    {
        errors.invalid(&path(), name, "doesn't follow extended resource name standard");
    }
}

/// Whether a resource is Kubernetes' own, rather than an extended one.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is one of those that plugins and drivers bring.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && forms::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether a node may promise more of a resource than it has.
pub fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// The amount of a resource: not negative, and whole where it is counted.
pub fn amount(name: &str, value: &Value, path: impl Fn() -> Path, errors: &mut ErrorList) {
    let Some(amount) = quantity(value) else { return };
    if amount.sign() < 0 {
        errors.invalid(&path(), quantity_text(value).as_ref(), "must be greater than or equal to 0");
    }
    let whole = COUNTED.contains(&name) || is_extended(name);
    if whole && amount.milli_value() % 1000 != 0 {
        errors.invalid(&path(), quantity_text(value).as_ref(), "must be an integer");
    }
}

/// Huge pages come in whole pages.
fn huge_pages(name: &str, value: &Value, path: impl Fn() -> Path, errors: &mut ErrorList) {
    let Some(size) = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok()) else {
        return;
    };
    let Some(amount) = quantity(value) else { return };
    let whole = size.value() > 0 && amount.value() % size.value() == 0;
    if !whole {
        let shown = quantity_text(value);
        let detail = format!("{shown} is not positive integer multiple of {name}");
        errors.invalid(&path(), shown.as_ref(), detail);
    }
}

/// `resources` of a container. `claims` are the pod's resource claims, where there can be such.
pub fn resource_requirements(
    resources: &Value,
    path: &Path,
    claims: Option<&[Value]>,
    errors: &mut ErrorList,
) {
    requirements(resources, container_resource_name, path, errors);
    if let Some(known) = claims {
        resource_claims(resources, known, path, errors);
    }
}

/// Limits and requests, whose names have the rule `name_rule`.
fn requirements(
    resources: &Value,
    name_rule: fn(&str, &dyn Fn() -> Path, &mut ErrorList),
    path: &Path,
    errors: &mut ErrorList,
) {
    let limits = field(resources, "limits");
    let (mut compute, mut huge) = (false, false);
    for lists in ["limits", "requests"] {
        for (name, value) in entries(resources, lists) {
            let own = || path.child(lists).key(name);
            name_rule(name, &own, errors);
            amount(name, value, own, errors);
            if lists == "requests" {
                against_limit(name, value, limits.get(name), path, errors);
            }
            huge_pages(name, value, own, errors);
            compute |= matches!(name, "cpu" | "memory");
            huge |= name.starts_with("hugepages-");
        }
    }
    if huge && !compute {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn against_limit(name: &str, value: &Value, limit: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    let Some(asked) = quantity(value) else { return };
    match limit.and_then(quantity) {
        Some(limit) => {
            let words = if asked != limit && !is_overcommit_allowed(name) {
                "equal to"
            } else if asked > limit {
                "less than or equal to"
            } else {
                return;
            };
            errors.invalid(
                &path.child("requests"),
                quantity_text(value).as_ref(),
                format!("must be {words} {name} limit of {limit}"),
            );
        }
        None if !is_overcommit_allowed(name) => {
            errors.required(&path.child("limits"), "Limit must be set for non overcommitable resources");
        }
        None => {}
    }
}

/// `claims` of a container's resources: of the pod's, each request once.
fn resource_claims(resources: &Value, known: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, claim) in list(resources, "claims").iter().enumerate() {
        let path = path.child("claims").index(i);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.duplicate(&path, name);
        } else {
            if !request.is_empty() {
                errors.check(&path, "request", request, forms::dns1123_label(request));
            }
            if seen.contains(&(name, request)) {
                errors.duplicate(&path, format!("{name}/{request}"));
            } else if request.is_empty() {
                for _ in seen.iter().filter(|(other, _)| *other == name) {
                    errors.duplicate(&path, name);
                }
            }
            seen.push((name, request));
        }
        let names: BTreeSet<&str> = known.iter().map(|k| text(k, "name")).filter(|n| !n.is_empty()).collect();
        if !names.contains(name) {
            let detail = if names.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", names.into_iter().collect::<Vec<_>>().join(", "))
            };
            let mut error = FieldError::not_found(&path, name);
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{detail}");
            errors.push(error);
        }
    }
}

fn pod_level_name(name: &str, path: &dyn Fn() -> Path, errors: &mut ErrorList) {
    if !is_pod_level(name) && any_resource_name(name, path, errors) {
        errors.not_supported(&path(), name, &["cpu", "hugepages-", "memory"]);
    }
}

/// `spec.resources` of a pod (KEP-2837).
pub fn pod_level(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(resources) = spec.get("resources") else { return };
    let path = path.child("resources");
    if text(field(spec, "os"), "name") == "windows" {
        errors.forbidden(&path, "may not be set for a windows pod");
        return;
    }
    if resources.get("claims").is_some() {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(resources, pod_level_name, &path, errors);
    for (lists, words) in [("requests", "requests"), ("limits", "limits")] {
        for (name, sum) in aggregate(spec, lists) {
            // Only of huge pages the containers together may have no more than the pod.
            if lists == "limits" && !name.starts_with("hugepages-") {
                continue;
            }
            if let Some(whole) = field(resources, lists).get(&name).and_then(quantity)
                && sum > whole
            {
                errors.invalid(
                    &path.child(lists).key(&name),
                    whole.to_string(),
                    format!("must be greater than or equal to aggregate container {words} of {sum}"),
                );
            }
        }
    }
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (name, own) in entries(field(container, "resources"), "limits") {
            let whole = field(resources, "limits").get(name).and_then(quantity);
            if let (Some(own), Some(whole)) = (quantity(own), whole)
                && own > whole
            {
                errors.invalid(
                    &path.child("containers").index(i).key(name).child("limits"),
                    own.to_string(),
                    format!("must be less than or equal to pod limits of {whole}"),
                );
            }
        }
    }
}
