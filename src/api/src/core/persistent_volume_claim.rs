//! PersistentVolumeClaim:
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-claim-v1/>.

use super::pod::validation::is_native;
use super::pod_warnings::of_claim_spec;
use crate::columns::{age, name, none};
use crate::diff::diff;
use crate::kind::Kind;
use crate::validation::{
    Errors, immutable, label_selector, one_of, only_new, quantity, quantity_text, text_form,
};
use crate::value::{
    at, copy, default, default_text, ensure_object, entries, equivalent, field, has, list, object_mut,
    remove, same, set, text, text_at, texts,
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

/// The class of a claim or volume before there was a field for it.
pub const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// What is told of it.
pub const BETA_CLASS_WORDS: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";
/// How growing can stand (KEP-1790).
const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

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
        if let Some(spec) = object_mut(object, "spec") {
            prepare_data_sources(spec, &Value::Null);
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        if let Some(spec) = object_mut(object, "spec") {
            prepare_data_sources(spec, field(old, "spec"));
        }
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
        status(field(object, "status"), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if meta::annotation(object, BETA_CLASS).is_some() {
            warnings.push(format!("metadata.annotations[{BETA_CLASS}]: {BETA_CLASS_WORDS}"));
        }
        of_claim_spec(field(object, "spec"), || "spec".to_owned(), &mut warnings);
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("name", meta::name(object).to_owned())]
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

/// What a claim is filled from, of which there are an old and a new field.
fn prepare_data_sources(spec: &mut Value, old: &Value) {
    // CrossNamespaceVolumeDataSource is off.
    if !text_at(spec, &["dataSourceRef", "namespace"]).is_empty() && !has(old, "dataSourceRef") {
        remove(spec, "dataSourceRef");
    }
    // The old field never took but these; anything else was ignored (KEP-1495).
    let known = matches!(
        (text_at(spec, &["dataSource", "apiGroup"]), text_at(spec, &["dataSource", "kind"])),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    );
    if !has(old, "dataSource") && !has(old, "dataSourceRef") && !has(spec, "dataSourceRef") && !known {
        remove(spec, "dataSource");
    }
    normalize_data_sources(spec);
}

/// `dataSource` and `dataSourceRef` say the same (KEP-1495), unless the reference crosses namespaces.
fn normalize_data_sources(spec: &mut Value) {
    if has(spec, "dataSource") && !has(spec, "dataSourceRef") {
        let source = field(spec, "dataSource").clone();
        set(spec, "dataSourceRef", source);
    } else if has(spec, "dataSourceRef")
        && !has(spec, "dataSource")
        && text_at(spec, &["dataSourceRef", "namespace"]).is_empty()
    {
        let mut reference = field(spec, "dataSourceRef").clone();
        remove(&mut reference, "namespace");
        set(spec, "dataSource", reference);
    }
}

/// `accessModes` of a volume or a claim.
pub fn validate_access_modes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (mut alone, mut other) = (false, false);
    for mode in texts(spec, "accessModes") {
        let known = ACCESS_MODES.contains(&mode);
        if !known {
            errors.not_supported(&path.child("accessModes"), mode, &ACCESS_MODES);
        }
        alone |= mode == "ReadWriteOncePod";
        other |= known && mode != "ReadWriteOncePod";
    }
    if alone && other {
        errors.forbidden(&path.child("accessModes"), "may not use ReadWriteOncePod with other access modes");
    }
}

/// The rules of a claim's spec at `path`.
pub fn validate_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if list(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    label_selector(spec, "selector", path, errors);
    validate_access_modes(spec, path, errors);
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
    for name in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.get(name) {
            data_source(source, &path.child(name), errors);
        }
    }
    if let (Some(source), Some(reference)) = (spec.get("dataSource"), spec.get("dataSourceRef")) {
        let same =
            ["apiGroup", "kind", "name"].iter().all(|name| same(field(source, name), field(reference, name)));
        if !text(reference, "namespace").is_empty() {
            errors.invalid(path, json!({}), "may not be specified when dataSourceRef.namespace is specified");
        } else if !same {
            errors.invalid(path, json!({}), "must match dataSourceRef");
        }
    }
    text_form(spec, "volumeAttributesClassName", path, forms::dns1123_subdomain, errors);
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
    text_form(source, "apiGroup", path, forms::dns1123_subdomain, errors);
    text_form(source, "namespace", path, forms::dns1123_label, errors);
}

fn validate_update(kind: &PersistentVolumeClaim, object: &Value, old: &Value) -> ErrorList {
    let mut errors = only_new(kind.validate(object), || kind.validate(old));
    let path = Path::new("spec");
    let (spec, old_spec) = (field(object, "spec"), field(old, "spec"));
    let bound = text_at(old, &["status", "phase"]) == "Bound";
    let (mut munged, mut before) = (spec.clone(), old_spec.clone());
    normalize_data_sources(&mut before);
    // The claim's controller names the volume.
    if text(old_spec, "volumeName").is_empty() {
        copy(&mut munged, old_spec, "volumeName");
    }
    class_update(&mut munged, object, old, &mut errors);
    if bound {
        if let Some(requests) = crate::value::at_mut(&mut munged, &["resources", "requests"]) {
            copy(requests, at(old_spec, &["resources", "requests"]), "storage");
        }
        copy(&mut munged, old_spec, "volumeAttributesClassName");
    }
    if !equivalent(&munged, &before) {
        errors.forbidden(
            &path,
            format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                diff(&before, &munged)
            ),
        );
    }
    let size = |spec: &Value| quantity(at(spec, &["resources", "requests", "storage"]));
    let granted = quantity(at(old, &["status", "capacity", "storage"]));
    // Down to what is there already: a way back from growing that failed (KEP-1790).
    if let (Some(new), Some(old), Some(granted)) = (size(spec), size(old_spec), granted)
        && new < old
        && new <= granted
    {
        errors.forbidden(
            &path.child("resources").child("requests").child("storage"),
            "field can not be less than status.capacity",
        );
    }
    immutable(spec, old_spec, "volumeMode", &Path::default(), &mut errors);
    const CLASS: &str = "volumeAttributesClassName";
    if has(field(old, "status"), "currentVolumeAttributesClassName")
        && field(spec, CLASS) != field(old_spec, CLASS)
    {
        let words = match field(spec, CLASS).as_str() {
            None => "nil",
            Some("") => "empty string",
            Some(_) => return errors,
        };
        errors.forbidden(
            &path.child(CLASS),
            format!("update to {words} is forbidden when status.currentVolumeAttributesClassName is not nil"),
        );
    }
    errors
}

