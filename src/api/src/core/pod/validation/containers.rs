//! Containers of all three lists.

use super::volumes::Volumes;
use super::{env, probes, resources, security, volumes};
use crate::validation::{Errors, one_of, required_one_of, required_text};
use crate::value::{field, has, int, is_true, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::HashSet;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const TERMINATION_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESIZE_POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];

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
    grace_seconds: i64,
}

/// All containers of a pod's spec.
pub fn validate(spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let grace_seconds = int(spec, "terminationGracePeriodSeconds").unwrap_or(30);
    let pod = Pod { spec, volumes, grace_seconds };
    let mut names: HashSet<&str> = HashSet::new();
    if list(spec, "containers").is_empty() {
        errors.required(&path.child("containers"), "");
    }
    for lists in ["containers", "initContainers", "ephemeralContainers"] {
        for (i, container) in list(spec, lists).iter().enumerate() {
            let path = path.child(lists).index(i);
            let role = match lists {
                "containers" => Role::Main,
                "ephemeralContainers" => Role::Ephemeral,
                _ if text(container, "restartPolicy") == "Always" => Role::Sidecar,
                _ => Role::Init,
            };
            let name = text(container, "name");
            if required_text(container, "name", &path, errors) {
                errors.check(&path, "name", name, forms::dns1123_label(name));
                if !names.insert(name) {
                    errors.duplicate(&path.child("name"), name);
                }
            }
            one_container(container, role, &pod, &path, errors);
        }
    }
    let all = |name: &str| names.contains(name);
    for (i, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !all(target) {
            errors
                .not_found(&path.child("ephemeralContainers").index(i).child("targetContainerName"), target);
        }
    }
}

fn one_container(container: &Value, role: Role, pod: &Pod<'_>, path: &Path, errors: &mut ErrorList) {
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
    required_one_of(container, "terminationMessagePolicy", path, &TERMINATION_POLICIES, errors);
    required_one_of(container, "imagePullPolicy", path, &PULL_POLICIES, errors);
    if role == Role::Ephemeral {
        ephemeral(container, path, errors);
    }
    ports(container, pod, path, errors);
    env::validate(container, path, errors);
    volumes::mounts(container, pod.volumes, path, errors);
    volumes::devices(container, pod.volumes, path, errors);
    lifecycle(container, role, pod, path, errors);
    resources::resource_requirements(
        field(container, "resources"),
        &path.child("resources"),
        Some(list(pod.spec, "resourceClaims")),
        errors,
    );
    resize_policy(container, role, path, errors);
    restart_policy(container, role, path, errors);
    security::container(container, pod.spec, path, errors);
}

fn ephemeral(container: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["lifecycle", "livenessProbe", "ports", "readinessProbe", "startupProbe"] {
        if has(container, name) {
            errors.forbidden(&path.child(name), "cannot be set for an Ephemeral Container");
        }
    }
    let resources = field(container, "resources");
    if has(resources, "limits") || has(resources, "requests") {
        errors.forbidden(&path.child("resources"), "cannot be set for an Ephemeral Container");
    }
}

fn ports(container: &Value, pod: &Pod<'_>, path: &Path, errors: &mut ErrorList) {
    let all = list(container, "ports");
    if all.is_empty() {
        return;
    }
    let mut names: HashSet<&str> = HashSet::new();
    for (i, port) in all.iter().enumerate() {
        let path = path.child("ports").index(i);
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
            if is_true(pod.spec, "hostNetwork") && host != number {
                errors.invalid(
                    &path.child("containerPort"),
                    number,
                    "must match `hostPort` when `hostNetwork` is true",
                );
            }
        }
        required_one_of(port, "protocol", &path, &PROTOCOLS, errors);
        let ip = text(port, "hostIP");
        if !ip.is_empty() {
            errors.check(&path, "hostIP", ip, forms::ip_address(ip));
        }
    }
}

