//! What may change in a pod: almost nothing by a plain update, containers for debugging by a subresource.

use super::validation::{self, MIRROR};
use crate::diff::diff;
use crate::validation::{Errors, only_new};
use crate::value::{
    at, at_mut, copy, entries, equivalent, field, int, is_empty, list, list_mut, remove, same, set, text,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use serde_json::{Value, json};

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A plain update of a pod.
pub fn validate_update(object: &Value, old: &Value) -> ErrorList {
    let (path, spec, old_spec) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
    let mut errors = ErrorList::new();
    if spec == old_spec && same_annotations(object, old) {
        return errors;
    }
    errors.extend(only_new(validation::validate(object), || validation::validate(old)));
    validation::annotation_update(object, old, &mut errors);
    for lists in ["containers", "initContainers"] {
        if list(spec, lists).len() != list(old_spec, lists).len() {
            errors.forbidden(&path.child(lists), "pod updates may not add or remove containers");
            return errors;
        }
    }
    if !deadline(spec, old_spec, &path, &mut errors) {
        return errors;
    }
    tolerations(spec, old_spec, &path, &mut errors);
    fewer_gates(spec, old_spec, &path, &mut errors);
    if equivalent(spec, old_spec) {
        return errors;
    }
    // What is left after everything that may change was made the same must be the same.
    let mut munged = spec.clone();
    for lists in ["containers", "initContainers"] {
        for (container, old) in list_mut(&mut munged, lists).iter_mut().zip(list(old_spec, lists)) {
            copy(container, old, "image");
        }
    }
    for name in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy(&mut munged, old_spec, name);
    }
    if int(old_spec, "terminationGracePeriodSeconds").is_some_and(|s| s < 0)
        && int(spec, "terminationGracePeriodSeconds") == Some(1)
    {
        copy(&mut munged, old_spec, "terminationGracePeriodSeconds");
    }
    if !is_empty(old_spec, "schedulingGates") {
        gated(&mut munged, spec, old_spec, &path, &mut errors);
    }
    if !equivalent(&munged, old_spec) {
        errors.forbidden(&path, format!("{UPDATABLE}\n{}", diff(old_spec, &munged)));
    }
    errors
}

fn same_annotations(object: &Value, old: &Value) -> bool {
    same(at(object, &["metadata", "annotations"]), at(old, &["metadata", "annotations"]))
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
            errors.invalid(&own, "null", "must not update from a positive integer to nil value");
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

/// Scheduling gates can only go (KEP-3521).
fn fewer_gates(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !list(old, "schedulingGates").iter().any(|known| text(known, "name") == name) {
            errors.forbidden(
                &path.child("schedulingGates").index(i).child("name"),
                format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            );
        }
    }
}

/// While there are gates, the pod may become pickier about nodes (KEP-3838).
fn gated(munged: &mut Value, spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let kept =
        entries(old, "nodeSelector").all(|(key, value)| field(spec, "nodeSelector").get(key) == Some(value));
    if !kept {
        errors.invalid(
            &path.child("nodeSelector"),
            field(spec, "nodeSelector").clone(),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    copy(munged, old, "nodeSelector");
    let (new_nodes, old_nodes) =
        (at(spec, &["affinity", "nodeAffinity"]), at(old, &["affinity", "nodeAffinity"]));
    if equivalent(new_nodes, old_nodes) {
        return;
    }
    narrows(new_nodes, old_nodes, path, errors);
    if at_mut(munged, &["affinity"]).is_none() && !old_nodes.is_null() {
        set(munged, "affinity", json!({"nodeAffinity": old_nodes}));
    } else if let Some(affinity) = at_mut(munged, &["affinity"]) {
        copy(affinity, field(old, "affinity"), "nodeAffinity");
    }
}

/// Required node affinity only gains requirements at the end of its terms.
fn narrows(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let terms = |nodes: &Value| list(field(nodes, REQUIRED), "nodeSelectorTerms").to_vec();
    let (new_terms, old_terms) = (terms(new), terms(old));
    if old_terms.is_empty() {
        return;
    }
    let own = || path.child("affinity").child("nodeAffinity").child(REQUIRED).child("nodeSelectorTerms");
    if new_terms.len() != old_terms.len() {
        errors.invalid(
            &own(),
            new_terms,
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        );
        return;
    }
    const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];
    for (i, (new, old)) in new_terms.iter().zip(&old_terms).enumerate() {
        // A term without requirements matches nothing, and would match something with some.
        let nothing = |term: &Value| LISTS.iter().all(|lists| list(term, lists).is_empty());
        let kept = LISTS.iter().all(|lists| list(new, lists).starts_with(list(old, lists)))
            && (!nothing(old) || nothing(new));
        if !kept {
            errors.invalid(
                &own().index(i),
                new.clone(),
                "only additions are allowed (no mutations or deletions)",
            );
        }
    }
}

/// An update by the `ephemeralcontainers` subresource: containers can only be added.
pub fn validate_ephemeral_containers(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::annotation(old, MIRROR).is_some() {
        errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
        return errors;
    }
    errors.extend(only_new(validation::validate(object), || validation::validate(old)));
    validation::annotation_update(object, old, &mut errors);
    let path = Path::new("spec").child("ephemeralContainers");
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
