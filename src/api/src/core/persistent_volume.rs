//! PersistentVolume:
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-v1/>.

use super::persistent_volume_claim::{ACCESS_MODES, VOLUME_MODES, access_modes, unset};
use super::pod::defaults::network_volume;
use super::pod::validation::{cross_check_source, node_selector, volume_source_count};
use crate::columns::{age, name, none};
use crate::diff::diff;
use crate::kind::Kind;
use crate::validation::{Errors, immutable, one_of, quantity, quantity_text, text_form};
use crate::value::{
    at, copy, default, default_text, entries, field, has, is_empty, list, object_mut, remove, set, text,
    text_at, texts,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Fields of the spec that are no volume source.
const OTHER_FIELDS: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];
const RECLAIM: [&str; 3] = ["Delete", "Recycle", "Retain"];

/// The kind.
#[derive(Debug)]
pub struct PersistentVolume;

impl Kind for PersistentVolume {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "PersistentVolume")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["pv"]
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = object_mut(object, "spec") {
            default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            default(spec, "volumeMode", "Filesystem");
            if let Some(host) = object_mut(spec, "hostPath") {
                default(host, "type", "");
            }
            network_volume(spec);
        }
        if let Some(status) = object_mut(object, "status") {
            default_text(status, "phase", "Pending");
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        set(object, "status", json!({"phase": "Pending"}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(field(object, "spec"), &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (path, spec, old_spec) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
        let source = |spec: &Value| {
            let mut source = spec.clone();
            for name in OTHER_FIELDS {
                remove(&mut source, name);
            }
            source
        };
        let (new_source, old_source) = (source(spec), source(old_spec));
        if new_source != old_source && !only_secrets_of_csi(&new_source, &old_source) {
            errors.forbidden(
                &path.child("persistentvolumesource"),
                format!(
                    "spec.persistentvolumesource is immutable after creation\n{}",
                    diff(&old_source, &new_source)
                ),
            );
        }
        immutable(spec, old_spec, "volumeMode", &path, &mut errors);
        if !is_empty(old_spec, "nodeAffinity") {
            immutable(spec, old_spec, "nodeAffinity", &path, &mut errors);
        }
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("name", meta::name(object).to_owned())]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Capacity"),
            Column::new("Access Modes"),
            Column::new("Reclaim Policy"),
            Column::new("Status"),
            Column::new("Claim"),
            Column::new("StorageClass").describe("StorageClass of the pv"),
            Column::new("VolumeAttributesClass").describe("VolumeAttributesClass of the pv"),
            Column::new("Reason"),
            Column::age(),
            Column::new("VolumeMode").wide(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let claim = field(spec, "claimRef");
        let claim = if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
        };
        let phase = if meta::is_terminating(object) { "Terminating" } else { text(status, "phase") };
        let class = meta::annotation(object, "volume.beta.kubernetes.io/storage-class")
            .unwrap_or_else(|| text(spec, "storageClassName"));
        let mode = text(spec, "volumeMode");
        vec![
            name(object),
            Value::from(text_at(spec, &["capacity", "storage"])),
            Value::from(access_modes(spec)),
            Value::from(text(spec, "persistentVolumeReclaimPolicy")),
            Value::from(phase),
            Value::from(claim),
            Value::from(class),
            unset(text(spec, "volumeAttributesClassName")),
            Value::from(text(status, "reason")),
            age(object, now),
            if mode.is_empty() { none() } else { Value::from(mode) },
        ]
    }
}

/// A driver's references to secrets may be added later.
fn only_secrets_of_csi(new: &Value, old: &Value) -> bool {
    let (Some(new_csi), Some(old_csi)) = (new.get("csi"), old.get("csi")) else { return false };
    let mut munged = new_csi.clone();
    for name in ["controllerExpandSecretRef", "nodeExpandSecretRef"] {
        if !has(old_csi, name) {
            copy(&mut munged, old_csi, name);
        }
    }
    munged == *old_csi
}

fn validate_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if list(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    for mode in texts(spec, "accessModes").filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(&path.child("accessModes"), mode, &ACCESS_MODES);
    }
    let modes = list(spec, "accessModes");
    if modes.len() > 1 && texts(spec, "accessModes").any(|m| m == "ReadWriteOncePod") {
        errors.forbidden(&path.child("accessModes"), "may not use ReadWriteOncePod with other access modes");
    }
    if is_empty(spec, "capacity") {
        errors.required(&path.child("capacity"), "");
    } else if entries(spec, "capacity").any(|(name, _)| name != "storage") {
        errors.not_supported(&path.child("capacity"), field(spec, "capacity").clone(), &["storage"]);
    }
    let size = at(spec, &["capacity", "storage"]);
    if quantity(size).is_some_and(|amount| amount.sign() <= 0) {
        errors.invalid(
            &path.child("capacity").key("storage"),
            quantity_text(size).as_ref(),
            "must be greater than zero",
        );
    }
    one_of(spec, "persistentVolumeReclaimPolicy", path, &RECLAIM, errors);
    volume_source_count(spec, &OTHER_FIELDS, path, errors);
    let mut source = spec.clone();
    for name in OTHER_FIELDS {
        remove(&mut source, name);
    }
    cross_check_source(&source, path, errors);
    if let Some(affinity) = spec.get("nodeAffinity") {
        match affinity.get("required") {
            Some(required) => {
                node_selector(required, &path.child("nodeAffinity").child("required"), errors);
            }
            None => errors.required(
                &path.child("nodeAffinity").child("required"),
                "must specify required node constraints",
            ),
        }
    } else if has(spec, "local") {
        errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
    }
    if text_at(spec, &["hostPath", "path"]) == "/" && text(spec, "persistentVolumeReclaimPolicy") == "Recycle"
    {
        errors.forbidden(
            &path.child("persistentVolumeReclaimPolicy"),
            "may not be 'recycle' for a hostPath mount of '/'",
        );
    }
    text_form(spec, "storageClassName", path, forms::dns1123_subdomain, errors);
    text_form(spec, "volumeAttributesClassName", path, forms::dns1123_subdomain, errors);
    one_of(spec, "volumeMode", path, &VOLUME_MODES, errors);
}
