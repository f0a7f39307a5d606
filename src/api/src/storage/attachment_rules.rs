//! What is wrong with a VolumeAttachment.

use crate::validation::{Errors, csi_driver_name};
use crate::value::{entries, field, has, is_empty, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// What a driver may say of an attached volume, all keys and values together.
const METADATA_MAX_BYTES: usize = 256 * 1024;
/// The longest message of an error.
const MESSAGE_MAX_BYTES: usize = 1024;
const INLINE: &str = "may not be specified in the context of inline volumes";

/// What is wrong with a spec.
pub fn spec(spec: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    csi_driver_name(spec, "attacher", &path, errors);
    source(field(spec, "source"), &path.child("source"), errors);
    let node = text(spec, "nodeName");
    errors.check(&path, "nodeName", node, forms::dns1123_subdomain(node));
}

fn source(source: &Value, path: &Path, errors: &mut ErrorList) {
    const EXACTLY_ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (has(source, "inlineVolumeSpec"), field(source, "persistentVolumeName").as_str()) {
        (false, None) => errors.required(path, EXACTLY_ONE),
        (true, Some(_)) => errors.forbidden(path, EXACTLY_ONE),
        (false, Some("")) => {
            errors
                .required(&path.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (false, Some(volume)) => {
            errors.check(path, "persistentVolumeName", volume, forms::dns1123_subdomain(volume));
        }
        (true, None) => inline(field(source, "inlineVolumeSpec"), &path.child("inlineVolumeSpec"), errors),
    }
}

/// The spec of a volume that has no object: of a CSI driver, bound to nothing.
fn inline(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["claimRef", "capacity", "storageClassName", "nodeAffinity"] {
        if !is_empty(spec, name) {
            errors.forbidden(&path.child(name), INLINE);
        }
    }
    if list(spec, "accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    if !matches!(text(spec, "persistentVolumeReclaimPolicy"), "" | "Retain") {
        errors.forbidden(
            &path.child("persistentVolumeReclaimPolicy"),
            "may only be Retain in the context of inline volumes",
        );
    }
    let driver = field(spec, "csi");
    if driver.is_null() {
        return errors.required(&path.child("csi"), "has to be specified in the context of inline volumes");
    }
    let path = path.child("csi");
    csi_driver_name(driver, "driver", &path, errors);
    if text(driver, "volumeHandle").is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
}

/// What is wrong with a status.
pub fn status(status: &Value, errors: &mut ErrorList) {
    let path = Path::new("status");
    let bytes: usize = entries(status, "attachmentMetadata")
        .map(|(key, value)| key.len() + value.as_str().unwrap_or("").len())
        .sum();
    if bytes > METADATA_MAX_BYTES {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), METADATA_MAX_BYTES));
    }
    for name in ["attachError", "detachError"] {
        let error = field(status, name);
        if text(error, "message").len() > MESSAGE_MAX_BYTES {
            errors.push(FieldError::too_long(&path.child(name).child("message"), MESSAGE_MAX_BYTES));
        }
        if let Some(code) = field(error, "errorCode").as_i64()
            && code < 0
        {
            errors.invalid(
                &path.child(name).child("errorCode"),
                code,
                "must be between 0 and 2147483647, inclusive",
            );
        }
    }
}
