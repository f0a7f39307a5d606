//! What happens to a pod before it is stored.

use super::resources::quality_of_service;
use crate::value::{
    at, copy, ensure_object, entries, field, has, list, list_mut, object_mut, remove, set, text, texts,
};
use apimachinery::meta;
use serde_json::{Value, json};

/// A new pod is pending; its labels are written into the selectors that ask for them.
pub fn prepare_for_create(object: &mut Value) {
    let gated = !list(field(object, "spec"), "schedulingGates").is_empty();
    let mut status = json!({"phase": "Pending", "qosClass": quality_of_service(field(object, "spec"))});
    if gated {
        set(
            &mut status,
            "conditions",
            json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]),
        );
    }
    set(object, "status", status);
    write_label_keys(object);
}

/// `matchLabelKeys` and `mismatchLabelKeys` become requirements with the pod's own values (KEP-3633, KEP-3243).
fn write_label_keys(object: &mut Value) {
    let spec = field(object, "spec");
    if list(spec, "topologySpreadConstraints").is_empty()
        && !has(field(spec, "affinity"), "podAffinity")
        && !has(field(spec, "affinity"), "podAntiAffinity")
    {
        return;
    }
    let labels: Vec<(String, Value)> =
        entries(field(object, "metadata"), "labels").map(|(k, v)| (k.to_owned(), v.clone())).collect();
    let Some(spec) = object_mut(object, "spec") else { return };
    for constraint in list_mut(spec, "topologySpreadConstraints") {
        add_requirements(constraint, &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = object_mut(spec, "affinity").and_then(|a| object_mut(a, kind)) else { continue };
        for term in list_mut(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            add_requirements(term, &labels);
        }
        for weighted in list_mut(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = object_mut(weighted, "podAffinityTerm") {
                add_requirements(term, &labels);
            }
        }
    }
}

fn add_requirements(term: &mut Value, labels: &[(String, Value)]) {
    if !has(term, "labelSelector") {
        return;
    }
    let mut added = Vec::new();
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in texts(term, keys) {
            if let Some((_, value)) = labels.iter().find(|(name, _)| name == key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if added.is_empty() {
        return;
    }
    if let Some(selector) = ensure_object(term, "labelSelector") {
        let mut all = list(selector, "matchExpressions").to_vec();
        all.extend(added);
        set(selector, "matchExpressions", all);
    }
}

/// The status subresource changes neither owners nor what the system decided.
pub fn prepare_for_status_update(object: &mut Value, old: &Value) {
    if let Some(meta) = meta::metadata_mut(object) {
        match field(old, "metadata").get("ownerReferences") {
            Some(owners) => {
                meta.insert("ownerReferences".to_owned(), owners.clone());
            }
            None => {
                meta.remove("ownerReferences");
            }
        }
    }
    let old_status = field(old, "status");
    let Some(status) = ensure_object(object, "status") else { return };
    if text(status, "qosClass").is_empty() {
        copy(status, old_status, "qosClass");
    }
    // The kubelet's view of generations and resizing outlives a status written by an older client.
    for name in ["observedGeneration", "resize"] {
        if !has(status, name) {
            copy(status, old_status, name);
        }
    }
    let ip = text(status, "podIP").to_owned();
    if !ip.is_empty() && list(status, "podIPs").is_empty() {
        set(status, "podIPs", json!([{"ip": ip}]));
    }
    let host = text(status, "hostIP").to_owned();
    if !host.is_empty() && list(status, "hostIPs").is_empty() {
        set(status, "hostIPs", json!([{"ip": host}]));
    }
}

/// Only the part that a subresource is for comes from the client.
pub fn prepare_for_subresource_update(subresource: &str, object: &mut Value, old: &Value) {
    let mut spec = field(old, "spec").clone();
    match subresource {
        "ephemeralcontainers" => copy(&mut spec, field(object, "spec"), "ephemeralContainers"),
        "resize" => {
            for name in ["containers", "initContainers"] {
                let wanted = at(object, &["spec", name]).as_array().cloned().unwrap_or_default();
                for container in list_mut(&mut spec, name) {
                    let found = wanted.iter().find(|c| text(c, "name") == text(container, "name"));
                    if let Some(found) = found {
                        copy(container, found, "resources");
                        copy(container, found, "resizePolicy");
                    }
                }
            }
            copy(&mut spec, field(object, "spec"), "resources");
        }
        _ => return,
    }
    // Adding or removing containers shows in validation, so the client's list is kept where it differs in names.
    if subresource == "resize" && !same_names(object, old) {
        return;
    }
    set(object, "spec", spec);
    let mut metadata = field(old, "metadata").clone();
    for name in ["resourceVersion", "managedFields"] {
        copy(&mut metadata, field(object, "metadata"), name);
    }
    set(object, "metadata", metadata);
    match old.get("status") {
        Some(status) => set(object, "status", status.clone()),
        None => {
            remove(object, "status");
        }
    }
}

fn same_names(object: &Value, old: &Value) -> bool {
    ["containers", "initContainers"].iter().all(|lists| {
        let names = |o: &Value| -> Vec<String> {
            list(field(o, "spec"), lists).iter().map(|c| text(c, "name").to_owned()).collect()
        };
        names(object) == names(old)
    })
}
