//! Annotations of pods that mean something: mirror pods, deletion costs, and what became fields since.

use super::scheduling::toleration_list;
use super::volumes::descending_path;
use crate::validation::Errors;
use crate::value::{at, entries, field, list, text};
use apimachinery::field::{ErrorList, Path};
use serde_json::Value;

/// Marks the API's copy of a static pod.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The annotations at `path` of a pod or of a template, whose spec is `spec`.
pub fn validate(metadata: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (key, value) in entries(metadata, "annotations") {
        let value = value.as_str().unwrap_or("");
        if key == MIRROR {
            if text(spec, "nodeName").is_empty() {
                errors.invalid(
                    &path.key(key),
                    value,
                    "must set spec.nodeName if mirror pod annotation is set",
                );
            }
        } else if key == TOLERATIONS && !value.is_empty() {
            match serde_json::from_str::<Vec<Value>>(value) {
                Ok(tolerations) => toleration_list(&tolerations, &path.child(key), errors),
                Err(problem) => errors.invalid(path, key, problem.to_string()),
            }
        } else if key == DELETION_COST {
            if !is_int32(value) {
                errors.invalid(&path.key(key), value, "must be a 32bit integer");
            }
        } else if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp_profile(value, || path.child(key), errors);
        } else if let Some(container) = key.strip_prefix(APPARMOR) {
            let found =
                LISTS.iter().any(|lists| list(spec, lists).iter().any(|c| text(c, "name") == container));
            if !found {
                errors.invalid(&path.key(key), container, "container not found");
            }
            if !matches!(value, "" | "runtime/default" | "unconfined") && !value.starts_with("localhost/") {
                errors.invalid(&path.key(key), value, format!("invalid AppArmor profile name: \"{value}\""));
            }
        }
    }
}

/// A number of 32 bits without plus or leading zeros.
fn is_int32(text: &str) -> bool {
    !text.starts_with('+') && (!text.starts_with('0') || text == "0") && text.parse::<i32>().is_ok()
}

fn seccomp_profile(profile: &str, path: impl Fn() -> Path, errors: &mut ErrorList) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => descending_path(file, path, errors),
        None => errors.invalid(&path(), profile, "must be a valid seccomp profile"),
    }
}

/// Annotations say what the fields say, where there are both. For new pods and for templates.
pub fn match_fields(metadata: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let annotations = field(metadata, "annotations");
    if annotations.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let pod = field(spec, "securityContext");
    let annotation = |key: &str| annotations.get(key).and_then(Value::as_str);
    if let (Some(profile), Some(annotation)) = (pod.get("seccompProfile"), annotation(SECCOMP_POD)) {
        let path = path.child("securityContext").child("seccompProfile");
        same_profile(annotation, profile, "seccomp", &path, errors);
    }
    let windows = text(field(spec, "os"), "name") == "windows";
    for lists in LISTS {
        for (i, container) in list(spec, lists).iter().enumerate() {
            let (name, own) = (text(container, "name"), field(container, "securityContext"));
            let path = || path.child(lists).index(i).child("securityContext");
            if let Some(profile) = own.get("seccompProfile")
                && let Some(annotation) = annotation(&format!("{SECCOMP_CONTAINER}{name}"))
            {
                same_profile(annotation, profile, "seccomp", &path().child("seccompProfile"), errors);
            }
            let profile = own.get("appArmorProfile").or_else(|| pod.get("appArmorProfile"));
            if let Some(profile) = profile.filter(|_| !windows)
                && let Some(annotation) = annotation(&format!("{APPARMOR}{name}"))
            {
                same_profile(annotation, profile, "apparmor", &path().child("appArmorProfile"), errors);
            }
        }
    }
}

fn same_profile(annotation: &str, profile: &Value, words: &str, path: &Path, errors: &mut ErrorList) {
    let same_type = match text(profile, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => {
            annotation == "runtime/default" || (words == "seccomp" && annotation == "docker/default")
        }
        "Localhost" => annotation.starts_with("localhost/"),
        _ => return,
    };
    if !same_type {
        errors.forbidden(&path.child("type"), format!("{words} type in annotation and field must match"));
    } else if let Some(file) = annotation.strip_prefix("localhost/")
        && field(profile, "localhostProfile").as_str() != Some(file)
    {
        errors.forbidden(
            &path.child("localhostProfile"),
            format!("{words} profile in annotation and field must match"),
        );
    }
}

/// What may not change in the annotations of a pod.
pub fn update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let path = || Path::new("metadata").child("annotations");
    let (new, old) = (at(object, &["metadata"]), at(old, &["metadata"]));
    let fixed = |key: &str| {
        if key.starts_with(APPARMOR) {
            Some("AppArmor annotations")
        } else {
            (key == MIRROR).then_some("mirror pod annotation")
        }
    };
    for (key, value) in entries(old, "annotations") {
        if let Some(words) = fixed(key)
            && field(new, "annotations").get(key) != Some(value)
        {
            errors.forbidden(&path().key(key), format!("may not remove or update {words}"));
        }
    }
    for (key, _) in entries(new, "annotations") {
        if let Some(words) = fixed(key)
            && field(old, "annotations").get(key).is_none()
        {
            errors.forbidden(&path().key(key), format!("may not add {words}"));
        }
    }
}
