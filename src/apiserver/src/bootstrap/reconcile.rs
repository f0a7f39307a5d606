//! Brings the store to where a cluster begins, without taking anything from anybody.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

use super::objects::{ExtensionAuthentication, namespaces, priority_classes, token_tracking};
use super::table::{StaticBinding, StaticRole};
use super::{bindings, cluster_roles, controller_roles, flow_control, namespace_roles};
use crate::authorization::{Rule, covers};
use crate::registry::Registry;

/// Set to `false` on a role or binding to keep this from changing it.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What to do when an object is there already.
#[derive(Clone, Copy)]
enum Policy {
    /// Nothing.
    Keep,
    /// Add labels, annotations, rules and selectors that are missing.
    Role,
    /// Add subjects that are missing; make it anew if it refers to another role.
    Binding,
    /// Set `data` as it should be.
    Data,
    /// Set `spec` as it should be, unless its annotation says to leave it.
    FlowControl,
}

/// Creates what is missing and adds what default roles and bindings lack; idempotent.
///
/// # Guarantees
/// Permissions that somebody added to a default role stay, as does a role or binding whose annotation
/// `rbac.authorization.kubernetes.io/autoupdate` is `false`. Several servers may run this at once.
///
/// # Errors
/// When the store fails. What was written until then stays.
///
/// # Cost
/// All writes are under way at once, so that the store commits them together; when there is nothing to do, a
/// few reads.
pub async fn reconcile(registry: &Registry, extension: &ExtensionAuthentication) -> Result<()> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    const FLOW: &str = "flowcontrol.apiserver.k8s.io";
    let objects = |list: &[StaticRole]| -> Vec<Value> { list.iter().map(StaticRole::object).collect() };
    let (of_cluster, of_namespaces): (Vec<StaticBinding>, Vec<StaticBinding>) =
        bindings::BINDINGS.iter().partition(|binding| binding.namespace.is_empty());
    let bound = |list: &[StaticBinding]| -> Vec<Value> { list.iter().map(StaticBinding::object).collect() };
    let mut roles = objects(cluster_roles::CLUSTER_ROLES);
    roles.extend(controller_roles::roles());
    let mut cluster_bindings = bound(&of_cluster);
    cluster_bindings.extend(controller_roles::bindings());
    let wanted = [
        (GroupResource::new("", "namespaces"), Policy::Keep, namespaces()),
        (GroupResource::new("scheduling.k8s.io", "priorityclasses"), Policy::Keep, priority_classes()),
        (GroupResource::new(RBAC, "clusterroles"), Policy::Role, roles),
        (GroupResource::new(RBAC, "clusterrolebindings"), Policy::Binding, cluster_bindings),
        (GroupResource::new(RBAC, "roles"), Policy::Role, objects(namespace_roles::ROLES)),
        (GroupResource::new(RBAC, "rolebindings"), Policy::Binding, bound(&of_namespaces)),
        (
            GroupResource::new(FLOW, "prioritylevelconfigurations"),
            Policy::FlowControl,
            flow_control::priority_levels(),
        ),
        (GroupResource::new(FLOW, "flowschemas"), Policy::FlowControl, flow_control::flow_schemas()),
        (GroupResource::new("", "configmaps"), Policy::Data, vec![extension.to_object()]),
        (GroupResource::new("", "configmaps"), Policy::Keep, vec![token_tracking(jiff::Timestamp::now())]),
    ];
    let mut writes = FuturesUnordered::new();
    for (resource, policy, objects) in &wanted {
        let mut existing = existing(registry, resource, objects).await?;
        for object in objects {
            let key = (meta::namespace(object).to_owned(), meta::name(object).to_owned());
            let found = existing.remove(&key);
            writes.push(write(registry, resource, *policy, object, found));
        }
    }
    let mut first = Ok(());
    while let Some(result) = writes.next().await {
        first = first.and(result);
    }
    first
}

type Existing = HashMap<(String, String), Value>;

/// The wanted objects as they are stored now.
async fn existing(registry: &Registry, resource: &GroupResource, wanted: &[Value]) -> Result<Existing> {
    let mut found = Existing::new();
    // A namespaced resource may have many more objects than are wanted here.
    let mut namespaces: Vec<&str> = wanted.iter().map(meta::namespace).collect();
    namespaces.dedup();
    for namespace in namespaces {
        if resource.resource == "configmaps" {
            for object in wanted {
                if let Some(object) = registry.get_value(resource, namespace, meta::name(object)).await? {
                    found.insert((namespace.to_owned(), meta::name(&object).to_owned()), object);
                }
            }
            continue;
        }
        for object in registry.list_values(resource, namespace).await? {
            found.insert((namespace.to_owned(), meta::name(&object).to_owned()), object);
        }
    }
    Ok(found)
}

