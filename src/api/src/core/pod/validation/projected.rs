//! Files in volumes: from ConfigMaps, Secrets, the pod's own fields, and all of them together.

use super::env::{resource_field_ref, volume_field_ref};
use super::volumes::file_name;
use crate::certificates::{signer_name, trust_bundle_name};
use crate::validation::{Errors, label_selector, required_text};
use crate::value::{field, has, int, list, text};
use apimachinery::field::{ErrorList, Path};
use serde_json::Value;
use std::collections::HashSet;

const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
/// The least and most that a projected token may live, in seconds.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);

fn mode(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = int(object, name)
        && !(0..=0o777).contains(&mode)
    {
        errors.invalid(&path.child(name), mode, MODE_RANGE);
    }
}

/// `defaultMode` of a volume of files.
pub fn default_mode(source: &Value, path: &Path, errors: &mut ErrorList) {
    mode(source, "defaultMode", path, errors);
}

/// `items` of what comes from a ConfigMap or a Secret.
pub fn items(source: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items").index(i);
        required_text(item, "key", &path, errors);
        required_text(item, "path", &path, errors);
        file_name(text(item, "path"), || path.child("path"), errors);
        mode(item, "mode", &path, errors);
    }
}

/// `items` of what comes from the pod itself. The errors stand at the source, without an index.
pub fn downward_items(source: &Value, path: &Path, errors: &mut ErrorList) {
    for item in list(source, "items") {
        required_text(item, "path", path, errors);
        file_name(text(item, "path"), || path.child("path"), errors);
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(reference), other) => {
                volume_field_ref(reference, &path.child("fieldRef"), errors);
                if other.is_some() {
                    errors.invalid(
                        path,
                        "resource",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (None, Some(reference)) => {
                resource_field_ref(reference, true, &path.child("resourceFieldRef"), errors);
            }
            (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", path, errors);
    }
}

/// A `projected` volume at `path`.
pub fn validate(source: &Value, path: &Path, errors: &mut ErrorList) {
    default_mode(source, path, errors);
    let mut files = Files { taken: HashSet::new(), path };
    for (i, part) in list(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        for kind in ["secret", "configMap"] {
            if let Some(inner) = part.get(kind) {
                let path = path.child(kind);
                required_text(inner, "name", &path, errors);
                items(inner, &path, errors);
                for item in list(inner, "items") {
                    files.take(text(item, "path"), text(inner, "name"), errors);
                }
            }
        }
        if let Some(inner) = part.get("downwardAPI") {
            downward_items(inner, &path.child("downwardAPI"), errors);
            for item in list(inner, "items") {
                files.take(text(item, "path"), text(item, "path"), errors);
            }
        }
        if let Some(inner) = part.get("serviceAccountToken") {
            token(inner, &path.child("serviceAccountToken"), files.path, errors);
        }
        if let Some(inner) = part.get("clusterTrustBundle") {
            trust_bundle(inner, &path.child("clusterTrustBundle"), errors);
            files.take(text(inner, "path"), text(inner, "path"), errors);
        }
        if let Some(inner) = part.get("podCertificate") {
            certificate(inner, &path.child("podCertificate"), &mut files, errors);
        }
        if part.as_object().is_some_and(|kinds| kinds.len() > 1) {
            errors.forbidden(&path, "may not specify more than 1 volume type per source");
        }
    }
}

/// The files of a projected volume, each of which comes from one source.
struct Files<'a> {
    taken: HashSet<&'a str>,
    path: &'a Path,
}

impl<'a> Files<'a> {
    fn take(&mut self, file: &'a str, shown: &str, errors: &mut ErrorList) {
        if !file.is_empty() && !self.taken.insert(file) {
            errors.invalid(self.path, shown, "conflicting duplicate paths");
        }
    }
}

fn token(source: &Value, path: &Path, volume: &Path, errors: &mut ErrorList) {
    let own = || path.child("expirationSeconds");
    match int(source, "expirationSeconds") {
        None => errors.required(&own(), ""),
        Some(seconds) if seconds < TOKEN_SECONDS.0 => {
            errors.invalid(&own(), seconds, "may not specify a duration less than 10 minutes");
        }
        Some(seconds) if seconds > TOKEN_SECONDS.1 => {
            errors.invalid(&own(), seconds, "may not specify a duration larger than 2^32 seconds");
        }
        Some(_) => {}
    }
    if required_text(source, "path", volume, errors) {
        file_name(text(source, "path"), || volume.child("path"), errors);
    }
}

/// Certificates of a ClusterTrustBundle (KEP-3257).
fn trust_bundle(source: &Value, path: &Path, errors: &mut ErrorList) {
    let (name, signer) = (field(source, "name").as_str(), field(source, "signerName").as_str());
    match (name, signer) {
        (Some(_), Some(_)) => {
            errors.invalid(path, source.clone(), "only one of name and signerName may be used");
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.required(&path.child("name"), "must be a valid object name");
            }
            // With two colons, what is before the second is the signer.
            let parts: Vec<&str> = name.split(':').collect();
            let signer = match parts.as_slice() {
                [domain, path, _] => format!("{domain}/{path}"),
                _ => String::new(),
            };
            for message in trust_bundle_name(name, &signer) {
                errors.invalid(
                    &path.child("name"),
                    name,
                    format!("not a valid clustertrustbundlename: {message}"),
                );
            }
            if has(source, "labelSelector") {
                errors.invalid(
                    &path.child("labelSelector"),
                    field(source, "labelSelector").clone(),
                    "labelSelector must be unset if name is specified",
                );
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.required(&path.child("signerName"), "must be a valid signer name");
            }
            signer_name(signer, &path.child("signerName"), errors);
            label_selector(source, "labelSelector", path, errors);
        }
        (None, None) => errors.required(path, "either name or signerName must be specified"),
    }
    required_text(source, "path", path, errors);
    file_name(text(source, "path"), || path.child("path"), errors);
}

/// A certificate for the pod (KEP-4317).
fn certificate<'a>(source: &'a Value, path: &Path, files: &mut Files<'a>, errors: &mut ErrorList) {
    const KEYS: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    /// The least that a certificate lives, in seconds.
    const LEAST: i64 = 3600;
    signer_name(text(source, "signerName"), &path.child("signerName"), errors);
    if !KEYS.contains(&text(source, "keyType")) {
        errors.not_supported(&path.child("keyType"), text(source, "keyType"), &KEYS);
    }
    if let Some(seconds) = int(source, "maxExpirationSeconds") {
        let most = crate::certificates::most_seconds(text(source, "signerName"));
        if seconds < LEAST {
            errors.invalid(
                &path.child("maxExpirationSeconds"),
                seconds,
                format!("if provided, maxExpirationSeconds must be >= {LEAST}"),
            );
        }
        if seconds > most {
            errors.invalid(
                &path.child("maxExpirationSeconds"),
                seconds,
                format!("if provided, maxExpirationSeconds must be <= {most}"),
            );
        }
    }
    let mut any = false;
    for name in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(source, name);
        if !file.is_empty() {
            any = true;
            file_name(file, || path.child(name), errors);
            files.take(file, file, errors);
        }
    }
    if !any {
        errors.required(
            path,
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
        );
    }
}
