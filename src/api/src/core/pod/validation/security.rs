//! Security contexts of pods and containers.

use super::volumes::descending_path;
use crate::validation::{Errors, one_of, required_one_of};
use crate::value::{boolean, entries, field, has, is_true, list, text, texts};
use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;
use std::collections::HashSet;

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// The longest name of a sysctl.
const SYSCTL_MAX_BYTES: usize = 253;
const SYSCTL_FORM: &str = r"^[a-z0-9]([-_a-z0-9]*[a-z0-9])?([\./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*$";
const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
/// Kernel sysctls of the IPC namespace.
const IPC_SYSCTLS: [&str; 4] = ["kernel.shm", "kernel.msg", "fs.mqueue.", "kernel.sem"];

/// Annotations that speak about security.
pub fn annotations(object: &Value, path: &Path, errors: &mut ErrorList) {
    for (key, value) in entries(field(object, "metadata"), "annotations") {
        if let Some(container) = key.strip_prefix("container.apparmor.security.beta.kubernetes.io/") {
            let value = value.as_str().unwrap_or("");
            let known = matches!(value, "runtime/default" | "unconfined") || value.starts_with("localhost/");
            if !known && !value.is_empty() {
                errors.invalid(&path.key(key), value, format!("invalid AppArmor profile name: \"{value}\""));
            }
            let found = ["containers", "initContainers", "ephemeralContainers"]
                .iter()
                .any(|lists| list(field(object, "spec"), lists).iter().any(|c| text(c, "name") == container));
            if !found {
                errors.invalid(&path.key(key), container, "container not found");
            }
        }
    }
}

/// The pod's own security context and its use of the host's namespaces.
pub fn pod(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let context = field(spec, "securityContext");
    if is_true(spec, "shareProcessNamespace") && is_true(spec, "hostPID") {
        errors.invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    if boolean(spec, "hostUsers") == Some(false) {
        for (name, why) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if is_true(spec, name) {
                errors.forbidden(
                    &path.child(name),
                    format!("when `hostUsers` is false, {why} must also be false"),
                );
            }
        }
    }
    if context.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let path = path.child("securityContext");
    for name in ["fsGroup", "runAsGroup", "runAsUser"] {
        id(field(context, name), || path.child(name), errors);
    }
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        id(group, || path.child("supplementalGroups").index(i), errors);
    }
    sysctls(spec, context, &path, errors);
    one_of(context, "fsGroupChangePolicy", &path, &["Always", "OnRootMismatch"], errors);
    one_of(context, "supplementalGroupsPolicy", &path, &["Merge", "Strict"], errors);
    one_of(context, "seLinuxChangePolicy", &path, &["MountOption", "Recursive"], errors);
    profiles(context, &path, errors);
    windows(context, &path, errors);
}

/// A container's security context.
pub fn container(container: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(context) = container.get("securityContext") else { return };
    let path = path.child("securityContext");
    for name in ["runAsUser", "runAsGroup"] {
        id(field(context, name), || path.child(name), errors);
    }
    one_of(context, "procMount", &path, &["Default", "Unmasked"], errors);
    if text(context, "procMount") == "Unmasked" && boolean(spec, "hostUsers") != Some(false) {
        errors.invalid(&path.child("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    profiles(context, &path, errors);
    if boolean(context, "allowPrivilegeEscalation") == Some(false) {
        if is_true(context, "privileged") {
            errors.invalid(
                &path,
                context.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        if texts(field(context, "capabilities"), "add").any(|c| c == "CAP_SYS_ADMIN") {
            errors.invalid(
                &path,
                context.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    windows(context, &path, errors);
}

fn id(value: &Value, path: impl Fn() -> Path, errors: &mut ErrorList) {
    if let Some(number) = value.as_i64()
        && !(0..=i64::from(i32::MAX)).contains(&number)
    {
        errors.invalid(&path(), number, ID_RANGE);
    }
}

/// `seccompProfile` and `appArmorProfile`, which have one form.
fn profiles(context: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, words) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let Some(profile) = context.get(name) else { continue };
        let path = path.child(name);
        let local = profile.get("localhostProfile").and_then(Value::as_str);
        match (text(profile, "type"), local) {
            ("", _) if words == "seccomp" => {
                errors.required(&path.child("type"), "type is required when seccompProfile is set");
                continue;
            }
            ("", _) => {
                errors.required(&path.child("type"), "type is required when appArmorProfile is set");
                continue;
            }
            ("Localhost", None) => errors.required(
                &path.child("localhostProfile"),
                &format!("must be set when {words} type is Localhost"),
            ),
            ("Localhost", Some(file)) if words == "seccomp" => {
                descending_path(file, &path.child("localhostProfile"), errors);
            }
            ("Localhost", Some(file)) if file.trim() != file || file.is_empty() => {
                if file.trim().is_empty() {
                    errors.required(
                        &path.child("localhostProfile"),
                        "must be set when AppArmor type is Localhost",
                    );
                } else {
                    errors.invalid(
                        &path.child("localhostProfile"),
                        file,
                        "must not be padded with whitespace",
                    );
                }
            }
            ("Localhost", Some(_)) | (_, None) => {}
            (_, Some(file)) => errors.invalid(
                &path.child("localhostProfile"),
                file,
                format!("can only be set when {words} type is Localhost"),
            ),
        }
        required_one_of(profile, "type", &path, &PROFILES, errors);
    }
}

fn sysctls(spec: &Value, context: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, sysctl) in list(context, "sysctls").iter().enumerate() {
        let own = path.child("sysctls").index(i).child("name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.required(&own, "");
        } else if !is_sysctl(name) {
            errors.invalid(
                &own,
                name,
                format!("must have at most {SYSCTL_MAX_BYTES} characters and match regex {SYSCTL_FORM}"),
            );
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&own, name));
        }
        let dotted = name.replace('/', ".");
        if is_true(spec, "hostNetwork") && dotted.starts_with("net.") {
            errors.invalid(&own, name, "may not be specified when 'hostNetwork' is true");
        }
        if is_true(spec, "hostIPC") && IPC_SYSCTLS.iter().any(|p| dotted.starts_with(p)) {
            errors.invalid(&own, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    name.len() <= SYSCTL_MAX_BYTES
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            bytes.first().is_some_and(alphanumeric)
                && bytes.last().is_some_and(alphanumeric)
                && bytes.iter().all(|b| alphanumeric(b) || matches!(b, b'-' | b'_'))
        })
}

fn windows(context: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(options) = context.get("windowsOptions") else { return };
    let path = path.child("windowsOptions");
    for name in ["gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"] {
        if has(options, name) && text(options, name).is_empty() {
            errors.invalid(&path.child(name), "", format!("{name} cannot be an empty string"));
        }
    }
    let credential = text(options, "gmsaCredentialSpecName");
    errors.check(
        &path,
        "gmsaCredentialSpecName",
        credential,
        if credential.is_empty() {
            Vec::new()
        } else {
            apimachinery::validation::dns1123_subdomain(credential)
        },
    );
}
