//! The checks that level restricted adds.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pod_security_baseline::{added, is_seccomp, listed, seccomp_fields};
use super::pod_security_checks::{Pod, Violation, named, plural, quoted};
use super::support::{items, text};

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const NON_ROOT: &str = "/securityContext/runAsNonRoot";
const SECCOMP: &str = "/securityContext/seccompProfile/type";

pub(super) fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    let may =
        |one: &Value| one.pointer("/securityContext/allowPrivilegeEscalation") != Some(&Value::Bool(false));
    let names = pod.those(may);
    if pod.is_windows() || names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&names));
    Violation::some("allowPrivilegeEscalation != false", detail)
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let mut details = Vec::new();
    let keeps = pod.those(|one| !listed(one, "drop").contains(&"ALL"));
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeps)));
    }
    details.extend(added(pod, |name| name == "NET_BIND_SERVICE"));
    if details.is_empty() { None } else { Violation::some("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in items(pod.spec, "/volumes") {
        let sources =
            volume.as_object().into_iter().flatten().filter(|(key, set)| *key != "name" && !set.is_null());
        for (kind, _) in sources.filter(|(kind, _)| !VOLUMES.contains(&kind.as_str())) {
            names.push(text(volume, "/name"));
            kinds.insert(kind.as_str());
        }
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural(names.len(), "volume", "volumes"),
        quoted(&names),
        plural(names.len(), "uses", "use"),
        plural(kinds.len(), "restricted volume type", "restricted volume types"),
        quoted(&kinds)
    );
    Violation::some("restricted volume types", detail)
}

pub(super) fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if pod.version.has(35) && pod.has_own_users() {
        return None;
    }
    if let Some(setters) = pod.setters(|one| one.pointer(NON_ROOT) == Some(&Value::Bool(false))) {
        return Violation::some(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let unsaid = pod.those(|one| !one.pointer(NON_ROOT).is_some_and(Value::is_boolean));
    if unsaid.is_empty() || pod.spec.pointer(NON_ROOT) == Some(&Value::Bool(true)) {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", named(&unsaid));
    Violation::some(REASON, detail)
}

pub(super) fn user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version.has(35) && pod.has_own_users() {
        return None;
    }
    let root = |one: &Value| one.pointer("/securityContext/runAsUser").and_then(Value::as_i64) == Some(0);
    let setters = pod.setters(root)?;
    Violation::some("runAsUser=0", format!("{setters} must not set runAsUser=0"))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    if let Some(violation) = seccomp_fields(pod) {
        return Some(violation);
    }
    let unsaid = pod.those(|one| text(one, SECCOMP).is_empty());
    if unsaid.is_empty() || is_seccomp(text(pod.spec, SECCOMP)) {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&unsaid)
    );
    Violation::some("seccompProfile", detail)
}
