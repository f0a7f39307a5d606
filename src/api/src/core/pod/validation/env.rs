//! Environment variables and where their values come from.

use super::known::CONTAINER_RESOURCES;
use crate::validation::{Errors, quantity, quantity_text, required_text};
use crate::value::{field, has, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// Fields of the pod that the environment can hold, besides single labels and annotations.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of the pod that a file of a downwardAPI volume can hold, besides single labels and annotations.
const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// `env` and `envFrom` of a container.
pub fn validate(container: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, variable) in list(container, "env").iter().enumerate() {
        let name = text(variable, "name");
        // The path is only needed for errors and for sources, which few variables have.
        let messages = forms::environment_variable_name(name);
        if name.is_empty() || !messages.is_empty() {
            let path = path.child("env").index(i);
            if required_text(variable, "name", &path, errors) {
                errors.check(&path, "name", name, messages);
            }
        }
        if let Some(source) = variable.get("valueFrom") {
            let path = path.child("env").index(i).child("valueFrom");
            value_from(source, !text(variable, "value").is_empty(), &path, errors);
        }
    }
    for (i, source) in list(container, "envFrom").iter().enumerate() {
        env_from(source, &path.child("envFrom").index(i), errors);
    }
}

fn env_from(source: &Value, path: &Path, errors: &mut ErrorList) {
    let prefix = text(source, "prefix");
    if !prefix.is_empty() {
        errors.check(path, "prefix", prefix, forms::environment_variable_name(prefix));
    }
    let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|s| has(source, s)).collect();
    match given.as_slice() {
        [] => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
        [one] => {
            required_text(field(source, one), "name", &path.child(one), errors);
        }
        _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn value_from(source: &Value, has_value: bool, path: &Path, errors: &mut ErrorList) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|s| has(source, s)).collect();
    for name in &given {
        let (source, path) = (field(source, name), path.child(name));
        match *name {
            "fieldRef" => field_ref(source, &ENV_FIELDS, &path, errors),
            "resourceFieldRef" => resource_field_ref(source, false, &path, errors),
            "fileKeyRef" => {
                for part in ["volumeName", "path", "key"] {
                    required_text(source, part, &path, errors);
                }
            }
            _ => {
                required_text(source, "name", &path, errors);
                if required_text(source, "key", &path, errors) {
                    let key = text(source, "key");
                    errors.check(&path, "key", key, forms::config_map_key(key));
                }
            }
        }
    }
    match given.len() {
        0 => errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        1 if has_value => errors.invalid(path, "", "may not be specified when `value` is not empty"),
        1 => {}
        _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

/// A reference to a field of the pod, from a file of a volume.
pub fn volume_field_ref(reference: &Value, path: &Path, errors: &mut ErrorList) {
    field_ref(reference, &VOLUME_FIELDS, path, errors);
}

fn field_ref(reference: &Value, supported: &[&str], path: &Path, errors: &mut ErrorList) {
    let wanted = text(reference, "fieldPath");
    if !required_text(reference, "apiVersion", path, errors)
        || !required_text(reference, "fieldPath", path, errors)
    {
        return;
    }
    let own = path.child("fieldPath");
    if let Some((base, key)) = subscript(wanted) {
        match base {
            "metadata.annotations" => {
                errors.check_at(&own, key, forms::qualified_name(&key.to_lowercase()));
            }
            "metadata.labels" => errors.check_at(&own, key, forms::qualified_name(key)),
            _ => errors.invalid(&own, base, "does not support subscript"),
        }
        return;
    }
    let known = ENV_FIELDS.contains(&wanted)
        || VOLUME_FIELDS.contains(&wanted)
        || matches!(wanted, "spec.restartPolicy" | "spec.schedulerName" | "status.phase");
    if !known {
        errors.invalid(
            &own,
            wanted,
            format!("error converting fieldPath: field label not supported: {wanted}"),
        );
    } else if !supported.contains(&wanted) {
        errors.not_supported(&own, wanted, supported);
    }
}

/// `metadata.labels['app']` is field `metadata.labels` and key `app`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, rest) = path.split_once("['")?;
    Some((base, rest.strip_suffix("']")?))
}

/// A reference to a resource of a container; in volumes the container has to be named.
pub fn resource_field_ref(reference: &Value, in_volume: bool, path: &Path, errors: &mut ErrorList) {
    if in_volume {
        required_text(reference, "containerName", path, errors);
    }
    if !required_text(reference, "resource", path, errors) {
        return;
    }
    let resource = text(reference, "resource");
    let name = resource.strip_prefix("limits.").or_else(|| resource.strip_prefix("requests.")).unwrap_or("");
    let huge = name.starts_with("hugepages-");
    if !CONTAINER_RESOURCES.contains(&name) && !huge {
        errors.not_supported(
            &path.child("resource"),
            resource,
            &[
                "limits.cpu",
                "limits.ephemeral-storage",
                "limits.memory",
                "requests.cpu",
                "requests.ephemeral-storage",
                "requests.memory",
            ],
        );
        return;
    }
    divisor(reference, name, path, errors);
}

fn divisor(reference: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let Some(given) = reference.get("divisor") else { return };
    if quantity(given).is_none_or(|q| q.is_zero()) {
        return;
    }
    let shown = quantity_text(given);
    let (allowed, resource): (&[&str], &str) = match name {
        "cpu" => (&["1m", "1"], "cpu"),
        "memory" => (&BYTES, "memory"),
        "ephemeral-storage" => (&BYTES, "local ephemeral storage"),
        _ => (&BYTES, "hugepages"),
    };
    if !allowed.contains(&shown.as_ref()) {
        let words = if name == "cpu" { "1m and 1".to_owned() } else { allowed.join(", ") };
        errors.invalid(
            &path.child("divisor"),
            shown.as_ref(),
            format!("only divisor's values {words} are supported with the {resource} resource"),
        );
    }
}

const BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
