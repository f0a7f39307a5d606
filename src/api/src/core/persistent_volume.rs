//! PersistentVolume:
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-v1/>.

use super::persistent_volume_claim::{
    BETA_CLASS, BETA_CLASS_WORDS, VOLUME_MODES, access_modes, unset, validate_access_modes,
};
use super::pod::defaults::network_volume;
use super::pod::validation::{Holder, exactly_one, node_selector};
use super::pod_warnings::of_node_selector_term;
use crate::columns::{age, name, none};
use crate::diff::diff;
use crate::kind::Kind;
use crate::validation::{Errors, immutable, one_of, only_new, quantity, quantity_text, text_form};
use crate::value::{
    at, copy, default, default_text, entries, equivalent, field, has, is_empty, list, object_mut, remove,
    same, set, text, text_at,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Sources of a volume, in the order in which they are looked at.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
/// Sources that are on their way out, as the warnings name them.
const OLD_SOURCES: [(&str, &str, &str); 6] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
/// Labels of nodes whose old names may give way to the new ones.
const NEW_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const INLINE: &str = "may not be specified in the context of inline volumes";
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
        validate_spec(field(object, "spec"), meta::name(object), false, &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = only_new(self.validate(object), || self.validate(old));
        let (path, spec, old_spec) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
        let (mut new_source, old_source) = (source(spec), source(old_spec));
        // A secret for growing may be added later.
        let added = |name: &str| {
            at(&new_source, &["csi", name]).is_object() && at(&old_source, &["csi", name]).is_null()
        };
        if has(&old_source, "csi")
            && added("controllerExpandSecretRef")
            && let Some(csi) = object_mut(&mut new_source, "csi")
        {
            remove(csi, "controllerExpandSecretRef");
        }
        if !equivalent(&new_source, &old_source) {
            errors.forbidden(
                &path.child("persistentvolumesource"),
                format!(
                    "spec.persistentvolumesource is immutable after creation\n{}",
                    diff(&old_source, &new_source)
                ),
            );
        }
        immutable(spec, old_spec, "volumeMode", &Path::default(), &mut errors);
        let (nodes, old_nodes) = (field(spec, "nodeAffinity"), field(old_spec, "nodeAffinity"));
        if !old_nodes.is_null() && !same_nodes(nodes, old_nodes) {
            errors.invalid(
                &Path::new("nodeAffinity"),
                nodes.clone(),
                "field is immutable, except for updating from beta label to GA",
            );
        }
        const CLASS: &str = "volumeAttributesClassName";
        if has(old_spec, CLASS) && !has(spec, CLASS) {
            errors.forbidden(&path.child(CLASS), "update from non-nil value to nil is forbidden");
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(object)
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

/// The source alone.
fn source(spec: &Value) -> Value {
    let given = SOURCES.iter().filter_map(|name| Some(((*name).to_owned(), spec.get(name)?.clone())));
    Value::Object(given.collect())
}

/// Whether two affinities are the same, but for labels of nodes with new names.
fn same_nodes(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(_), Value::Object(_)) if has(old, "operator") => {
            let renamed =
                NEW_LABELS.iter().any(|(was, is)| text(old, "key") == *was && text(new, "key") == *is);
            let mut old = old.clone();
            if renamed {
                copy(&mut old, new, "key");
            }
            equivalent(new, &old)
        }
        (Value::Object(x), Value::Object(y)) => {
            x.keys().chain(y.keys()).all(|name| same_nodes(field(new, name), field(old, name)))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_nodes(x, y))
        }
        _ => same(new, old),
    }
}

