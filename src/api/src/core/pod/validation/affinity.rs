//! Affinity to nodes and to other pods.

use super::scheduling::{node_selector, node_selector_term, pod_affinity_term, weight};
use crate::value::{field, list};
use apimachinery::field::{ErrorList, Path};
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
            node_selector_term(field(term, "preference"), &path.child("preference"), errors);
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
