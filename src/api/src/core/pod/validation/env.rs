//! Environment variables and where their values come from.

use super::known::CONTAINER_RESOURCES;
use super::volumes::no_backsteps;
use crate::NameRule;
use crate::validation::{Errors, quantity, quantity_text, required_text};
use crate::value::{at, field, has, list, text};
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
/// Fields that can be named, but are in neither of the two.
const OTHER_FIELDS: [&str; 3] = ["spec.restartPolicy", "spec.schedulerName", "status.phase"];
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
        env_from(source, &path.child("envFrom"), i, errors);
    }
}

/// Whether a name is a subdomain, perhaps with something more to come after a dash.
fn name_or_prefix(name: &str) -> Vec<String> {
    NameRule::Dns1123Subdomain.check_prefix(name)
}

/// What is wrong with the sources as such stands at the list, without an index.
fn env_from(source: &Value, list_path: &Path, i: usize, errors: &mut ErrorList) {
    let path = list_path.index(i);
    let prefix = text(source, "prefix");
    if !prefix.is_empty() {
        errors.check(&path, "prefix", prefix, forms::environment_variable_name(prefix));
    }
    let mut given = 0;
    for kind in ["configMapRef", "secretRef"] {
        let Some(reference) = source.get(kind) else { continue };
        given += 1;
        let path = path.child(kind);
        if required_text(reference, "name", &path, errors) {
            let name = text(reference, "name");
            errors.check(&path, "name", name, name_or_prefix(name));
        }
    }
    match given {
        0 => errors.invalid(list_path, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => errors.invalid(list_path, "", "may not have more than one field specified at a time"),
    }
}

fn value_from(source: &Value, has_value: bool, path: &Path, errors: &mut ErrorList) {
    let mut given = 0;
    for name in SOURCES.into_iter().filter(|name| has(source, name)) {
        given += 1;
        let (source, path) = (field(source, name), path.child(name));
        match name {
            "fieldRef" => field_ref(source, &ENV_FIELDS, &path, errors),
            "resourceFieldRef" => resource_field_ref(source, false, &path, errors),
            "fileKeyRef" => file_key_ref(source, &path, errors),
            _ => {
                let name = text(source, "name");
                errors.check(&path, "name", name, forms::dns1123_subdomain(name));
                if required_text(source, "key", &path, errors) {
                    let key = text(source, "key");
                    errors.check(&path, "key", key, forms::config_map_key(key));
                }
            }
        }
    }
    if given == 0 {
        errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if has_value {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if given > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

/// A variable of a file in a volume (KEP-3721).
fn file_key_ref(source: &Value, path: &Path, errors: &mut ErrorList) {
    if required_text(source, "key", path, errors) {
        let key = text(source, "key");
        errors.check(path, "key", key, forms::environment_variable_name(key));
    }
    if required_text(source, "volumeName", path, errors) {
        let volume = text(source, "volumeName");
        errors.check(path, "volumeName", volume, forms::dns1123_label(volume));
    }
    if required_text(source, "path", path, errors) {
        no_backsteps(text(source, "path"), || path.child("path"), errors);
    }
}

/// Files with variables are in emptyDir volumes of the pod.
pub fn file_key_volumes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for lists in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in list(spec, lists).iter().enumerate() {
            for (j, variable) in list(container, "env").iter().enumerate() {
                let reference = at(variable, &["valueFrom", "fileKeyRef"]);
                if reference.is_null() {
                    continue;
                }
                let name = text(reference, "volumeName");
                let own = || {
                    let path = path.child(lists).index(i).child("env").index(j);
                    path.child("valueFrom").child("fileKeyRef").child("volumeName")
                };
                match list(spec, "volumes").iter().find(|volume| text(volume, "name") == name) {
                    None => errors.not_found(&own(), name),
                    Some(volume) if !has(volume, "emptyDir") => {
                        errors.invalid(&own(), name, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
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
    let problem = if text(reference, "apiVersion") != "v1" {
        format!("unsupported pod version: {}", text(reference, "apiVersion"))
    } else if let Some((base, key)) = subscript(wanted) {
        match base {
            "metadata.annotations" => {
                return errors.check_at(
                    path,
                    &key.to_lowercase(),
                    forms::qualified_name(&key.to_lowercase()),
                );
            }
            "metadata.labels" => return errors.check_at(path, key, forms::qualified_name(key)),
            _ => format!("field label does not support subscript: {wanted}"),
        }
    } else {
        // The name of spec.nodeName in the first versions.
        let known = if wanted == "spec.host" { "spec.nodeName" } else { wanted };
        if supported.contains(&known) {
            return;
        }
        if [&ENV_FIELDS[..], &VOLUME_FIELDS, &OTHER_FIELDS].iter().any(|all| all.contains(&known)) {
            return errors.not_supported(&path.child("fieldPath"), known, supported);
        }
        format!("field label not supported: {wanted}")
    };
    errors.invalid(&path.child("fieldPath"), wanted, format!("error converting fieldPath: {problem}"));
}

/// `metadata.labels['app']` is field `metadata.labels` and key `app`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, rest) = path.split_once("['")?;
    Some((base, rest.strip_suffix("']")?))
}

/// A reference to a resource of a container; in volumes the container has to be named.
pub fn resource_field_ref(reference: &Value, in_volume: bool, path: &Path, errors: &mut ErrorList) {
    let resource = text(reference, "resource");
    let name = resource.strip_prefix("limits.").or_else(|| resource.strip_prefix("requests.")).unwrap_or("");
    if in_volume && text(reference, "containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if required_text(reference, "resource", path, errors)
        && !CONTAINER_RESOURCES.contains(&name)
        && !name.starts_with("hugepages-")
    {
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
    }
    divisor(reference, resource, name, path, errors);
}

fn divisor(reference: &Value, resource: &str, name: &str, path: &Path, errors: &mut ErrorList) {
    let Some(given) = reference.get("divisor") else { return };
    if quantity(given).is_none_or(|q| q.is_zero()) {
        return;
    }
    let shown = quantity_text(given);
    let (allowed, words): (&[&str], &str) = match name {
        "cpu" => (&["1m", "1"], "cpu"),
        "memory" => (&BYTES, "memory"),
        "ephemeral-storage" => (&BYTES, "local ephemeral storage"),
        _ if name.starts_with("hugepages-") => (&BYTES, "hugepages"),
        _ => return,
    };
    if !allowed.contains(&shown.as_ref()) {
        let values = if name == "cpu" { "1m and 1".to_owned() } else { allowed.join(", ") };
        errors.invalid(
            &path.child("divisor"),
            resource,
            format!("only divisor's values {values} are supported with the {words} resource"),
        );
    }
}

const BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
