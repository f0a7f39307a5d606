//! PersistentVolumeClaim:
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-claim-v1/>.

use crate::columns::{age, name, none};
use crate::diff::diff;
use crate::kind::Kind;
use crate::validation::{Errors, label_selector, one_of, quantity, quantity_text, text_form};
use crate::value::{
    at, copy, default, default_text, ensure_object, entries, equivalent, field, has, is_empty, list,
    object_mut, remove, same, set, text, text_at, texts,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How a volume can be mounted.
pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// What a volume looks like in a container.
pub const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// The kind.
#[derive(Debug)]
pub struct PersistentVolumeClaim;

impl Kind for PersistentVolumeClaim {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "PersistentVolumeClaim")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["pvc"]
    }

    fn default(&self, object: &mut Value) {
        default_claim(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        set(object, "status", json!({"phase": "Pending"}));
        normalize_data_sources(object);
    }

    fn prepare_for_update(&self, object: &mut Value, _old: &Value) {
        normalize_data_sources(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(field(object, "spec"), &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        validate_update(self, object, old)
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let status = field(object, "status");
        one_of(status, "phase", &path, &["Bound", "Lost", "Pending"], &mut errors);
        for (name, amount) in entries(status, "capacity") {
            crate::validation::non_negative_quantity(amount, &path.child("capacity").key(name), &mut errors);
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Status"),
            Column::new("Volume"),
            Column::new("Capacity"),
            Column::new("Access Modes"),
            Column::new("StorageClass").describe("StorageClass of the pvc"),
            Column::new("VolumeAttributesClass").describe("VolumeAttributesClass of the pvc"),
            Column::age(),
            Column::new("VolumeMode").wide(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let phase = if meta::is_terminating(object) { "Terminating" } else { text(status, "phase") };
        let volume = text(spec, "volumeName");
        let (capacity, modes) = if volume.is_empty() {
            (String::new(), String::new())
        } else {
            (text_at(status, &["capacity", "storage"]).to_owned(), access_modes(status))
        };
        let class = meta::annotation(object, "volume.beta.kubernetes.io/storage-class")
            .unwrap_or_else(|| text(spec, "storageClassName"));
        let mode = text(spec, "volumeMode");
        vec![
            name(object),
            Value::from(phase),
            Value::from(volume),
            Value::from(capacity),
            Value::from(modes),
            Value::from(class),
            unset(text(spec, "volumeAttributesClassName")),
            age(object, now),
            if mode.is_empty() { none() } else { Value::from(mode) },
        ]
    }
}

/// What the tables of volumes and claims show for an attributes class that is not set.
pub fn unset(value: &str) -> Value {
    Value::from(if value.is_empty() { "<unset>" } else { value })
}

/// Access modes in their short forms, in a fixed order: `RWO,ROX,RWX,RWOP`.
pub fn access_modes(object: &Value) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let given = short.iter().filter(|(mode, _)| texts(object, "accessModes").any(|m| m == *mode));
    crate::columns::joined(given.map(|(_, short)| *short))
}

/// Defaults of a claim, also of those in a StatefulSet's templates.
pub fn default_claim(object: &mut Value) {
    if let Some(spec) = object_mut(object, "spec") {
        default(spec, "volumeMode", "Filesystem");
        ensure_object(spec, "resources");
    }
    if let Some(status) = ensure_object(object, "status") {
        default_text(status, "phase", "Pending");
    }
}

/// `dataSource` and `dataSourceRef` say the same (KEP-1495), unless the reference crosses namespaces.
fn normalize_data_sources(object: &mut Value) {
    let Some(spec) = object_mut(object, "spec") else { return };
    if has(spec, "dataSource") && !has(spec, "dataSourceRef") {
        let source = field(spec, "dataSource").clone();
        set(spec, "dataSourceRef", source);
    } else if has(spec, "dataSourceRef") && !has(spec, "dataSource") {
        let reference = field(spec, "dataSourceRef").clone();
        let known = matches!(
            (text(&reference, "apiGroup"), text(&reference, "kind")),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        );
        if known && text(&reference, "namespace").is_empty() {
            set(spec, "dataSource", reference);
        }
    }
}

/// The rules of a claim's spec at `path`.
pub fn validate_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    label_selector(spec, "selector", path, errors);
    for mode in texts(spec, "accessModes") {
        if !ACCESS_MODES.contains(&mode) {
            errors.not_supported(&path.child("accessModes"), mode, &ACCESS_MODES);
        }
    }
    if texts(spec, "accessModes").any(|m| m == "ReadWriteOncePod") && modes.len() > 1 {
        errors.forbidden(&path.child("accessModes"), "may not use ReadWriteOncePod with other access modes");
    }
    let storage = at(spec, &["resources", "requests", "storage"]);
    let own = || path.child("resources").key("storage");
    match quantity(storage) {
        None => errors.required(&own(), ""),
        Some(amount) if amount.sign() <= 0 => {
            errors.invalid(&own(), quantity_text(storage).as_ref(), "must be greater than zero");
        }
        Some(_) => {}
    }
    text_form(spec, "storageClassName", path, forms::dns1123_subdomain, errors);
    one_of(spec, "volumeMode", path, &VOLUME_MODES, errors);
    text_form(spec, "volumeAttributesClassName", path, forms::dns1123_subdomain, errors);
    for name in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.get(name) {
            data_source(source, &path.child(name), errors);
        }
    }
    if has(spec, "dataSource")
        && has(spec, "dataSourceRef")
        && text_at(spec, &["dataSourceRef", "namespace"]).is_empty()
        && !same(field(spec, "dataSource"), field(spec, "dataSourceRef"))
    {
        errors.invalid(path, field(spec, "dataSource").clone(), "must match dataSourceRef");
    }
}

fn data_source(source: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["name", "kind"] {
        if text(source, name).is_empty() {
            errors.required(&path.child(name), "");
        }
    }
    if text(source, "apiGroup").is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
        errors.invalid(
            path,
            text(source, "kind"),
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        );
    }
}

