//! Security contexts of pods and containers.

use super::volumes::descending_path;
use super::windows;
use crate::validation::{Errors, one_of};
use crate::value::{boolean, field, is_true, list, text, texts};
use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;
use std::collections::HashSet;

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// The longest name of a sysctl.
const SYSCTL_MAX_BYTES: usize = 253;
const SYSCTL_FORM: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
/// Kernel sysctls of the IPC namespace, besides `kernel.sem`, by how they begin.
const IPC_SYSCTLS: [&str; 3] = ["kernel.shm", "kernel.msg", "fs.mqueue."];
/// The longest path, without the zero at its end.
const PATH_MAX_BYTES: usize = 4095;

/// The pod's own security context and its use of the host's namespaces.
pub fn pod(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let context = field(spec, "securityContext");
    if context.as_object().is_some_and(|fields| !fields.is_empty()) {
        pod_context(context, spec, &path.child("securityContext"), errors);
    }
    if is_true(spec, "shareProcessNamespace") && is_true(spec, "hostPID") {
        errors.invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
}

fn pod_context(context: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(field(context, name), || path.child(name), errors);
    }
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        id(group, || path.child("supplementalGroups").index(i), errors);
    }
    sysctls(spec, context, path, errors);
    one_of(context, "fsGroupChangePolicy", path, &["Always", "OnRootMismatch"], errors);
    seccomp(context, path, errors);
    windows::options(context, path, errors);
    app_armor(context, path, errors);
    one_of(context, "supplementalGroupsPolicy", path, &["Merge", "Strict"], errors);
    one_of(context, "seLinuxChangePolicy", path, &["MountOption", "Recursive"], errors);
}

/// A pod with users of its own (KEP-127) has no other namespaces of the host, and no devices.
pub fn host_users(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if boolean(spec, "hostUsers") != Some(false) {
        return;
    }
    const WORDS: &str = "when `hostUsers` is false";
    for (name, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if is_true(spec, name) {
            errors.forbidden(&path.child(shown), WORDS);
        }
    }
    for lists in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in list(spec, lists).iter().enumerate() {
            if !list(container, "volumeDevices").is_empty() {
                errors.forbidden(&path.child(lists).index(i).child("volumeDevices"), WORDS);
            }
        }
    }
}

/// A container's security context.
pub fn container(container: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(context) = container.get("securityContext") else { return };
    let path = path.child("securityContext");
    for name in ["runAsUser", "runAsGroup"] {
        id(field(context, name), || path.child(name), errors);
    }
    if let Some(mount) = field(context, "procMount").as_str() {
        one_of(context, "procMount", &path, &["Default", "Unmasked"], errors);
        if mount == "Unmasked" && boolean(spec, "hostUsers") != Some(false) {
            errors.invalid(&path.child("procMount"), mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(context, &path, errors);
    if boolean(context, "allowPrivilegeEscalation") == Some(false) {
        let mut clash = |words: &str| {
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {words}");
            errors.invalid(&path, context.clone(), detail);
        };
        if is_true(context, "privileged") {
            clash("`privileged` to true");
        }
        for _ in texts(field(context, "capabilities"), "add").filter(|c| *c == "CAP_SYS_ADMIN") {
            clash("`capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    windows::options(context, &path, errors);
    app_armor(context, &path, errors);
}

fn id(value: &Value, path: impl Fn() -> Path, errors: &mut ErrorList) {
    if let Some(number) = value.as_i64()
        && !(0..=i64::from(i32::MAX)).contains(&number)
    {
        errors.invalid(&path(), number, ID_RANGE);
    }
}

fn seccomp(context: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(profile) = context.get("seccompProfile") else { return };
    let path = path.child("seccompProfile");
    let kind = text(profile, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "type is required when seccompProfile is set");
    } else if !PROFILES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &PROFILES);
    }
    let own = || path.child("localhostProfile");
    match (kind, field(profile, "localhostProfile").as_str()) {
        ("Localhost", None) => errors.required(&own(), "must be set when seccomp type is Localhost"),
        ("Localhost", Some(file)) => descending_path(file, own, errors),
        (_, Some(_)) => {
            errors.invalid(&own(), profile.clone(), "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

fn app_armor(context: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(profile) = context.get("appArmorProfile") else { return };
    let path = path.child("appArmorProfile");
    let own = || path.child("localhostProfile");
    match (text(profile, "type"), field(profile, "localhostProfile").as_str()) {
        ("Localhost", None) => errors.required(&own(), "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(file)) => {
            if file.trim() != file {
                errors.invalid(&own(), file, "must not be padded with whitespace");
            } else if file.is_empty() {
                errors.required(&own(), "must be set when AppArmor type is Localhost");
            }
            if file.len() > PATH_MAX_BYTES {
                errors.push(FieldError::too_long(&own(), PATH_MAX_BYTES));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            errors.invalid(&own(), file, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            errors.required(&path.child("type"), "type is required when appArmorProfile is set");
        }
        (kind, _) => errors.not_supported(&path.child("type"), kind, &PROFILES),
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
        } else if seen.contains(name) {
            errors.duplicate(&own, name);
        }
        seen.insert(name);
        let dotted = name.replace('/', ".");
        if is_true(spec, "hostNetwork") && dotted.starts_with("net.") {
            errors.invalid(&own, name, "may not be specified when 'hostNetwork' is true");
        }
        let of_ipc = dotted == "kernel.sem" || IPC_SYSCTLS.iter().any(|p| dotted.starts_with(p));
        if is_true(spec, "hostIPC") && of_ipc {
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
