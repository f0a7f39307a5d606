//! Volumes of a pod and how containers mount them.

use super::volume_sources::{self, Holder};
use crate::validation::{Errors, required_text};
use crate::value::{field, has, is_true, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The valid volumes of a pod by name.
pub type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// Sources of a pod's volumes, in the order in which they are looked at.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// All volumes of a pod's spec. Answers those that mounts may name. `pod_name` is empty in templates.
pub fn validate<'a>(spec: &'a Value, pod_name: &str, path: &Path, errors: &mut ErrorList) -> Volumes<'a> {
    let volumes = list(spec, "volumes");
    let mut known = Volumes::with_capacity(volumes.len());
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.child("volumes").index(i);
        let before = errors.len();
        let name = text(volume, "name");
        volume_sources::exactly_one(volume, &SOURCES, &Holder::Pod, &path, errors);
        of_the_pod(volume, name, pod_name, &path, errors);
        if required_text(volume, "name", &path, errors) {
            errors.check(&path, "name", name, forms::dns1123_label(name));
        }
        if known.contains_key(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if errors.len() == before {
            known.insert(name, volume);
        }
        created_claim(volume, volumes, pod_name, &path, errors);
    }
    known
}

/// Rules of sources that know the names of the volume and of the pod.
fn of_the_pod(volume: &Value, name: &str, pod_name: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(iscsi) = volume.get("iscsi")
        && has(iscsi, "initiatorName")
    {
        volume_sources::initiator_fits(name, iscsi, || path.child("name"), name, errors);
    }
    if has(volume, "ephemeral") && !pod_name.is_empty() && !name.is_empty() {
        let claim = format!("{pod_name}-{name}");
        for message in forms::dns1123_subdomain(&claim) {
            errors.invalid(&path.child("name"), name, format!("PVC name \"{claim}\": {message}"));
        }
    }
}

/// A volume cannot name a claim that is only made for another volume of the same pod.
fn created_claim(volume: &Value, all: &[Value], pod_name: &str, path: &Path, errors: &mut ErrorList) {
    let Some(claim) = volume.get("persistentVolumeClaim") else { return };
    let claim = text(claim, "claimName");
    let made = |other: &Value| {
        has(other, "ephemeral")
            && claim.strip_prefix(pod_name).and_then(|rest| rest.strip_prefix('-'))
                == Some(text(other, "name"))
    };
    if !pod_name.is_empty() && all.iter().any(made) {
        errors.invalid(
            &path.child("persistentVolumeClaim").child("claimName"),
            claim,
            "must not reference a PVC that gets created for an ephemeral volume",
        );
    }
}

/// `volumeMounts` of a container.
pub fn mounts(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let all = list(container, "volumeMounts");
    if all.is_empty() {
        return;
    }
    let devices = list(container, "volumeDevices");
    let list_path = path.child("volumeMounts");
    let mut places: HashSet<&str> = HashSet::with_capacity(all.len());
    for (i, mount) in all.iter().enumerate() {
        let path = || list_path.index(i);
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&path().child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&path().child("name"), name);
        }
        if place.is_empty() {
            errors.required(&path().child("mountPath"), "");
        }
        if !places.insert(place) {
            errors.invalid(&path().child("mountPath"), place, "must be unique");
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            errors.invalid(&path().child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| text(device, "devicePath") == place) {
            errors.invalid(
                &path().child("mountPath"),
                place,
                "must not already exist as a path in volumeDevices",
            );
        }
        let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub.is_empty() {
            descending_path(sub, || list_path.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                errors.invalid(
                    &path().child("subPathExpr"),
                    expression,
                    "subPathExpr and subPath are mutually exclusive",
                );
            }
            descending_path(expression, || list_path.child("subPathExpr"), errors);
        }
        propagation(mount, container, &list_path, errors);
    }
}

fn propagation(mount: &Value, container: &Value, path: &Path, errors: &mut ErrorList) {
    let mode = field(mount, "mountPropagation").as_str();
    if let Some(mode) = mode {
        let own = || path.child("mountPropagation");
        if !matches!(mode, "Bidirectional" | "HostToContainer" | "None") {
            errors.not_supported(&own(), mode, &["Bidirectional", "HostToContainer", "None"]);
        }
        if mode == "Bidirectional" && !is_true(field(container, "securityContext"), "privileged") {
            errors.forbidden(
                &own(),
                "Bidirectional mount propagation is available only to privileged containers",
            );
        }
    }
    match field(mount, "recursiveReadOnly").as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            let own = || path.child("recursiveReadOnly");
            if !is_true(mount, "readOnly") {
                errors.forbidden(&own(), "may only be specified when readOnly is true");
            }
            if mode.is_some_and(|mode| mode != "None") {
                errors.forbidden(
                    &own(),
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
        Some(other) => errors.not_supported(
            &path.child("recursiveReadOnly"),
            other,
            &["Disabled", "Enabled", "IfPossible"],
        ),
    }
}

/// `volumeDevices` of a container.
pub fn devices(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let mounts = list(container, "volumeMounts");
    let (mut names, mut places): (HashSet<&str>, HashSet<&str>) = (HashSet::new(), HashSet::new());
    for (i, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.child("volumeDevices").index(i);
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let (name_path, place_path) = (path.child("name"), path.child("devicePath"));
        if name.is_empty() {
            errors.required(&name_path, "");
        } else if !names.insert(name) {
            errors.invalid(&name_path, name, "must be unique");
        }
        match volumes.get(name) {
            None => errors.not_found(&name_path, name),
            Some(volume) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
                errors.invalid(
                    &name_path,
                    name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                );
            }
            Some(_) => {}
        }
        if place.is_empty() {
            errors.required(&place_path, "");
        }
        if places.contains(place) {
            errors.invalid(&place_path, place, "must be unique");
        }
        if climbs(place) {
            errors.invalid(&place_path, place, "can not contain backsteps ('..')");
        } else {
            places.insert(place);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            errors.invalid(&name_path, name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == place) {
            errors.invalid(&place_path, place, "must not already exist as a path in volumeMounts");
        }
    }
}

fn climbs(value: &str) -> bool {
    value.split('/').any(|part| part == "..")
}

/// A relative path that does not climb.
pub fn descending_path(value: &str, path: impl Fn() -> Path, errors: &mut ErrorList) {
    if value.starts_with('/') {
        errors.invalid(&path(), value, "must be a relative path");
    }
    no_backsteps(value, path, errors);
}

/// A path without `..`.
pub fn no_backsteps(value: &str, path: impl Fn() -> Path, errors: &mut ErrorList) {
    if climbs(value) {
        errors.invalid(&path(), value, "must not contain '..'");
    }
}

/// A path below a volume that none of the kubelet's own entries has.
pub fn file_name(value: &str, path: impl Fn() -> Path, errors: &mut ErrorList) {
    descending_path(value, &path, errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.invalid(&path(), value, "must not start with '..'");
    }
}
