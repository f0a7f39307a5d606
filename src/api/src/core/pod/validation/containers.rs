//! Containers of all three lists.

use super::volumes::Volumes;
use super::{env, probes, resources, security, volumes};
use crate::validation::{Errors, required_one_of, required_text};
use crate::value::{field, has, int, is_empty, is_true, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::HashSet;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const TERMINATION_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESIZE_POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
/// Bounds of KEP-5307.
const MAX_RESTART_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// Which list a container is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Main,
    Init,
    /// An init container that keeps running (KEP-753).
    Sidecar,
    Ephemeral,
}

/// What the rules of one container know of its pod.
struct Pod<'a> {
    spec: &'a Value,
    volumes: &'a Volumes<'a>,
    grace_seconds: Option<i64>,
    is_pod: bool,
}

/// All containers of a pod's spec.
pub fn validate(spec: &Value, volumes: &Volumes<'_>, is_pod: bool, path: &Path, errors: &mut ErrorList) {
    let pod = Pod { spec, volumes, grace_seconds: int(spec, "terminationGracePeriodSeconds"), is_pod };
    let mut names: HashSet<&str> = HashSet::new();
    let containers = list(spec, "containers");
    if containers.is_empty() {
        errors.required(&path.child("containers"), "");
    }
    let list_path = path.child("containers");
    for (i, container) in containers.iter().enumerate() {
        let path = list_path.index(i);
        common(container, Role::Main, &pod, &path, errors);
        if !names.insert(text(container, "name")) {
            errors.duplicate(&path.child("name"), text(container, "name"));
        }
        lifecycle_and_probes(container, &pod, &path, errors);
        restart_policy(container, &path, errors);
    }
    host_port_conflicts(containers, &list_path, errors);
    let list_path = path.child("initContainers");
    for (i, container) in list(spec, "initContainers").iter().enumerate() {
        let path = list_path.index(i);
        let role = if text(container, "restartPolicy") == "Always" { Role::Sidecar } else { Role::Init };
        common(container, role, &pod, &path, errors);
        restart_policy(container, &path, errors);
        let name = text(container, "name");
        if names.contains(name) {
            errors.duplicate(&path.child("name"), name);
        } else if !name.is_empty() {
            names.insert(name);
        }
        // They run one after the other, so each is looked at alone, as the first of its list.
        host_port_conflicts(std::slice::from_ref(container), &list_path, errors);
        if role == Role::Sidecar {
            lifecycle_and_probes(container, &pod, &path, errors);
        } else {
            init_only(container, &path, errors);
        }
    }
    ephemeral_containers(&pod, &mut names, path, errors);
}

fn ephemeral_containers<'a>(
    pod: &Pod<'a>,
    names: &mut HashSet<&'a str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let containers = list(pod.spec, "ephemeralContainers");
    if containers.is_empty() {
        return;
    }
    let others = names.clone();
    for (i, container) in containers.iter().enumerate() {
        let path = path.child("ephemeralContainers").index(i);
        common(container, Role::Ephemeral, pod, &path, errors);
        let name = text(container, "name");
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for name in ["ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules"]
            .into_iter()
            .chain(PROBES)
            .chain(["lifecycle"])
            .filter(|name| has(container, name) && !is_empty(container, name))
        {
            errors.forbidden(&path.child(name), NOT_EPHEMERAL);
        }
        for (j, mount) in list(container, "volumeMounts").iter().enumerate() {
            for name in ["subPath", "subPathExpr"] {
                if !text(mount, name).is_empty() {
                    errors.forbidden(&path.child("volumeMounts").index(j).child(name), NOT_EPHEMERAL);
                }
            }
        }
    }
}

/// Rules of the containers of every list.
fn common(container: &Value, role: Role, pod: &Pod<'_>, path: &Path, errors: &mut ErrorList) {
    let name = text(container, "name");
    if required_text(container, "name", path, errors) {
        errors.check(path, "name", name, forms::dns1123_label(name));
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if (pod.is_pod || role == Role::Ephemeral) && image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
    required_one_of(container, "terminationMessagePolicy", path, &TERMINATION_POLICIES, errors);
    ports(container, path, errors);
    env::validate(container, path, errors);
    volumes::mounts(container, pod.volumes, path, errors);
    volumes::devices(container, pod.volumes, path, errors);
    required_one_of(container, "imagePullPolicy", path, &PULL_POLICIES, errors);
    if !is_empty(container, "resources") {
        resources::resource_requirements(
            field(container, "resources"),
            &path.child("resources"),
            Some(list(pod.spec, "resourceClaims")),
            errors,
        );
    }
    resize_policy(container, pod.spec, path, errors);
    security::container(container, pod.spec, path, errors);
}

fn ports(container: &Value, path: &Path, errors: &mut ErrorList) {
    let all = list(container, "ports");
    if all.is_empty() {
        return;
    }
    let list_path = path.child("ports");
    let mut names: HashSet<&str> = HashSet::new();
    for (i, port) in all.iter().enumerate() {
        let path = list_path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            let messages = forms::port_name(name);
            if messages.is_empty() && !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            errors.check(&path, "name", name, messages);
        }
        let number = int(port, "containerPort").unwrap_or(0);
        if number == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            for message in forms::port_number(number) {
                errors.invalid(&path.child("containerPort"), number, message);
            }
        }
        let host = int(port, "hostPort").unwrap_or(0);
        if host != 0 {
            for message in forms::port_number(host) {
                errors.invalid(&path.child("hostPort"), host, message);
            }
        }
        required_one_of(port, "protocol", &path, &PROTOCOLS, errors);
    }
}

