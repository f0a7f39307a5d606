//! Requests and limits.

use super::known::CONTAINER_RESOURCES;
use crate::core::pod::resources::{aggregate, is_pod_level};
use crate::validation::{Errors, quantity, quantity_text};
use crate::value::{entries, field, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// The name of a resource that a container can ask for.
pub fn resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let messages = forms::qualified_name(name);
    let bad = !messages.is_empty();
    errors.check_at(path, name, messages);
    if bad || CONTAINER_RESOURCES.contains(&name) || name.starts_with("hugepages-") {
        return;
    }
    match name.split_once('/') {
        None => errors.invalid(path, name, "must be a standard resource for containers"),
        Some((domain, _)) => {
            let native = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
            if !native
                && (name.starts_with("requests.")
                    || !forms::qualified_name(&format!("requests.{name}")).is_empty())
            {
                errors.invalid(path, name, "doesn't follow extended resource name standard");
            }
        }
    }
}

/// Whether amounts of a resource are whole numbers.
fn is_integer(name: &str) -> bool {
    name.starts_with("hugepages-") || (name.contains('/') && !name.contains("kubernetes.io/"))
}

/// Whether a node may promise more of a resource than it has.
fn is_overcommit_allowed(name: &str) -> bool {
    !name.starts_with("hugepages-") && (!name.contains('/') || name.contains("kubernetes.io/"))
}

/// The amount of a resource at `path`.
pub fn amount(name: &str, value: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(amount) = quantity(value) else { return };
    if amount.sign() < 0 {
        errors.invalid(path, quantity_text(value).as_ref(), "must be greater than or equal to 0");
    }
    if is_integer(name) && amount.milli_value() % 1000 != 0 {
        errors.invalid(path, quantity_text(value).as_ref(), "must be an integer");
    }
    if let Some(size) =
        name.strip_prefix("hugepages-").and_then(|s| s.parse::<apimachinery::quantity::Quantity>().ok())
        && size.value() > 0
        && amount.value() % size.value() != 0
    {
        errors.invalid(
            path,
            quantity_text(value).as_ref(),
            format!("must be a multiple of the page size {size}"),
        );
    }
}

/// `resources` of a container, a volume claim template and the like. `claims` are the pod's resource claims, where
/// there can be such.
pub fn resource_requirements(
    resources: &Value,
    path: &Path,
    claims: Option<&[Value]>,
    errors: &mut ErrorList,
) {
    if resources.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let (limits, requests) = (field(resources, "limits"), field(resources, "requests"));
    let (mut compute, mut huge) = (false, false);
    for (lists, amounts) in [("limits", limits), ("requests", requests)] {
        let path = path.child(lists);
        for (name, value) in amounts.as_object().into_iter().flatten() {
            let own = path.key(name);
            resource_name(name, &own, errors);
            amount(name, value, &own, errors);
            compute |= matches!(name.as_str(), "cpu" | "memory");
            huge |= name.starts_with("hugepages-");
        }
    }
    for (name, value) in entries(resources, "requests") {
        against_limit(name, value, limits.get(name), path, errors);
    }
    if huge && !compute {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
    if let Some(known) = claims {
        resource_claims(resources, known, path, errors);
    }
}

fn against_limit(name: &str, value: &Value, limit: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    let Some(asked) = quantity(value) else { return };
    match limit.and_then(quantity) {
        Some(limit) => {
            let shown = quantity_text(value);
            let path = || path.child("requests");
            if asked != limit && !is_overcommit_allowed(name) {
                errors.invalid(&path(), shown.as_ref(), format!("must be equal to {name} limit of {limit}"));
            } else if asked > limit {
                errors.invalid(
                    &path(),
                    shown.as_ref(),
                    format!("must be less than or equal to {name} limit of {limit}"),
                );
            }
        }
        None if !is_overcommit_allowed(name) => {
            errors.required(&path.child("limits"), "Limit must be set for non overcommitable resources");
        }
        None => {}
    }
}

fn resource_claims(resources: &Value, known: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, claim) in list(resources, "claims").iter().enumerate() {
        let path = path.child("claims").index(i);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if seen.contains(&(name, request)) {
            errors.duplicate(&path, claim.clone());
        } else if !known.iter().any(|k| text(k, "name") == name) {
            errors.not_found(&path.child("name"), name);
        }
        seen.push((name, request));
    }
}

/// `spec.resources` of a pod (KEP-2837).
pub fn pod_level(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(resources) = spec.get("resources") else { return };
    let path = path.child("resources");
    if !list(resources, "claims").is_empty() {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    let supported = ["cpu", "hugepages-", "memory"];
    for lists in ["limits", "requests"] {
        let asked = aggregate(spec, lists);
        for (name, value) in entries(resources, lists) {
            let own = path.child(lists).key(name);
            if !is_pod_level(name) {
                errors.not_supported(&own, name, &supported);
                continue;
            }
            amount(name, value, &own, errors);
            let (Some(sum), Some(whole)) = (asked.get(name), quantity(value)) else { continue };
            if lists == "requests" && *sum > whole {
                errors.invalid(
                    &path.child("requests").key(name),
                    quantity_text(value).as_ref(),
                    format!("must be greater than or equal to aggregate container requests of {sum}"),
                );
            }
        }
    }
    let limits = field(resources, "limits");
    for (name, value) in entries(resources, "requests") {
        against_limit(name, value, limits.get(name), &path, errors);
    }
    for (name, value) in entries(resources, "limits") {
        for (i, container) in list(spec, "containers").iter().enumerate() {
            let own = field(field(container, "resources"), "limits").get(name);
            if let (Some(own), Some(whole)) = (own.and_then(quantity), quantity(value))
                && own > whole
            {
                errors.invalid(
                    &Path::new("spec")
                        .child("containers")
                        .index(i)
                        .child("resources")
                        .child("limits")
                        .key(name),
                    own.to_string(),
                    format!("must be less than or equal to pod limits of {whole}"),
                );
            }
        }
    }
}
