//! Volumes of a pod and how containers mount them.

use super::volume_sources;
use crate::validation::{Errors, one_of, required_text};
use crate::value::{field, has, is_true, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The valid volumes of a pod by name.
pub type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// All volumes of a pod's spec. Answers those that mounts may name.
pub fn validate<'a>(spec: &'a Value, path: &Path, errors: &mut ErrorList) -> Volumes<'a> {
    let mut known = Volumes::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.child("volumes").index(i);
        let before = errors.len();
        volume_source_count(volume, &["name"], &path, errors);
        cross_check_source(volume, &path, errors);
        let name = text(volume, "name");
        if required_text(volume, "name", &path, errors) {
            errors.check(&path, "name", name, forms::dns1123_label(name));
            if known.contains_key(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        if errors.len() == before {
            known.insert(name, volume);
        }
    }
    known
}

/// Exactly one source is given. `others` are fields beside the sources.
pub fn volume_source_count(volume: &Value, others: &[&str], path: &Path, errors: &mut ErrorList) {
    let mut sources = volume
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .filter(|name| !others.contains(name));
    if sources.next().is_none() {
        errors.required(path, "must specify a volume type");
    }
    for extra in sources {
        errors.forbidden(&path.child(extra), "may not specify more than 1 volume type");
    }
}

/// The rules of whichever source is given.
pub fn cross_check_source(volume: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, source) in volume.as_object().into_iter().flatten() {
        if source.is_object() {
            volume_sources::validate(name, source, &path.child(name), errors);
        }
    }
}

/// `volumeMounts` of a container.
pub fn mounts(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let mut places: HashSet<&str> = HashSet::new();
    let ephemeral = has(container, "targetContainerName");
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = path.child("volumeMounts").index(i);
        let name = text(mount, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !volumes.contains_key(name) {
            errors.not_found(&path.child("name"), name);
        }
        let place = text(mount, "mountPath");
        if place.is_empty() {
            errors.required(&path.child("mountPath"), "");
        }
        if !places.insert(place) {
            errors.invalid(&path.child("mountPath"), place, "must be unique");
        }
        for (j, device) in list(container, "volumeDevices").iter().enumerate() {
            if text(device, "name") == name {
                errors.invalid(&path.child("name"), name, "must not already exist in volumeDevices");
            }
            if text(device, "devicePath") == place {
                errors.invalid(
                    &path.child("mountPath"),
                    place,
                    format!("must not already exist as a path in volumeDevices[{j}]"),
                );
            }
        }
        let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub.is_empty() {
            descending_path(sub, &path.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                errors.invalid(
                    &path.child("subPathExpr"),
                    expression,
                    "subPathExpr and subPath are mutually exclusive",
                );
            }
            descending_path(expression, &path.child("subPathExpr"), errors);
        }
        if ephemeral && !(sub.is_empty() && expression.is_empty()) {
            errors.forbidden(&path.child("subPath"), "cannot be set for an Ephemeral Container");
        }
        propagation(mount, container, &path, errors);
    }
}

fn propagation(mount: &Value, container: &Value, path: &Path, errors: &mut ErrorList) {
    one_of(mount, "mountPropagation", path, &["Bidirectional", "HostToContainer", "None"], errors);
    let mode = text(mount, "mountPropagation");
    if mode == "Bidirectional" && !is_true(field(container, "securityContext"), "privileged") {
        errors.forbidden(
            &path.child("mountPropagation"),
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
    one_of(mount, "recursiveReadOnly", path, &["Disabled", "Enabled", "IfPossible"], errors);
    if matches!(text(mount, "recursiveReadOnly"), "Enabled" | "IfPossible") {
        let own = path.child("recursiveReadOnly");
        if !is_true(mount, "readOnly") {
            errors.forbidden(&own, "may only be specified when readOnly is true");
        }
        if !matches!(mode, "" | "None") {
            errors.forbidden(&own, "may only be specified when mountPropagation is None or not specified");
        }
    }
}

/// `volumeDevices` of a container.
pub fn devices(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let (mut names, mut places): (HashSet<&str>, HashSet<&str>) = (HashSet::new(), HashSet::new());
    for (i, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.child("volumeDevices").index(i);
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !names.insert(name) {
            errors.invalid(&path.child("name"), name, "must be unique");
        } else {
            match volumes.get(name) {
                None => errors.not_found(&path.child("name"), name),
                Some(volume) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
                    errors.invalid(
                        &path.child("name"),
                        name,
                        "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                    );
                }
                Some(_) => {}
            }
        }
        if place.is_empty() {
            errors.required(&path.child("devicePath"), "");
        } else {
            if !places.insert(place) {
                errors.invalid(&path.child("devicePath"), place, "must be unique");
            }
            no_backsteps(place, &path.child("devicePath"), errors);
        }
    }
}

/// A relative path that does not climb.
pub fn descending_path(value: &str, path: &Path, errors: &mut ErrorList) {
    if value.starts_with('/') {
        errors.invalid(path, value, "must be a relative path");
    }
    no_backsteps(value, path, errors);
}

/// A path without `..`.
pub fn no_backsteps(value: &str, path: &Path, errors: &mut ErrorList) {
    if value.split('/').any(|part| part == "..") {
        errors.invalid(path, value, "must not contain '..'");
    }
}
