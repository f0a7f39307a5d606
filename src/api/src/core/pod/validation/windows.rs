//! Windows: options of its security, and what pods of one system or the other cannot have.

use crate::validation::{Errors, required_text};
use crate::value::{at, field, has, is_true, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// The longest credential specification, in KiB: far above the few hundred bytes that they have.
const CREDENTIAL_MAX_KIB: usize = 64;
/// Longest names of domains and users (Active Directory naming conventions).
const DOMAIN_MAX_BYTES: usize = 256;
const USER_MAX_BYTES: usize = 104;
/// The longest NetBIOS name.
const NETBIOS_MAX_CHARACTERS: usize = 15;

const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// What a pod's security context has that Windows has not.
const POD_CONTEXT: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
/// The same of a container.
const CONTAINER_CONTEXT: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// `windowsOptions` of the security context at `path`.
pub fn options(context: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(options) = context.get("windowsOptions") else { return };
    let path = path.child("windowsOptions");
    if let Some(name) = field(options, "gmsaCredentialSpecName").as_str() {
        errors.check(&path, "gmsaCredentialSpecName", name, forms::dns1123_subdomain(name));
    }
    if let Some(credential) = field(options, "gmsaCredentialSpec").as_str() {
        let own = path.child("gmsaCredentialSpec");
        if credential.is_empty() {
            errors.invalid(&own, "", "gmsaCredentialSpec cannot be an empty string");
        } else if credential.len() > CREDENTIAL_MAX_KIB * 1024 {
            let detail = format!("gmsaCredentialSpec size must be under {CREDENTIAL_MAX_KIB} KiB");
            errors.invalid(&own, credential, detail);
        }
    }
    if let Some(user) = field(options, "runAsUserName").as_str() {
        errors.check(&path, "runAsUserName", user, user_name(user));
    }
}

/// What is wrong with `DOMAIN\USER` or `USER`.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let (domain, user) = match name.split_once('\\') {
        None => (None, name),
        Some((_, user)) if user.contains('\\') => {
            return vec!["runAsUserName cannot contain more than one backslash".to_owned()];
        }
        Some((domain, user)) => (Some(domain), user),
    };
    let mut problems = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= DOMAIN_MAX_BYTES {
            problems
                .push(format!("runAsUserName's Domain length must be under {DOMAIN_MAX_BYTES} characters"));
        }
        if !is_netbios(domain) && !is_dns(domain) {
            problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_MAX_BYTES {
        problems
            .push(format!("runAsUserName's User length must not be longer than {USER_MAX_BYTES} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        problems.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        problems.push(
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".to_owned(),
        );
    }
    problems
}

fn is_netbios(domain: &str) -> bool {
    let count = domain.chars().count();
    (1..=NETBIOS_MAX_CHARACTERS).contains(&count)
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}

fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    LISTS.into_iter().flat_map(|lists| list(spec, lists).iter().enumerate().map(move |(i, c)| (lists, i, c)))
}

/// Containers that are processes of the host: all or none, with the host's network (KEP-1981).
pub fn host_process(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let wish = |object: &Value| at(object, &["securityContext", "windowsOptions", "hostProcess"]).as_bool();
    let pod = wish(spec);
    let (mut all, mut host) = (0, 0);
    for (lists, i, container) in containers(spec) {
        all += 1;
        let own = wish(container);
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let path = path.child(lists).index(i).child("securityContext").child("windowsOptions");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.invalid(&path.child("hostProcess"), own, detail);
        }
        if own.or(pod) == Some(true) {
            host += 1;
        }
    }
    if host == 0 {
        return;
    }
    if host != all {
        errors.invalid(
            path,
            "",
            "If pod contains any hostProcess containers then all containers must be HostProcess containers",
        );
    }
    if !is_true(spec, "hostNetwork") {
        errors.invalid(
            &path.child("hostNetwork"),
            false,
            "hostNetwork must be true if pod contains any hostProcess containers",
        );
    }
}

fn not_on_windows(context: &Value, names: &[&str], path: impl Fn() -> Path, errors: &mut ErrorList) {
    for name in names.iter().filter(|name| has(context, name)) {
        errors.forbidden(&path().child(name), NOT_ON_WINDOWS);
    }
}

/// `os` and what goes with it (KEP-2802).
pub fn operating_system(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(os) = spec.get("os") else { return };
    let own = path.child("os");
    if !required_text(os, "name", &own, errors) {
        return;
    }
    match text(os, "name") {
        "linux" => {
            let pod = std::iter::once((path.clone(), spec));
            let own = containers(spec).map(|(lists, i, container)| (path.child(lists).index(i), container));
            for (path, object) in pod.chain(own) {
                if has(field(object, "securityContext"), "windowsOptions") {
                    errors.forbidden(
                        &path.child("securityContext").child("windowsOptions"),
                        "windows options cannot be set for a linux pod",
                    );
                }
            }
        }
        "windows" => {
            let context = field(spec, "securityContext");
            not_on_windows(context, &POD_CONTEXT, || path.child("securityContext"), errors);
            for (name, given) in [
                ("hostUsers", has(spec, "hostUsers")),
                ("hostPID", is_true(spec, "hostPID")),
                ("hostIPC", is_true(spec, "hostIPC")),
                ("shareProcessNamespace", has(spec, "shareProcessNamespace")),
            ] {
                if given {
                    errors.forbidden(&path.child(name), NOT_ON_WINDOWS);
                }
            }
            for (lists, i, container) in containers(spec) {
                let context = field(container, "securityContext");
                let own = || path.child(lists).index(i).child("securityContext");
                not_on_windows(context, &CONTAINER_CONTEXT, own, errors);
            }
        }
        other => errors.not_supported(&own, other, &["linux", "windows"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_of_windows_have_a_form() {
        for right in ["user", "DOMAIN\\user", "corp.example.com\\user.name", "NT AUTHORITY\\SYSTEM"] {
            assert!(user_name(right).is_empty(), "{right}: {:?}", user_name(right));
        }
        for (wrong, words) in [
            ("", "runAsUserName cannot be an empty string"),
            ("a\nb", "runAsUserName cannot contain control characters"),
            ("a\\b\\c", "runAsUserName cannot contain more than one backslash"),
            ("a:b\\c", "runAsUserName's Domain doesn't match the NetBios nor the DNS format"),
            ("a\\", "runAsUserName's User cannot be empty"),
            (". .", "runAsUserName's User cannot contain only periods or spaces"),
            ("a@b", "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"),
        ] {
            assert_eq!(user_name(wrong), [words], "{wrong}");
        }
    }
}
