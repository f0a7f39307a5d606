//! The rules of each volume type, in pods and in persistent volumes.

use super::env::{resource_field_ref, volume_field_ref};
use super::volumes::{descending_path, no_backsteps};
use crate::validation::{
    Errors, non_negative_quantity, one_of, range, required_one_of, required_text, text_form,
};
use crate::value::{field, has, int, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::HashSet;

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
/// The least and most that a projected token may live, in seconds.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);

/// Fields that a source must have. What has more rules is told in [`validate`].
fn required_fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" => &["volumeID"],
        "gitRepo" => &["repository"],
        "nfs" => &["server", "path"],
        "iscsi" => &["targetPortal", "iqn"],
        "glusterfs" => &["endpoints", "path"],
        "persistentVolumeClaim" => &["claimName"],
        "rbd" => &["image"],
        "flexVolume" | "csi" => &["driver"],
        "flocker" => &[],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "vsphereVolume" => &["volumePath"],
        "quobyte" => &["registry", "volume"],
        "portworxVolume" => &["volumeID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "storageos" => &[],
        "hostPath" | "local" => &["path"],
        "image" => &["reference"],
        _ => &[],
    }
}

/// The rules of the source `kind` (`hostPath`, `configMap`, ...), which stands at `path`.
pub fn validate(kind: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    for name in required_fields(kind) {
        required_text(source, name, path, errors);
    }
    match kind {
        "emptyDir" => {
            if let Some(limit) = source.get("sizeLimit") {
                non_negative_quantity(limit, &path.child("sizeLimit"), errors);
            }
            if text(source, "medium").strip_prefix("HugePages").is_none() {
                one_of(source, "medium", path, &["", "HugePages", "Memory"], errors);
            }
        }
        "hostPath" => {
            no_backsteps(text(source, "path"), &path.child("path"), errors);
            one_of(source, "type", path, &HOST_PATH_TYPES, errors);
        }
        "secret" => {
            required_text(source, "secretName", path, errors);
            files(source, path, errors);
        }
        "configMap" => {
            required_text(source, "name", path, errors);
            files(source, path, errors);
        }
        "downwardAPI" => downward_api(source, path, errors),
        "projected" => projected(source, path, errors),
        "nfs" => {
            let file = text(source, "path");
            if !file.is_empty() && !file.starts_with('/') {
                errors.invalid(&path.child("path"), file, "must be an absolute path");
            }
        }
        "iscsi" => {
            range(source, "lun", path, 0, 255, errors);
            let iqn = text(source, "iqn");
            if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|p| iqn.starts_with(p)) {
                errors.invalid(
                    &path.child("iqn"),
                    iqn,
                    "must be valid format starting with iqn, eui, or naa",
                );
            }
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => range(source, "partition", path, 0, 255, errors),
        "gitRepo" => {
            let directory = text(source, "directory");
            if !directory.is_empty() {
                descending_path(directory, &path.child("directory"), errors);
            }
        }
        "rbd" | "cephfs" if list(source, "monitors").is_empty() => {
            errors.required(&path.child("monitors"), "")
        }
        "fc" => fibre_channel(source, path, errors),
        "flocker" => {
            let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
            if name.is_empty() && id.is_empty() {
                errors.required(path, "one of datasetName and datasetUUID is required");
            }
            if !name.is_empty() && !id.is_empty() {
                errors.invalid(
                    path,
                    "resource",
                    "datasetName and datasetUUID can not be specified simultaneously",
                );
            }
        }
        "azureDisk" => {
            one_of(source, "cachingMode", path, &["None", "ReadOnly", "ReadWrite"], errors);
            one_of(source, "kind", path, &["Dedicated", "Managed", "Shared"], errors);
        }
        "csi" => text_form(source, "driver", path, forms::dns1123_subdomain, errors),
        "ephemeral" => match source.get("volumeClaimTemplate") {
            None => errors.required(&path.child("volumeClaimTemplate"), ""),
            Some(template) => {
                let path = path.child("volumeClaimTemplate");
                crate::core::persistent_volume_claim::validate_spec(
                    field(template, "spec"),
                    &path.child("spec"),
                    errors,
                );
            }
        },
        "image" => one_of(source, "pullPolicy", path, &["Always", "IfNotPresent", "Never"], errors),
        _ => {}
    }
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut ErrorList) {
    let (names, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    if names.is_empty() && ids.is_empty() {
        errors.required(&path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() {
        match int(source, "lun") {
            None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            Some(_) => range(source, "lun", path, 0, 255, errors),
        }
    }
}

fn mode(value: &Value, path: impl Fn() -> Path, errors: &mut ErrorList) {
    if let Some(mode) = value.as_i64()
        && !(0..=0o777).contains(&mode)
    {
        errors.invalid(&path(), mode, MODE_RANGE);
    }
}

/// `defaultMode` and `items` of what comes from a ConfigMap or Secret.
fn files(source: &Value, path: &Path, errors: &mut ErrorList) {
    mode(field(source, "defaultMode"), || path.child("defaultMode"), errors);
    for (i, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        required_text(item, "key", &path, errors);
        if required_text(item, "path", &path, errors) {
            file_name(text(item, "path"), &path.child("path"), errors);
        }
        mode(field(item, "mode"), || path.child("mode"), errors);
    }
}

/// A path below the volume that none of the kubelet's own entries has.
fn file_name(value: &str, path: &Path, errors: &mut ErrorList) {
    descending_path(value, path, errors);
    if value.starts_with("..") && !value.starts_with("../") && value != ".." {
        errors.invalid(path, value, "must not start with '..'");
    }
}

fn downward_api(source: &Value, path: &Path, errors: &mut ErrorList) {
    mode(field(source, "defaultMode"), || path.child("defaultMode"), errors);
    for (i, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        if required_text(item, "path", &path, errors) {
            file_name(text(item, "path"), &path.child("path"), errors);
        }
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(reference), other) => {
                volume_field_ref(reference, &path.child("fieldRef"), errors);
                if other.is_some() {
                    errors.invalid(
                        &path,
                        "resource",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (None, Some(reference)) => {
                resource_field_ref(reference, true, &path.child("resourceFieldRef"), errors);
            }
            (None, None) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(field(item, "mode"), || path.child("mode"), errors);
    }
}

fn projected(source: &Value, path: &Path, errors: &mut ErrorList) {
    mode(field(source, "defaultMode"), || path.child("defaultMode"), errors);
    let mut seen: HashSet<String> = HashSet::new();
    for (i, part) in list(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        let mut given = 0;
        for (kind, inner) in part.as_object().into_iter().flatten() {
            let own = path.child(kind);
            given += 1;
            if given > 1 {
                errors.forbidden(&own, "may not specify more than 1 volume type per source");
                continue;
            }
            projected_source(kind, inner, &own, errors);
            for file in projected_files(kind, inner) {
                if !seen.insert(file.to_owned()) {
                    errors.invalid(&own, file, "conflicting duplicate paths");
                }
            }
        }
        if given == 0 {
            errors.required(&path, "must specify at least one of volumes sources");
        }
    }
}

fn projected_files<'a>(kind: &str, source: &'a Value) -> Vec<&'a str> {
    match kind {
        "serviceAccountToken" | "clusterTrustBundle" => vec![text(source, "path")],
        _ => list(source, "items").iter().map(|item| text(item, "path")).collect(),
    }
}

fn projected_source(kind: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    match kind {
        "secret" | "configMap" => {
            required_text(source, "name", path, errors);
            files(source, path, errors);
        }
        "downwardAPI" => downward_api(source, path, errors),
        "serviceAccountToken" => {
            if let Some(seconds) = int(source, "expirationSeconds") {
                let own = || path.child("expirationSeconds");
                if seconds < TOKEN_SECONDS.0 {
                    errors.invalid(&own(), seconds, "may not specify a duration less than 10 minutes");
                }
                if seconds > TOKEN_SECONDS.1 {
                    errors.invalid(&own(), seconds, "may not specify a duration larger than 2^32 seconds");
                }
            }
            if required_text(source, "path", path, errors) {
                file_name(text(source, "path"), &path.child("path"), errors);
            }
        }
        "clusterTrustBundle" => {
            let (name, signer) = (has(source, "name"), has(source, "signerName"));
            match (name, signer) {
                (true, true) => {
                    errors.invalid(path, source.clone(), "only one of name and signerName may be used")
                }
                (false, false) => errors.required(path, "either name or signerName must be specified"),
                _ => {}
            }
            if required_text(source, "path", path, errors) {
                file_name(text(source, "path"), &path.child("path"), errors);
            }
        }
        "podCertificate" => {
            required_text(source, "signerName", path, errors);
            required_one_of(
                source,
                "keyType",
                path,
                &["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"],
                errors,
            );
        }
        _ => {}
    }
}