async fn write(
    registry: &Registry,
    resource: &GroupResource,
    policy: Policy,
    wanted: &Value,
    found: Option<Value>,
) -> Result<()> {
    let Some(found) = found else { return create(registry, resource, wanted).await };
    let change = match policy {
        Policy::Keep => None,
        Policy::Role => merge_role(&found, wanted),
        Policy::Binding if found.get("roleRef") != wanted.get("roleRef") => {
            if protected(&found) {
                return Ok(());
            }
            // The role of a binding is immutable: another object takes its place.
            registry.remove(resource, meta::namespace(wanted), meta::name(wanted)).await?;
            return create(registry, resource, wanted).await;
        }
        Policy::Binding => merge_binding(&found, wanted),
        Policy::Data => replace(&found, wanted, "data"),
        Policy::FlowControl => {
            if keeps_own_spec(&found) {
                None
            } else {
                replace_spec(&found, wanted)
            }
        }
    };
    match change {
        None => Ok(()),
        Some(changed) => match registry.update(resource, &changed).await {
            Err(status) if status.is_conflict() || status.is_not_found() => {
                // Another server or an administrator was faster; what they left is looked at next time.
                tracing::info!(%resource, name = meta::name(wanted), "default changed by somebody else");
                Ok(())
            }
            other => other.map(drop),
        },
    }
}

async fn create(registry: &Registry, resource: &GroupResource, wanted: &Value) -> Result<()> {
    let mut object = wanted.clone();
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    match registry.create(resource, object).await {
        Err(status) if status.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}

/// Whether somebody made a suggested object their own: by its annotation, or without one, by changing it. The
/// mandatory ones are nobody's.
fn keeps_own_spec(found: &Value) -> bool {
    if matches!(meta::name(found), "exempt" | "catch-all") {
        return false;
    }
    match meta::annotation(found, "apf.kubernetes.io/autoupdate-spec") {
        Some(text) => text == "false",
        None => meta::generation(found) > 1,
    }
}

fn protected(found: &Value) -> bool {
    meta::annotation(found, AUTOUPDATE) == Some("false")
}

/// Adds the wanted labels and annotations that are not there; returns whether any was added.
fn merge_metadata(object: &mut Value, wanted: &Value) -> bool {
    let mut changed = false;
    let empty = Map::new();
    for (key, value) in meta::labels(wanted).unwrap_or(&empty) {
        if meta::label(object, key).is_none() {
            meta::set_label(object, key, value.as_str().unwrap_or(""));
            changed = true;
        }
    }
    for (key, value) in meta::annotations(wanted).unwrap_or(&empty) {
        if meta::annotation(object, key).is_none() {
            meta::set_annotation(object, key, value.as_str().unwrap_or(""));
            changed = true;
        }
    }
    changed
}

fn rules(object: &Value) -> Vec<Rule> {
    object.get("rules").and_then(|rules| serde_json::from_value(rules.clone()).ok()).unwrap_or_default()
}

fn merge_role(found: &Value, wanted: &Value) -> Option<Value> {
    if protected(found) {
        return None;
    }
    let mut merged = found.clone();
    let mut changed = merge_metadata(&mut merged, wanted);
    let selectors = |object: &Value| -> Vec<Value> {
        let list = object.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let mut have = selectors(found);
    let missing: Vec<Value> = selectors(wanted).into_iter().filter(|one| !have.contains(one)).collect();
    if !missing.is_empty() {
        have.extend(missing);
        merged.as_object_mut()?.insert("aggregationRule".into(), json!({"clusterRoleSelectors": have}));
        changed = true;
    }
    let held = rules(found);
    let missing: Vec<Rule> = rules(wanted)
        .into_iter()
        .filter(|rule| !covers(&held, std::slice::from_ref(rule)).is_empty())
        .collect();
    if !missing.is_empty() {
        let all: Vec<Rule> = held.into_iter().chain(missing).collect();
        merged.as_object_mut()?.insert("rules".into(), json!(all));
        changed = true;
    }
    changed.then_some(merged)
}

fn merge_binding(found: &Value, wanted: &Value) -> Option<Value> {
    if protected(found) {
        return None;
    }
    let mut merged = found.clone();
    let mut changed = merge_metadata(&mut merged, wanted);
    let subjects =
        |object: &Value| object.get("subjects").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut have = subjects(found);
    let missing: Vec<Value> = subjects(wanted).into_iter().filter(|one| !have.contains(one)).collect();
    if !missing.is_empty() {
        have.extend(missing);
        merged.as_object_mut()?.insert("subjects".into(), Value::Array(have));
        changed = true;
    }
    changed.then_some(merged)
}

fn replace(found: &Value, wanted: &Value, field: &str) -> Option<Value> {
    if found.get(field) == wanted.get(field) {
        return None;
    }
    let mut changed = found.clone();
    changed.as_object_mut()?.insert(field.to_owned(), wanted.get(field)?.clone());
    Some(changed)
}

fn replace_spec(found: &Value, wanted: &Value) -> Option<Value> {
    let mut changed = replace(found, wanted, "spec")?;
    let generation = meta::generation(found) + 1;
    meta::set(&mut changed, "generation", generation);
    Some(changed)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