/// No two containers that run side by side may want the same port of the node.
fn host_port_conflicts(containers: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut taken: HashSet<(&str, &str, i64)> = HashSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort").unwrap_or(0);
            let (ip, protocol) = (text(port, "hostIP"), text(port, "protocol"));
            if host != 0 && !taken.insert((protocol, ip, host)) {
                errors.duplicate(
                    &path.index(i).child("ports").index(j).child("hostPort"),
                    format!("{protocol}/{ip}/{host}"),
                );
            }
        }
    }
}

/// Ports on the node are the containers' own where the network is the node's. Templates may leave them out.
pub fn host_network_ports(spec: &Value, is_pod: bool, path: &Path, errors: &mut ErrorList) {
    if !is_true(spec, "hostNetwork") {
        return;
    }
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let (own, host) = (int(port, "containerPort"), int(port, "hostPort").unwrap_or(0));
            if (is_pod || host != 0) && host != own.unwrap_or(0) {
                errors.invalid(
                    &path.child("containers").index(i).child("ports").index(j).child("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn lifecycle_and_probes(container: &Value, pod: &Pod<'_>, path: &Path, errors: &mut ErrorList) {
    if let Some(lifecycle) = container.get("lifecycle") {
        probes::lifecycle(lifecycle, pod.spec, pod.grace_seconds, &path.child("lifecycle"), errors);
    }
    for name in PROBES {
        if let Some(probe) = container.get(name) {
            probes::probe(probe, name, pod.grace_seconds, &path.child(name), errors);
        }
    }
}

/// What init containers that end have not.
fn init_only(container: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["lifecycle"].into_iter().chain(PROBES).filter(|name| has(container, name)) {
        errors
            .forbidden(&path.child(name), "may not be set for init containers without restartPolicy=Always");
    }
    for (i, policy) in list(container, "resizePolicy").iter().enumerate() {
        if text(policy, "restartPolicy") == "RestartContainer" {
            errors.invalid(
                &path.child("resizePolicy").index(i).child("restartPolicy"),
                "RestartContainer",
                "must not be set to 'RestartContainer' for non-sidecar initContainers",
            );
        }
    }
}

/// Errors stand at the list, without an index, but for duplicates.
fn resize_policy(container: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let policies = list(container, "resizePolicy");
    for (i, policy) in policies.iter().enumerate() {
        let own = path.child("resizePolicy");
        let (name, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if policies.iter().take(i).any(|other| text(other, "resourceName") == name) {
            errors.duplicate(&own.index(i), name);
        }
        for (value, known) in [(name, ["cpu", "memory"]), (restart, RESIZE_POLICIES)] {
            if value.is_empty() {
                errors.required(&own, "");
            } else if !known.contains(&value) {
                errors.not_supported(&own, value, &known);
            }
        }
        if text(spec, "restartPolicy") == "Never" && restart != "NotRequired" {
            errors.invalid(&own, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

/// `restartPolicy` and `restartPolicyRules` of a container (KEP-753, KEP-5307, KEP-5532).
fn restart_policy(container: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = list(container, "restartPolicyRules");
    match field(container, "restartPolicy").as_str() {
        None if rules.is_empty() => return,
        None => errors
            .required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used"),
        Some(policy) if !RESTART_POLICIES.contains(&policy) => {
            errors.not_supported(&path.child("restartPolicy"), policy, &RESTART_POLICIES);
        }
        Some(_) => {}
    }
    let own = || path.child("restartPolicyRules");
    if rules.len() > MAX_RESTART_RULES {
        errors.push(FieldError::too_many(&own(), rules.len(), MAX_RESTART_RULES));
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = own().index(i);
        let known = |object: &Value, name: &str, path: &Path, known: &[&str], errors: &mut ErrorList| {
            if !known.contains(&text(object, name)) {
                errors.not_supported(&path.child(name), text(object, name), known);
            }
        };
        known(rule, "action", &path, &["Restart", "RestartAllContainers"], errors);
        let codes_path = path.child("exitCodes");
        let Some(codes) = rule.get("exitCodes") else {
            errors.required(&codes_path, "must be specified");
            continue;
        };
        known(codes, "operator", &codes_path, &["In", "NotIn"], errors);
        let count = list(codes, "values").len();
        if count > MAX_EXIT_CODES {
            errors.push(FieldError::too_many(&codes_path.child("values"), count, MAX_EXIT_CODES));
        }
    }
}
