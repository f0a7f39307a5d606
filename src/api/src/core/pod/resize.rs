//! Resizing in place (KEP-1287, KEP-5419): only CPU and memory, of the pod and of its containers.

use super::resources::quality_of_service;
use super::validation::{self, MIRROR};
use crate::validation::{Errors, only_new};
use crate::value::{
    at, copy, ensure_object, entries, equivalent, field, has, is_empty, list, list_mut, text,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use serde_json::Value;

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// An update by the `resize` subresource.
pub fn validate(object: &Value, old: &Value) -> ErrorList {
    let (path, spec, old_spec) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
    let mut errors = ErrorList::new();
    let of_static = meta::annotation(old, MIRROR).is_some();
    if of_static || text(field(old_spec, "os"), "name") == "windows" {
        let words = if of_static { "static" } else { "windows" };
        errors.forbidden(&Path::new(""), format!("{words} pods cannot be resized"));
        return errors;
    }
    errors.extend(only_new(validation::validate(object), || validation::validate(old)));
    let class = match text(field(old, "status"), "qosClass") {
        "" => quality_of_service(old_spec),
        told => told,
    };
    if class != quality_of_service(spec) {
        errors.invalid(&path, class, "Pod QOS Class may not change as a result of resizing");
    }
    if !node_can(old) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    let mut munged = spec.clone();
    pod_level(&mut munged, spec, old_spec, &path, &mut errors);
    if !same_containers(spec, old_spec, &path, &mut errors) {
        return errors;
    }
    for lists in ["initContainers", "containers"] {
        for (i, (new, old)) in list(spec, lists).iter().zip(list(old_spec, lists)).enumerate() {
            for amounts in ["requests", "limits"] {
                if removed(field(new, "resources"), field(old, "resources"), amounts) {
                    errors.forbidden(
                        &path.child(lists).index(i).child("resources").child(amounts),
                        format!("resource {amounts} cannot be removed"),
                    );
                }
            }
        }
    }
    for lists in LISTS {
        for (i, (container, old)) in
            list_mut(&mut munged, lists).iter_mut().zip(list(old_spec, lists)).enumerate()
        {
            only_compute_changes(container, old, lists == "initContainers", &path, i, &mut errors);
        }
    }
    if errors.is_empty() && !equivalent(&munged, old_spec) {
        errors.forbidden(&path, "only cpu and memory resources are mutable");
    }
    errors
}

/// Whether the node told of a running container's resources, as those do that can resize.
fn node_can(pod: &Value) -> bool {
    let running = list(field(pod, "status"), "containerStatuses")
        .iter()
        .find(|container| has(field(container, "state"), "running"));
    running.is_none_or(|container| has(container, "resources"))
}

/// Whether an amount that was there is not there any more.
fn removed(new: &Value, old: &Value, amounts: &str) -> bool {
    entries(old, amounts).any(|(name, _)| field(new, amounts).get(name).is_none())
}

fn same_containers(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    for lists in LISTS {
        let (new, old) = (list(spec, lists), list(old, lists));
        if new.len() != old.len() {
            errors.forbidden(&path.child(lists), format!("{lists} may not be added or removed on resize"));
            continue;
        }
        for (i, (new, old)) in new.iter().zip(old).enumerate() {
            if text(new, "name") != text(old, "name") {
                errors.forbidden(
                    &path.child(lists).index(i).child("name"),
                    format!("{lists} may not be renamed or reordered on resize"),
                );
            }
        }
    }
    errors.len() == before
}

/// Makes CPU and memory of `object`'s resources what they are in `old`.
fn restore_compute(object: &mut Value, old: &Value) {
    if let Some(resources) = ensure_object(object, "resources") {
        for amounts in ["requests", "limits"] {
            if let Some(list) = ensure_object(resources, amounts) {
                for name in ["cpu", "memory"] {
                    copy(list, at(old, &["resources", amounts]), name);
                }
            }
        }
    }
}

fn pod_level(munged: &mut Value, spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let set = |spec: &Value| {
        ["requests", "limits"].iter().any(|amounts| !is_empty(field(spec, "resources"), amounts))
    };
    if !set(spec) && !set(old) {
        return;
    }
    let own = path.child("resources");
    if has(old, "resources") && !has(spec, "resources") {
        errors.forbidden(&own, "pod-level resources cannot be removed");
        return;
    }
    for amounts in ["requests", "limits"] {
        if removed(field(spec, "resources"), field(old, "resources"), amounts) {
            errors.forbidden(&own.child(amounts), format!("pod-level resource {amounts} cannot be removed"));
        }
    }
    restore_compute(munged, old);
    let (new, before) = (field(munged, "resources"), field(old, "resources"));
    let same = equivalent(new, before) || (is_empty_tree(new) && is_empty_tree(before));
    if !same {
        errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
}

fn is_empty_tree(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(is_empty_tree),
        other => other.is_null(),
    }
}

fn only_compute_changes(
    container: &mut Value,
    old: &Value,
    is_init: bool,
    path: &Path,
    i: usize,
    errors: &mut ErrorList,
) {
    let own = || path.child("initContainers").index(i);
    let changed = !equivalent(container, old);
    restore_compute(container, old);
    if !equivalent(container, old) {
        if is_init {
            errors.forbidden(
                &own(),
                "only cpu and memory resources for init or sidecar containers are mutable",
            );
        } else {
            errors.forbidden(path, "only cpu and memory resources are mutable");
        }
    }
    if is_init && changed && text(container, "restartPolicy") != "Always" {
        for policy in list(container, "resizePolicy") {
            if text(policy, "restartPolicy") == "RestartContainer" {
                errors.forbidden(
                    &own(),
                    "non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
                );
            }
        }
    }
}
