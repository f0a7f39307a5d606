//! Warnings about pods and pod templates that are valid but probably not meant (`pkg/api/pod/warnings.go`).

use crate::value::{entries, field, has, list, text};
use serde_json::Value;
use std::collections::HashSet;

/// Labels of nodes that have new names.
const OLD_NODE_LABELS: [(&str, &str); 6] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("failure-domain.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// Warnings about a pod.
pub fn of_pod(object: &Value) -> Vec<String> {
    of_spec(field(object, "spec"), "spec")
}

/// Warnings about the template of a workload.
pub fn of_template(object: &Value) -> Vec<String> {
    of_spec(field(field(field(object, "spec"), "template"), "spec"), "spec.template.spec")
}

fn of_spec(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some((_, new)) = OLD_NODE_LABELS.iter().find(|(old, _)| *old == key) {
            warnings
                .push(format!("{path}.nodeSelector[{key}]: deprecated since v1.14; use \"{new}\" instead"));
        }
    }
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        if has(volume, "gitRepo") {
            warnings.push(format!(
                "{path}.volumes[{i}].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"
            ));
        }
        if has(volume, "glusterfs") {
            warnings.push(format!("{path}.volumes[{i}].glusterfs: deprecated in v1.25, this feature will be removed soon after in a subsequent release"));
        }
    }
    for (i, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings.push(format!("{path}.imagePullSecrets[{i}].name: invalid empty name \"\""));
        }
    }
    for lists in ["initContainers", "containers"] {
        for (i, container) in list(spec, lists).iter().enumerate() {
            of_container(container, &format!("{path}.{lists}[{i}]"), &mut warnings);
        }
    }
    warnings
}

fn of_container(container: &Value, path: &str, warnings: &mut Vec<String>) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let name = text(variable, "name");
        if !seen.insert(name) {
            warnings.push(format!("{path}.env[{i}]: hides previous definition of \"{name}\", which may be dropped when using apply"));
        }
    }
    let mut ports: HashSet<(i64, &str)> = HashSet::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let number = field(port, "containerPort").as_i64().unwrap_or(0);
        if !ports.insert((number, text(port, "protocol"))) {
            warnings.push(format!(
                "{path}.ports[{i}]: duplicate port definition with {path}.ports[{}]",
                list(container, "ports")
                    .iter()
                    .position(|p| field(p, "containerPort").as_i64() == Some(number))
                    .unwrap_or(0)
            ));
        }
    }
    for lists in ["limits", "requests"] {
        for (name, value) in entries(field(container, "resources"), lists) {
            let milli = value.as_str().is_some_and(|v| v.ends_with('m'))
                && matches!(name, "memory" | "ephemeral-storage");
            if milli {
                warnings.push(format!(
                    "{path}.resources.{lists}[{name}]: fractional byte value \"{}\" is invalid, must be an integer",
                    value.as_str().unwrap_or("")
                ));
            }
        }
    }
}
