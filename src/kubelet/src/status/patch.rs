//! The strategic merge patch from one status to the next. Pure.

use super::conditions::OWNED;
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// The fields of `status` that the kubelet owns, besides conditions.
const FIELDS: [&str; 12] = [
    "phase",
    "reason",
    "message",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "qosClass",
];

/// Lists that a strategic merge would join by key instead of replacing.
const MERGED_LISTS: [&str; 2] = ["hostIPs", "podIPs"];

/// The patch that turns `old` into `new`, `None` when nothing of the kubelet's differs.
pub fn status_patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let old = serde_json::to_value(old).ok()?;
    let new = serde_json::to_value(new).ok()?;
    let mut status = Map::new();
    for field in FIELDS.into_iter().chain(["observedGeneration"]) {
        let (before, after) = (old.get(field), new.get(field));
        if before == after {
            continue;
        }
        let mut value = after.cloned().unwrap_or(Value::Null);
        if MERGED_LISTS.contains(&field)
            && before.is_some()
            && let Some(items) = value.as_array_mut()
        {
            items.insert(0, json!({"$patch": "replace"}));
        }
        status.insert(field.to_owned(), value);
    }
    let changed = changed_conditions(&old, &new);
    if !changed.is_empty() {
        status.insert("conditions".to_owned(), Value::Array(changed));
    }
    if status.is_empty() {
        return None;
    }
    // The uid is a precondition: a pod of the same name that came since must not get this status.
    Some(json!({"metadata": {"uid": uid}, "status": status}))
}

fn changed_conditions(old: &Value, new: &Value) -> Vec<Value> {
    let of = |status: &Value| status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let before = of(old);
    of(new)
        .into_iter()
        .filter(|condition| {
            condition.get("type").and_then(Value::as_str).is_some_and(|name| OWNED.contains(&name))
        })
        .filter_map(|mut condition| {
            let same_type = |other: &&Value| other.get("type") == condition.get("type");
            let previous = before.iter().find(same_type);
            if previous == Some(&condition) {
                return None;
            }
            if is_schedulers(&condition) && previous.is_some() {
                return None;
            }
            // Entries merge by type: what the new one lacks has to be taken away by name.
            for field in ["reason", "message"] {
                if previous.is_some_and(|previous| previous.get(field).is_some())
                    && condition.get(field).is_none()
                    && let Some(condition) = condition.as_object_mut()
                {
                    condition.insert(field.to_owned(), Value::Null);
                }
            }
            Some(condition)
        })
        .collect()
}

fn is_schedulers(condition: &Value) -> bool {
    condition.get("type").and_then(Value::as_str) == Some("PodScheduled")
}