/// The class may be set where there was none, in either of the two places where it can stand.
fn class_update(munged: &mut Value, object: &Value, old: &Value, errors: &mut ErrorList) {
    let (new_note, old_note) = (meta::annotation(object, BETA_CLASS), meta::annotation(old, BETA_CLASS));
    let (new, before) = (at(object, &["spec", "storageClassName"]), at(old, &["spec", "storageClassName"]));
    let upgraded = old_note.is_some()
        && before.is_null()
        && new.as_str() == old_note
        && (new_note.is_none() || new_note == old_note);
    if upgraded {
        remove(munged, "storageClassName");
        return;
    }
    if new_note.unwrap_or("") != old_note.unwrap_or("") {
        errors.invalid(
            &Path::new("metadata").child("annotations").child(BETA_CLASS),
            new_note.unwrap_or(""),
            "field is immutable",
        );
    }
    if !new.is_null() && before.is_null() && old_note.is_none_or(|note| new.as_str() == Some(note)) {
        remove(munged, "storageClassName");
    }
}

fn status(status: &Value, errors: &mut ErrorList) {
    let path = Path::new("status");
    let negative = |map: &str, name: &str, amount: &Value, errors: &mut ErrorList| {
        if quantity(amount).is_some_and(|amount| amount.sign() < 0) {
            errors.invalid(
                &path.child(map).key(name),
                quantity_text(amount).as_ref(),
                "must be a valid resource quantity",
            );
        }
    };
    for (name, amount) in entries(status, "capacity") {
        negative("capacity", name, amount, errors);
    }
    for (name, state) in entries(status, "allocatedResourceStatuses") {
        let own = path.child("allocatedResourceStatuses");
        resource_key(name, &own, errors);
        if !state.as_str().is_some_and(|state| RESIZE_STATES.contains(&state)) {
            errors.not_supported(&own, name, &RESIZE_STATES);
        }
    }
    for (name, amount) in entries(status, "allocatedResources") {
        resource_key(name, &path.child("allocatedResources"), errors);
        negative("allocatedResources", name, amount, errors);
    }
}

/// Of Kubernetes' own resources, a claim has storage only.
fn resource_key(name: &str, path: &Path, errors: &mut ErrorList) {
    let messages = forms::qualified_name(name);
    if messages.is_empty() && is_native(name) && name != "storage" {
        errors.not_supported(path, name, &["storage"]);
    }
    errors.check_at(path, name, messages);
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

    fn told(new: &Value, old: &Value) -> Vec<String> {
        PersistentVolumeClaim.validate_update(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_class_can_be_set_where_there_was_none() {
        let old = claim("1Gi");
        let mut new = old.clone();
        new["spec"]["storageClassName"] = json!("fast");
        new["spec"]["volumeName"] = json!("v");
        assert!(told(&new, &old).is_empty());
        let mut other = new.clone();
        other["spec"]["storageClassName"] = json!("slow");
        assert!(
            told(&other, &new)[0].starts_with("spec: Forbidden: spec is immutable after creation except")
        );
        let mut noted = old.clone();
        noted["metadata"]["annotations"] = json!({BETA_CLASS: "fast"});
        assert!(told(&new, &noted).is_empty());
        assert_eq!(
            told(&old, &noted),
            [
                "metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: \"\": field is immutable"
            ]
        );
    }

    #[test]
    fn what_fills_a_claim_is_told_twice() {
        let mut object = claim("1Gi");
        object["spec"]["dataSourceRef"] = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
        PersistentVolumeClaim.prepare_for_create(&mut object);
        assert_eq!(object["spec"]["dataSource"], object["spec"]["dataSourceRef"]);
        assert!(PersistentVolumeClaim.validate(&object).is_empty());
        let mut ignored = claim("1Gi");
        ignored["spec"]["dataSource"] = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
        PersistentVolumeClaim.prepare_for_create(&mut ignored);
        assert!(!has(&ignored["spec"], "dataSource") && !has(&ignored["spec"], "dataSourceRef"));
        object["spec"]["dataSource"]["name"] = json!("m");
        let errors = PersistentVolumeClaim.validate(&object);
        assert_eq!(errors[0].to_string(), "spec: Invalid value: {}: must match dataSourceRef");
    }

    #[test]
    fn the_state_of_growing_is_a_known_one() {
        let object = json!({"status": {
            "capacity": {"storage": "-1"}, "allocatedResourceStatuses": {"storage": "Odd", "cpu": "NodeResizePending"},
        }});
        let found: Vec<String> = PersistentVolumeClaim
            .validate_status_update(&object, &object)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "status.capacity[storage]: Invalid value: \"-1\": must be a valid resource quantity",
                "status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: \"storage\"",
                "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
            ]
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