fn warnings(object: &Value) -> Vec<String> {
    let spec = field(object, "spec");
    let mut warnings = Vec::new();
    for (key, words) in [
        (BETA_CLASS, BETA_CLASS_WORDS),
        (MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ] {
        if meta::annotation(object, key).is_some() {
            warnings.push(format!("metadata.annotations[{key}]: {words}"));
        }
    }
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let terms = at(spec, &["nodeAffinity", "required"]);
    for (i, term) in list(terms, "nodeSelectorTerms").iter().enumerate() {
        let path = format!("spec.nodeAffinity.required.nodeSelectorTerms[{i}]");
        of_node_selector_term(term, false, &path, &mut warnings);
    }
    for (name, shown, words) in OLD_SOURCES {
        if has(spec, name) {
            warnings.push(format!("spec.{shown}: {words}"));
        }
    }
    let size = at(spec, &["capacity", "storage"]);
    if quantity(size).is_some_and(|size| size.milli_value() % 1000 != 0) {
        warnings.push(format!(
            "spec.capacity[storage]: fractional byte value \"{}\" is invalid, must be an integer",
            quantity_text(size)
        ));
    }
    warnings
}

/// The rules of a volume's spec at `path`. An `inline` one stands in a VolumeAttachment.
pub fn validate_spec(spec: &Value, name: &str, inline: bool, path: &Path, errors: &mut ErrorList) {
    if inline {
        if has(spec, "claimRef") {
            errors.forbidden(&path.child("claimRef"), INLINE);
        }
        if !is_empty(spec, "capacity") {
            errors.forbidden(&path.child("capacity"), INLINE);
        }
        if !has(spec, "csi") {
            errors.required(&path.child("csi"), "has to be specified in the context of inline volumes");
        }
    }
    if list(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    validate_access_modes(spec, path, errors);
    if !inline {
        capacity(spec, path, errors);
    }
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if inline && !matches!(policy, "" | "Retain") {
        errors.forbidden(
            &path.child("persistentVolumeReclaimPolicy"),
            "may only be Retain in the context of inline volumes",
        );
    } else if !inline && !policy.is_empty() {
        one_of(spec, "persistentVolumeReclaimPolicy", path, &RECLAIM, errors);
    }
    if let Some(affinity) = spec.get("nodeAffinity") {
        let path = path.child("nodeAffinity");
        match affinity.get("required") {
            _ if inline => errors.forbidden(&path, INLINE),
            Some(required) => node_selector(required, &path.child("required"), errors),
            None => errors.required(&path.child("required"), "must specify required node constraints"),
        }
    }
    exactly_one(spec, &SOURCES, &Holder::PersistentVolume(name), path, errors);
    if has(spec, "local") && (inline || !has(spec, "nodeAffinity")) {
        errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
    }
    if policy == "Recycle" && is_root(text_at(spec, &["hostPath", "path"])) {
        errors.forbidden(
            &path.child("persistentVolumeReclaimPolicy"),
            "may not be 'recycle' for a hostPath mount of '/'",
        );
    }
    if inline {
        if !text(spec, "storageClassName").is_empty() {
            errors.forbidden(&path.child("storageClassName"), INLINE);
        }
        if !matches!(text(spec, "volumeMode"), "" | "Filesystem") {
            errors.forbidden(
                &path.child("volumeMode"),
                "may not specify volumeMode other than Filesystem in the context of inline volumes",
            );
        }
    } else {
        text_form(spec, "storageClassName", path, forms::dns1123_subdomain, errors);
        one_of(spec, "volumeMode", path, &VOLUME_MODES, errors);
    }
    if let Some(class) = field(spec, "volumeAttributesClassName").as_str() {
        if class.is_empty() {
            errors.required(&path.child("volumeAttributesClassName"), "an empty string is disallowed");
        } else {
            errors.check(path, "volumeAttributesClassName", class, forms::dns1123_subdomain(class));
        }
        if !has(spec, "csi") {
            errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// Whether a path is `/`, however it is written.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "." | ".."))
}

fn capacity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let own = || path.child("capacity");
    if is_empty(spec, "capacity") {
        errors.required(&own(), "");
    }
    if entries(spec, "capacity").count() > 1 || !has(field(spec, "capacity"), "storage") {
        errors.not_supported(&own(), field(spec, "capacity").clone(), &["storage"]);
    }
    for (name, amount) in entries(spec, "capacity") {
        let Some(sign) = quantity(amount).map(|amount| amount.sign()) else { continue };
        let shown = quantity_text(amount);
        if sign < 0 {
            errors.invalid(&own().key(name), shown.as_ref(), "must be a valid resource quantity");
        }
        if sign <= 0 {
            errors.invalid(&own().key(name), shown.as_ref(), "must be greater than zero");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(spec: Value) -> Value {
        let mut all = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        for (name, value) in spec.as_object().unwrap() {
            all[name] = value.clone();
        }
        let mut object = json!({"metadata": {"name": "v"}, "spec": all});
        PersistentVolume.default(&mut object);
        object
    }

    fn told(spec: Value) -> Vec<String> {
        PersistentVolume.validate(&volume(spec)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_source_has_its_rules() {
        assert!(told(json!({"hostPath": {"path": "/x"}})).is_empty());
        assert_eq!(told(json!({})), ["spec: Required value: must specify a volume type"]);
        for (source, words) in [
            (
                json!({"hostPath": {"path": "/a/.."}}),
                "spec.hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
            ),
            (
                json!({"gcePersistentDisk": {"pdName": "p", "partition": 300}}),
                "spec.persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive",
            ),
            (
                json!({"nfs": {"server": "s", "path": "x"}}),
                "spec.nfs.path: Invalid value: \"x\": must be an absolute path",
            ),
            (
                json!({"csi": {"driver": "d", "volumeHandle": "h", "nodePublishSecretRef": {"name": "s"}}}),
                "spec.csi.nodePublishSecretRef.namespace: Required value",
            ),
            (json!({"csi": {"driver": "d"}}), "spec.csi.volumeHandle: Required value"),
            (
                json!({"iscsi": {"targetPortal": "p", "iqn": "iqn.2026-01.com.example:a", "lun": 0, "chapAuthSession": true}}),
                "spec.iscsi.secretRef: Required value",
            ),
            (
                json!({"iscsi": {"targetPortal": "p", "iqn": "eui.123"}}),
                "spec.iscsi.iqn: Invalid value: \"eui.123\": must be valid format",
            ),
            (
                json!({"local": {"path": "/x"}}),
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ),
            (
                json!({"azureDisk": {"diskName": "d", "diskURI": "x", "kind": "Managed"}}),
                "spec.azureDisk.diskURI: Unsupported value: \"x\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
            ),
            (
                json!({"flexVolume": {"driver": "d", "options": {"x.kubernetes.io/a": "b"}}}),
                "spec.flexVolume.options[x.kubernetes.io/a]: Invalid value: \"x.kubernetes.io/a\": kubernetes.io and k8s.io namespaces are reserved",
            ),
            (
                json!({"fc": {"wwids": ["a"], "targetWWNs": ["b"], "lun": 1}}),
                "spec.fc.targetWWNs: Invalid value: [\"b\"]: targetWWNs and wwids can not be specified simultaneously",
            ),
            (
                json!({"quobyte": {"registry": "a", "volume": "v"}}),
                "spec.quobyte.registry: Invalid value: \"a\": must be a host:port pair or multiple pairs separated by commas",
            ),
            (
                json!({"hostPath": {"path": "/./"}, "persistentVolumeReclaimPolicy": "Recycle"}),
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ),
            (
                json!({"hostPath": {"path": "/x"}, "volumeAttributesClassName": "c"}),
                "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
            ),
            (
                json!({"hostPath": {"path": "/x"}, "capacity": {"storage": "0"}}),
                "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            ),
            (
                json!({"hostPath": {"path": "/x"}, "nfs": {"server": "s", "path": "/"}}),
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
            ),
        ] {
            assert_eq!(told(source), [words]);
        }
    }

    #[test]
    fn little_changes_in_a_volume() {
        let terms = |key: &str| {
            json!({"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]},
            ]}})
        };
        let old = volume(json!({
            "csi": {"driver": "d", "volumeHandle": "h"}, "volumeMode": "Block", "volumeAttributesClassName": "c",
            "nodeAffinity": terms("failure-domain.beta.kubernetes.io/zone"),
        }));
        let mut new = old.clone();
        new["spec"]["csi"]["controllerExpandSecretRef"] = json!({"name": "s", "namespace": "n"});
        new["spec"]["nodeAffinity"] = terms("topology.kubernetes.io/zone");
        new["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
        assert!(PersistentVolume.validate_update(&new, &old).is_empty());
        new["spec"]["csi"]["driver"] = json!("e");
        new["spec"]["volumeMode"] = json!("Filesystem");
        new["spec"]["nodeAffinity"] = terms("other");
        remove(&mut new["spec"], "volumeAttributesClassName");
        let found: Vec<String> =
            PersistentVolume.validate_update(&new, &old).iter().map(|e| e.field.clone()).collect();
        assert_eq!(
            found,
            ["spec.persistentvolumesource", "volumeMode", "nodeAffinity", "spec.volumeAttributesClassName"]
        );
    }

    #[test]
    fn what_is_deprecated_is_told() {
        let mut object = volume(json!({"rbd": {}, "persistentVolumeReclaimPolicy": "Recycle"}));
        object["metadata"]["annotations"] = json!({"volume.beta.kubernetes.io/mount-options": "x"});
        assert_eq!(
            PersistentVolume.warnings(&object),
            [
                "metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use \"mountOptions\" attribute instead",
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            ]
        );
    }
}