fn validate_update(kind: &PersistentVolumeClaim, object: &Value, old: &Value) -> ErrorList {
    let mut errors = kind.validate(object);
    let path = Path::new("spec");
    let (spec, old_spec) = (field(object, "spec"), field(old, "spec"));
    let bound = text_at(old, &["status", "phase"]) == "Bound";
    let mut munged = spec.clone();
    // The claim's controller names the volume; a user may set a class where there was none.
    if text(old_spec, "volumeName").is_empty() {
        copy(&mut munged, old_spec, "volumeName");
    }
    if is_empty(old_spec, "storageClassName") && !bound {
        copy(&mut munged, old_spec, "storageClassName");
    }
    if is_empty(old_spec, "dataSourceRef") && has(old_spec, "dataSource") {
        remove(&mut munged, "dataSourceRef");
    }
    copy(&mut munged, old_spec, "volumeAttributesClassName");
    if bound && let Some(requests) = crate::value::at_mut(&mut munged, &["resources", "requests"]) {
        copy(requests, at(old_spec, &["resources", "requests"]), "storage");
    }
    if !equivalent(&munged, old_spec) {
        errors.forbidden(
            &path,
            format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                diff(old_spec, &munged)
            ),
        );
    }
    let (new_size, old_size) = (
        quantity(at(spec, &["resources", "requests", "storage"])),
        quantity(at(old_spec, &["resources", "requests", "storage"])),
    );
    let granted = quantity(at(old, &["status", "capacity", "storage"]));
    if let (Some(new), Some(old)) = (new_size, old_size)
        && new < old
        && granted.is_none_or(|granted| new <= granted)
    {
        errors.forbidden(
            &path.child("resources").child("requests").child("storage"),
            "field can not be less than status.capacity",
        );
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(size: &str) -> Value {
        let mut claim = json!({
            "metadata": {"name": "c"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        });
        PersistentVolumeClaim.default(&mut claim);
        claim
    }

    #[test]
    fn a_bound_claim_can_only_grow() {
        let mut old = claim("1Gi");
        old["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        assert!(PersistentVolumeClaim.validate_update(&claim("2Gi"), &old).is_empty());
        let errors = PersistentVolumeClaim.validate_update(&claim("512Mi"), &old);
        assert_eq!(
            errors[0].to_string(),
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
        );
    }

    #[test]
    fn modes_and_size_are_required() {
        let errors: Vec<String> =
            PersistentVolumeClaim.validate(&json!({"spec": {}})).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value"
            ]
        );
    }
}
