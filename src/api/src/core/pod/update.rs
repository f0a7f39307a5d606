//! What may change in a pod: almost nothing by a plain update, more by its subresources.

use super::resources::quality_of_service;
use super::validation;
use crate::diff::diff;
use crate::validation::{Errors, immutable};
use crate::value::{
    copy, default, entries, equivalent, field, has, int, is_empty, list, list_mut, remove, same, set, text,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::validation as forms;
use serde_json::Value;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A plain update of a pod.
pub fn validate_update(object: &Value, old: &Value) -> ErrorList {
    let (path, spec, old_spec) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
    if spec == old_spec {
        return ErrorList::new();
    }
    let mut errors = validation::validate(object);
    for (lists, words) in [("containers", "containers"), ("initContainers", "init containers")] {
        if list(spec, lists).len() != list(old_spec, lists).len() {
            errors.forbidden(&path.child(lists), format!("pod updates may not add or remove {words}"));
            return errors;
        }
    }
    if !deadline(spec, old_spec, &path, &mut errors) {
        return errors;
    }
    tolerations(spec, old_spec, &path, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    // What is left after everything that may change was made the same must be the same.
    let mut munged = spec.clone();
    for lists in ["containers", "initContainers"] {
        for (container, old) in list_mut(&mut munged, lists).iter_mut().zip(list(old_spec, lists)) {
            copy(container, old, "image");
        }
    }
    for name in ["activeDeadlineSeconds", "tolerations"] {
        copy(&mut munged, old_spec, name);
    }
    if int(old_spec, "terminationGracePeriodSeconds").is_some_and(|s| s < 0)
        && int(spec, "terminationGracePeriodSeconds") == Some(1)
    {
        copy(&mut munged, old_spec, "terminationGracePeriodSeconds");
    }
    gates(&mut munged, spec, old_spec, &path, &mut errors);
    if !equivalent(&munged, old_spec) {
        errors.forbidden(&path, format!("{UPDATABLE}\n{}", diff(old_spec, &munged)));
    }
    errors
}

/// The active deadline may be set once and then only come closer. Answers whether it is worth going on.
fn deadline(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) -> bool {
    let own = path.child("activeDeadlineSeconds");
    match (int(spec, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(&own, new, format!("must be between 0 and {}, inclusive", i32::MAX));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(&own, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(&own, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn tolerations(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let identity = |t: &Value| {
        let mut t = t.clone();
        remove(&mut t, "tolerationSeconds");
        t
    };
    let new: Vec<Value> = list(spec, "tolerations").iter().map(identity).collect();
    for toleration in list(old, "tolerations") {
        if !new.contains(&identity(toleration)) {
            errors.forbidden(
                &path.child("tolerations"),
                "existing toleration can not be modified except its tolerationSeconds",
            );
            return;
        }
    }
}

/// Scheduling gates can only go; while there are some, the pod may become pickier about nodes (KEP-3838).
fn gates(munged: &mut Value, spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let own = path.child("schedulingGates");
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        if !list(old, "schedulingGates").contains(gate) {
            errors.forbidden(
                &own.index(i),
                format!("only deletion is allowed, but found new scheduling gate '{}'", text(gate, "name")),
            );
        }
    }
    copy(munged, old, "schedulingGates");
    if is_empty(old, "schedulingGates") {
        return;
    }
    let kept =
        entries(old, "nodeSelector").all(|(key, value)| field(spec, "nodeSelector").get(key) == Some(value));
    if !kept {
        errors.invalid(
            &path.child("nodeSelector"),
            field(spec, "nodeSelector").clone(),
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        );
    }
    copy(munged, old, "nodeSelector");
    let node = |s: &Value| field(field(s, "affinity"), "nodeAffinity").clone();
    if node(spec) != node(old) && narrows(&node(spec), &node(old), path, errors) {
        copy(munged, old, "affinity");
        let mut without = field(spec, "affinity").clone();
        let mut old_without = field(old, "affinity").clone();
        remove(&mut without, "nodeAffinity");
        remove(&mut old_without, "nodeAffinity");
        if !same(&without, &old_without) {
            copy(munged, spec, "affinity");
        }
    }
}

/// Whether node affinity only gained requirements within its terms.
fn narrows(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |v: &Value| list(field(v, REQUIRED), "nodeSelectorTerms").to_vec();
    let (new_terms, old_terms) = (terms(new), terms(old));
    if old_terms.is_empty() {
        return true;
    }
    let own = || path.child("affinity").child("nodeAffinity").child(REQUIRED).child("nodeSelectorTerms");
    if new_terms.len() != old_terms.len() {
        errors.invalid(
            &own(),
            new_terms,
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        );
        return true;
    }
    for (i, (new, old)) in new_terms.iter().zip(&old_terms).enumerate() {
        let kept = ["matchExpressions", "matchFields"]
            .iter()
            .all(|lists| list(old, lists).iter().all(|wanted| list(new, lists).contains(wanted)));
        if !kept {
            errors.invalid(
                &own().index(i),
                new.clone(),
                "only additions are allowed (no mutations or deletions)",
            );
        }
    }
    true
}

/// An update of the pod's status.
pub fn validate_status_update(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let (status, old_status) = (field(object, "status"), field(old, "status"));
    if text(field(object, "spec"), "nodeName") != text(field(old, "spec"), "nodeName") {
        errors.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let nominated = text(status, "nominatedNodeName");
    if !nominated.is_empty() {
        errors.check(&path, "nominatedNodeName", nominated, forms::dns1123_subdomain(nominated));
    }
    if has(old_status, "qosClass") {
        immutable(status, old_status, "qosClass", &path, &mut errors);
    }
    if let Some(observed) = int(status, "observedGeneration")
        && observed < 0
    {
        errors.invalid(&path.child("observedGeneration"), observed, "must be greater than or equal to 0");
    }
    let restart = text(field(object, "spec"), "restartPolicy");
    for lists in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        transitions(field(object, "spec"), restart, lists, status, old_status, &path, &mut errors);
    }
    for (lists, what) in [("podIPs", "ip"), ("hostIPs", "ip")] {
        let mut families = [0_u8; 2];
        for (i, entry) in list(status, lists).iter().enumerate() {
            let (ip, own) = (text(entry, what), path.child(lists).index(i));
            errors.check_at(&own, ip, forms::ip_address(ip));
            let family = usize::from(ip.contains(':'));
            if let Some(count) = families.get_mut(family) {
                *count += 1;
            }
        }
        if families.iter().any(|count| *count > 1) {
            errors.invalid(
                &path.child(lists),
                list(status, lists).to_vec(),
                "may specify no more than one IP for each IP family",
            );
        }
    }
    errors
}

/// A container that ended and is not to be started again stays ended.
fn transitions(
    spec: &Value,
    restart: &str,
    lists: &str,
    status: &Value,
    old: &Value,
    path: &Path,
    errors: &mut ErrorList,
) {
    if restart == "Always" {
        return;
    }
    for (i, new) in list(status, lists).iter().enumerate() {
        let name = text(new, "name");
        let Some(before) = list(old, lists).iter().find(|c| text(c, "name") == name) else { continue };
        let Some(ended) = field(before, "state").get("terminated") else { continue };
        if has(field(new, "state"), "terminated") {
            continue;
        }
        let own = ["containers", "initContainers"]
            .iter()
            .flat_map(|l| list(spec, l))
            .find(|c| text(c, "name") == name);
        let has_rules = own.is_some_and(|c| has(c, "restartPolicy") || has(c, "restartPolicyRules"));
        let retried = restart == "OnFailure" && int(ended, "exitCode") != Some(0);
        if !retried && !has_rules {
            errors.forbidden(
                &path.child(lists).index(i).child("state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}

/// An update by the `ephemeralcontainers` subresource: containers can only be added.
pub fn validate_ephemeral_containers(object: &Value, old: &Value) -> ErrorList {
    let mut errors = validation::validate(object);
    let path = Path::new("spec").child("ephemeralContainers");
    if meta::annotation(object, "kubernetes.io/config.mirror").is_some() {
        errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
    }
    let new = list(field(object, "spec"), "ephemeralContainers");
    for before in list(field(old, "spec"), "ephemeralContainers") {
        let name = text(before, "name");
        match new.iter().find(|c| text(c, "name") == name) {
            None => errors
                .forbidden(&path, format!("existing ephemeral containers \"{name}\" may not be removed\n")),
            Some(after) if !equivalent(after, before) => errors.forbidden(
                &path,
                format!(
                    "existing ephemeral containers \"{name}\" may not be changed\n{}",
                    diff(before, after)
                ),
            ),
            Some(_) => {}
        }
    }
    errors
}

/// An update by the `resize` subresource (KEP-1287): only CPU and memory of containers that can be resized.
pub fn validate_resize(object: &Value, old: &Value) -> ErrorList {
    let (path, spec, old_spec) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
    if spec == old_spec {
        return ErrorList::new();
    }
    let mut errors = validation::validate(object);
    if meta::annotation(old, "kubernetes.io/config.mirror").is_some() {
        errors.forbidden(&Path::new(""), "static pods cannot be resized");
    }
    let (before, after) = (quality_of_service(old_spec), quality_of_service(spec));
    if before != after {
        errors.invalid(
            &path,
            after,
            format!("Pod QOS Class may not change as a result of resizing: was {before}"),
        );
    }
    let mut munged = spec.clone();
    let same_length = ["containers", "initContainers"]
        .iter()
        .all(|lists| list(spec, lists).len() == list(old_spec, lists).len());
    if same_length {
        for lists in ["containers", "initContainers"] {
            for (i, (new, old)) in list(spec, lists).iter().zip(list(old_spec, lists)).enumerate() {
                let own = path.child(lists).index(i).child("resources");
                let (resources, old_resources) = (field(new, "resources"), field(old, "resources"));
                if resources == old_resources {
                    continue;
                }
                if lists == "initContainers" && text(new, "restartPolicy") != "Always" {
                    errors.forbidden(&own, "resources for non-sidecar init containers are immutable");
                }
                only_compute_changes(resources, old_resources, &own, &mut errors);
                if let Some(container) = list_mut(&mut munged, lists).get_mut(i) {
                    copy(container, old, "resources");
                    copy(container, old, "resizePolicy");
                }
            }
        }
    }
    if !equivalent(&munged, old_spec) {
        default(&mut munged, "containers", Vec::<Value>::new());
        errors.forbidden(
            &path,
            format!("only cpu and memory resources are mutable\n{}", diff(old_spec, &munged)),
        );
    }
    errors
}

fn only_compute_changes(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    for lists in ["limits", "requests"] {
        for (name, value) in entries(old, lists) {
            match field(new, lists).get(name) {
                None if matches!(name, "cpu" | "memory") => {
                    errors.forbidden(&path.child(lists), format!("resource {lists} cannot be removed"));
                }
                changed if changed != Some(value) && !matches!(name, "cpu" | "memory") => {
                    errors.forbidden(&path.child(lists), "only cpu and memory resources are mutable");
                }
                _ => {}
            }
        }
    }
    let mut masked = new.clone();
    set(&mut masked, "limits", Value::Null);
    set(&mut masked, "requests", Value::Null);
    let mut old_masked = old.clone();
    set(&mut old_masked, "limits", Value::Null);
    set(&mut old_masked, "requests", Value::Null);
    if masked != old_masked {
        errors.forbidden(path, "only cpu and memory resources are mutable");
    }
}
