//! What happens to a pod before it is stored.

use super::resources::{CONTAINER_LISTS, quality_of_service};
use crate::value::{
    at, at_mut, copy, drop_empty, ensure_object, entries, field, has, is_empty, list, list_mut, object_mut,
    remove, set, text, texts,
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
    drop_disabled(object, None);
    write_label_keys(object);
    app_armor_fields(object);
}

/// What is off goes, unless the pod had it before.
pub fn prepare_for_update(object: &mut Value, old: &Value) {
    drop_disabled(object, Some(old));
}

fn drop_disabled(object: &mut Value, old: Option<&Value>) {
    drop_disabled_at(object, old, &["spec"]);
}

/// The same for the template of a workload, at `spec.template`.
pub fn drop_disabled_template(object: &mut Value, old: Option<&Value>) {
    drop_disabled_at(object, old, &["spec", "template", "spec"]);
}

/// Drops from the spec of a pod or of a template, at a path, what is behind feature gates that are off: `ContainerStopSignals`
/// (KEP-4960), `ClusterTrustBundleProjection` (KEP-3257), `PodCertificateRequest` (KEP-4317) and `GenericWorkload`
/// (KEP-4671). What the old spec uses stays.
pub fn drop_disabled_at(object: &mut Value, old: Option<&Value>, path: &[&str]) {
    let Some(spec) = at_mut(object, path) else { return };
    let old = old.map_or(&Value::Null, |old| at(old, path));
    if has(spec, "schedulingGroup") && !has(old, "schedulingGroup") {
        remove(spec, "schedulingGroup");
    }
    let signals = |spec: &Value| {
        CONTAINER_LISTS
            .iter()
            .flat_map(|lists| list(spec, lists))
            .any(|container| has(field(container, "lifecycle"), "stopSignal"))
    };
    if signals(spec) && !signals(old) {
        for lists in CONTAINER_LISTS {
            for container in list_mut(spec, lists) {
                if let Some(lifecycle) = object_mut(container, "lifecycle") {
                    remove(lifecycle, "stopSignal");
                    drop_empty(container, "lifecycle");
                }
            }
        }
    }
    for kind in ["clusterTrustBundle", "podCertificate"] {
        let used = |spec: &Value| {
            list(spec, "volumes")
                .iter()
                .flat_map(|volume| list(field(volume, "projected"), "sources"))
                .any(|source| has(source, kind))
        };
        if used(spec) && !used(old) {
            for volume in list_mut(spec, "volumes") {
                for source in object_mut(volume, "projected").map_or(&mut [][..], |p| list_mut(p, "sources"))
                {
                    remove(source, kind);
                }
            }
        }
    }
}

/// The profile that an annotation names becomes a field of the container (KEP-24).
fn app_armor_fields(object: &mut Value) {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let profiles: Vec<(String, Value)> = entries(field(object, "metadata"), "annotations")
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, app_armor_profile(value.as_str()?)?)))
        .map(|(container, profile)| (container.to_owned(), profile))
        .collect();
    let Some(spec) = object_mut(object, "spec").filter(|_| !profiles.is_empty()) else { return };
    if text(field(spec, "os"), "name") == "windows" {
        return;
    }
    let whole = at(spec, &["securityContext", "appArmorProfile"]).clone();
    for lists in CONTAINER_LISTS {
        for container in list_mut(spec, lists) {
            let name = text(container, "name");
            let Some((_, profile)) = profiles.iter().find(|(of, _)| of == name) else { continue };
            if *profile != whole
                && !has(field(container, "securityContext"), "appArmorProfile")
                && let Some(context) = ensure_object(container, "securityContext")
            {
                set(context, "appArmorProfile", profile.clone());
            }
        }
    }
}

fn app_armor_profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let file =
                other.strip_prefix("localhost/").filter(|file| !file.is_empty() && file.trim() == *file)?;
            Some(json!({"type": "Localhost", "localhostProfile": file}))
        }
    }
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
    // KEP-5517 is off.
    if !has(old_status, "nodeAllocatableResourceClaimStatuses") {
        remove(status, "nodeAllocatableResourceClaimStatuses");
    }
    keep_condition_generations(status, old_status);
    if text(status, "qosClass").is_empty() {
        copy(status, old_status, "qosClass");
    }
    // The kubelet's view of generations and resizing outlives a status written by an older client.
    for name in ["observedGeneration", "resize", "resourceClaimStatuses", "extendedResourceClaimStatus"] {
        if !has(status, name) {
            copy(status, old_status, name);
        }
    }
    // The first of the lists is the single address, which has the last word.
    for (single, lists) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        let ip = text(status, single).to_owned();
        let first = list(status, lists).first().map_or("", |first| text(first, "ip")).to_owned();
        if ip.is_empty() && !first.is_empty() && single == "podIP" {
            set(status, single, first);
        } else if !ip.is_empty() && (first.is_empty() || (first != ip && single == "podIP")) {
            set(status, lists, json!([{"ip": ip}]));
        }
    }
}

/// The generation that a condition was last told for outlives clients that do not know of it (KEP-5067).
fn keep_condition_generations(status: &mut Value, old: &Value) {
    let known = list(old, "conditions").to_vec();
    let mut used = vec![false; known.len()];
    for condition in list_mut(status, "conditions") {
        let kind = text(condition, "type");
        let same = known.iter().zip(used.iter_mut()).find(|(c, used)| !**used && text(c, "type") == kind);
        if let Some((before, used)) = same {
            *used = true;
            if is_empty(condition, "observedGeneration") {
                copy(condition, before, "observedGeneration");
            }
        }
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