/// No two containers of a pod may want the same port of the node.
pub fn host_port_conflicts(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut taken: HashSet<(&str, &str, i64)> = HashSet::new();
    let mut check = |lists: &str, wanted: &dyn Fn(&Value) -> bool, errors: &mut ErrorList| {
        for (i, container) in list(spec, lists).iter().enumerate().filter(|(_, c)| wanted(c)) {
            for (j, port) in list(container, "ports").iter().enumerate() {
                let host = int(port, "hostPort").unwrap_or(0);
                let (ip, protocol) = (text(port, "hostIP"), text(port, "protocol"));
                if host != 0 && !taken.insert((protocol, ip, host)) {
                    errors.duplicate(
                        &path.child(lists).index(i).child("ports").index(j).child("hostPort"),
                        format!("{protocol}/{ip}/{host}"),
                    );
                }
            }
        }
    };
    check("containers", &|_| true, errors);
    check("initContainers", &|c| text(c, "restartPolicy") == "Always", errors);
}

fn lifecycle(container: &Value, role: Role, pod: &Pod<'_>, path: &Path, errors: &mut ErrorList) {
    if role == Role::Ephemeral {
        return;
    }
    if role == Role::Init {
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if has(container, name) {
                errors.forbidden(
                    &path.child(name),
                    "may not be set for init containers without restartPolicy=Always",
                );
            }
        }
        return;
    }
    if let Some(lifecycle) = container.get("lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.get(name) {
                let path = path.child("lifecycle").child(name);
                probes::handler(hook, true, pod.grace_seconds, &path, errors);
            }
        }
        if has(lifecycle, "stopSignal") && !has(pod.spec, "os") {
            errors.forbidden(
                &path.child("lifecycle").child("stopSignal"),
                "may not be set for containers with empty `spec.os.name`",
            );
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get(name) {
            probes::probe(probe, name, pod.grace_seconds, &path.child(name), errors);
        }
    }
}

fn resize_policy(container: &Value, role: Role, path: &Path, errors: &mut ErrorList) {
    let policies = list(container, "resizePolicy");
    if role == Role::Ephemeral && !policies.is_empty() {
        errors.forbidden(&path.child("resizePolicy"), "cannot be set for an Ephemeral Container");
    }
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, policy) in policies.iter().enumerate() {
        let path = path.child("resizePolicy").index(i);
        let name = text(policy, "resourceName");
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
        if name.is_empty() {
            errors.required(&path.child("resourceName"), "");
        } else if !matches!(name, "cpu" | "memory") {
            errors.not_supported(&path.child("resourceName"), name, &["cpu", "memory"]);
        }
        required_one_of(policy, "restartPolicy", &path, &RESIZE_POLICIES, errors);
    }
}

fn restart_policy(container: &Value, role: Role, path: &Path, errors: &mut ErrorList) {
    let rules = list(container, "restartPolicyRules");
    match role {
        Role::Ephemeral => {
            for name in ["restartPolicy", "restartPolicyRules"] {
                if has(container, name) {
                    errors.forbidden(&path.child(name), "cannot be set for an Ephemeral Container");
                }
            }
            return;
        }
        Role::Main | Role::Init | Role::Sidecar => {
            one_of(container, "restartPolicy", path, &["Always", "Never", "OnFailure"], errors);
        }
    }
    if rules.is_empty() {
        return;
    }
    if !has(container, "restartPolicy") {
        errors
            .required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    // KEP-5307 bounds the rules of a container.
    if rules.len() > 20 {
        errors.push(apimachinery::field::FieldError::too_many(
            &path.child("restartPolicyRules"),
            rules.len(),
            20,
        ));
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path.child("restartPolicyRules").index(i);
        required_one_of(rule, "action", &path, &["Restart", "RestartAllContainers"], errors);
        match rule.get("exitCodes") {
            None => errors.required(&path.child("exitCodes"), "must be specified"),
            Some(codes) => {
                required_one_of(codes, "operator", &path.child("exitCodes"), &["In", "NotIn"], errors);
                let count = list(codes, "values").len();
                if count > 255 {
                    errors.push(apimachinery::field::FieldError::too_many(
                        &path.child("exitCodes").child("values"),
                        count,
                        255,
                    ));
                }
            }
        }
    }
}
