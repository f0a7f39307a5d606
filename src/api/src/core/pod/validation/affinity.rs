//! Affinity to nodes and to other pods.

use super::scheduling::{node_selector, node_selector_term, selector_and_keys};
use crate::validation::{Errors, label_selector};
use crate::value::{field, int, list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `affinity` of a pod's spec.
pub fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(affinity) = spec.get("affinity") else { return };
    let path = path.child("affinity");
    if let Some(nodes) = affinity.get("nodeAffinity") {
        let path = path.child("nodeAffinity");
        if let Some(required) = nodes.get(REQUIRED) {
            node_selector(required, &path.child(REQUIRED), errors);
        }
        for (i, term) in list(nodes, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            weight(term, &path, errors);
            // A label that cannot be is never there, which a preference can bear.
            node_selector_term(field(term, "preference"), false, &path.child("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.get(kind) else { continue };
        let path = path.child(kind);
        for (i, term) in list(pods, REQUIRED).iter().enumerate() {
            pod_affinity_term(term, &path.child(REQUIRED).index(i), errors);
        }
        for (i, term) in list(pods, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            weight(term, &path, errors);
            pod_affinity_term(field(term, "podAffinityTerm"), &path.child("podAffinityTerm"), errors);
        }
    }
}

/// The weight of a preference.
fn weight(weighted: &Value, path: &Path, errors: &mut ErrorList) {
    let weight = int(weighted, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// One term of pod affinity.
fn pod_affinity_term(term: &Value, path: &Path, errors: &mut ErrorList) {
    label_selector(term, "labelSelector", path, errors);
    label_selector(term, "namespaceSelector", path, errors);
    for namespace in texts(term, "namespaces") {
        errors.check(path, "namespace", namespace, forms::dns1123_label(namespace));
    }
    selector_and_keys(term, path, errors);
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    errors.check(path, "topologyKey", key, forms::qualified_name(key));
}
