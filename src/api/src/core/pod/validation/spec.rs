//! The pod as a whole: everything but its containers and volumes in detail.

use super::{affinity, containers, resources, scheduling, security, volumes};
use crate::validation::{
    Errors, check_ip, label_selector, labels, one_of, range, required_one_of, required_text, text_form,
};
use crate::value::{boolean, entries, field, has, is_true, list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
/// What resolvers read: MAXNS of resolv.h.
const MAX_NAMESERVERS: usize = 3;
/// KEP-2595.
const MAX_SEARCHES: usize = 32;
/// KEP-2595.
const MAX_SEARCH_CHARACTERS: usize = 2048;

/// What is wrong with a pod, besides the common part of its metadata.
pub fn validate(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    security::annotations(object, &Path::new("metadata").child("annotations"), &mut errors);
    let path = Path::new("spec");
    let spec = field(object, "spec");
    pod_spec(spec, &path, true, &mut errors);
    errors
}

/// What is wrong with a pod template at `path` (its metadata's labels and annotations, and its spec).
pub fn template(template: &Value, path: &Path, errors: &mut ErrorList) {
    let metadata = field(template, "metadata");
    labels(metadata, "labels", path, errors);
    crate::meta::validate_annotations(metadata, path, errors);
    security::annotations(template, &path.child("metadata").child("annotations"), errors);
    let spec_path = path.child("spec");
    let spec = field(template, "spec");
    pod_spec(spec, &spec_path, false, errors);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(
            &spec_path.child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

fn pod_spec(spec: &Value, path: &Path, is_pod: bool, errors: &mut ErrorList) {
    let volumes = volumes::validate(spec, path, errors);
    containers::validate(spec, &volumes, path, errors);
    if is_pod {
        containers::host_port_conflicts(spec, path, errors);
    }
    required_one_of(spec, "restartPolicy", path, &RESTART_POLICIES, errors);
    required_one_of(spec, "dnsPolicy", path, &DNS_POLICIES, errors);
    labels(spec, "nodeSelector", path, errors);
    security::pod(spec, path, errors);
    affinity::validate(spec, path, errors);
    dns_config(spec, path, errors);
    readiness_gates(spec, path, errors);
    scheduling::gates(spec, path, errors);
    scheduling::topology_spread(spec, path, errors);
    scheduling::tolerations(spec, path, errors);
    host_aliases(spec, path, errors);
    resource_claims(spec, path, errors);
    resources::pod_level(spec, path, errors);
    for name in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        text_form(spec, name, path, forms::dns1123_subdomain, errors);
    }
    range(spec, "activeDeadlineSeconds", path, 1, i64::from(i32::MAX), errors);
    for name in ["hostname", "subdomain"] {
        text_form(spec, name, path, forms::dns1123_label, errors);
    }
    one_of(spec, "preemptionPolicy", path, &["Never", "PreemptLowerPriority"], errors);
    overhead(spec, path, errors);
    operating_system(spec, path, errors);
    for (i, reference) in list(spec, "imagePullSecrets").iter().enumerate() {
        let only_name = reference.as_object().is_none_or(|r| r.keys().all(|k| k == "name"));
        if !only_name {
            errors.invalid(
                &path.child("imagePullSecrets").index(i),
                reference.clone(),
                "only name may be set",
            );
        }
    }
    hostname_override(spec, path, errors);
}

fn hostname_override(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let own = path.child("hostnameOverride");
    if is_true(spec, "hostNetwork") {
        errors.forbidden(&own, "may not be set when hostNetwork is true");
    }
    if is_true(spec, "setHostnameAsFQDN") {
        errors.forbidden(&own, "may not be set when setHostnameAsFQDN is true");
    }
    // The kernel's limit on host names (HOST_NAME_MAX).
    if name.len() > 64 {
        errors.push(apimachinery::field::FieldError::too_long(&own, 64));
    }
    errors.check_at(&own, name, forms::dns1123_subdomain(name));
}

fn dns_config(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("dnsConfig");
    let none = text(spec, "dnsPolicy") == "None";
    let Some(config) = spec.get("dnsConfig") else {
        if none {
            errors.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = list(config, "nameservers");
    if none && servers.is_empty() {
        errors.required(
            &path.child("nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    if servers.len() > MAX_NAMESERVERS {
        errors.invalid(
            &path.child("nameservers"),
            servers.to_vec(),
            format!("must not have more than {MAX_NAMESERVERS} nameservers"),
        );
    }
    for (i, server) in texts(config, "nameservers").enumerate() {
        check_ip(server, &path.child("nameservers").index(i), errors);
    }
    let searches = list(config, "searches");
    if searches.len() > MAX_SEARCHES {
        errors.invalid(
            &path.child("searches"),
            searches.to_vec(),
            format!("must not have more than {MAX_SEARCHES} search paths"),
        );
    }
    let characters: usize = texts(config, "searches").map(|s| s.len() + 1).sum::<usize>().saturating_sub(1);
    if characters > MAX_SEARCH_CHARACTERS {
        errors.invalid(
            &path.child("searches"),
            searches.to_vec(),
            format!("must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"),
        );
    }
    for (i, search) in texts(config, "searches").enumerate() {
        // KEP-4427: a lone dot and underscores are fine.
        if search != "." {
            let name = search.strip_suffix('.').unwrap_or(search).replace('_', "-");
            let name = name.trim_matches('-');
            errors.check_at(&path.child("searches").index(i), search, forms::dns1123_subdomain(name));
        }
    }
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&path.child("options").index(i), "must not be empty");
        }
    }
}

fn readiness_gates(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, gate) in list(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        let messages = forms::qualified_name(kind);
        if !messages.is_empty() {
            errors.check_at(&path.child("readinessGates").index(i).child("conditionType"), kind, messages);
        }
    }
}

fn host_aliases(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(i);
        check_ip(text(alias, "ip"), &path.child("ip"), errors);
        for name in texts(alias, "hostnames") {
            errors.check(&path, "hostnames", name, forms::dns1123_subdomain(name));
        }
    }
}

fn resource_claims(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let path = path.child("resourceClaims").index(i);
        let name = text(claim, "name");
        if required_text(claim, "name", &path, errors) {
            errors.check(&path, "name", name, forms::dns1123_label(name));
            if seen.contains(&name) {
                errors.duplicate(&path.child("name"), name);
            }
            seen.push(name);
        }
        let (direct, from_template) =
            (has(claim, "resourceClaimName"), has(claim, "resourceClaimTemplateName"));
        if direct && from_template {
            errors.invalid(
                &path,
                claim.clone(),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            );
        } else if !direct && !from_template {
            errors.invalid(
                &path,
                claim.clone(),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            );
        }
        for name in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(value) = field(claim, name).as_str() {
                errors.check(&path, name, value, forms::dns1123_subdomain(value));
            }
        }
    }
}

fn overhead(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("overhead");
    for (name, value) in entries(spec, "overhead") {
        resources::amount(name, value, &path.key(name), errors);
    }
}

fn operating_system(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(os) = spec.get("os") else { return };
    required_one_of(os, "name", &path.child("os"), &["linux", "windows"], errors);
    let (forbidden, why): (&[&str], &str) = match text(os, "name") {
        "windows" => (
            &[
                "appArmorProfile",
                "fsGroup",
                "fsGroupChangePolicy",
                "runAsGroup",
                "runAsUser",
                "seLinuxOptions",
                "seccompProfile",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "sysctls",
            ],
            "windows",
        ),
        "linux" => (&["windowsOptions"], "linux"),
        _ => return,
    };
    let mut check = |context: &Value, path: &Path| {
        for name in forbidden.iter().filter(|name| has(context, name)) {
            errors.forbidden(&path.child(name), format!("cannot be set for a {why} pod"));
        }
    };
    check(field(spec, "securityContext"), &path.child("securityContext"));
    for lists in ["containers", "initContainers"] {
        for (i, container) in list(spec, lists).iter().enumerate() {
            if has(container, "securityContext") {
                check(
                    field(container, "securityContext"),
                    &path.child(lists).index(i).child("securityContext"),
                );
            }
        }
    }
    if why == "windows" {
        for name in ["hostPID", "hostIPC", "shareProcessNamespace"] {
            if boolean(spec, name) == Some(true) {
                errors.forbidden(&path.child(name), "cannot be set for a windows pod");
            }
        }
    }
}

/// A LabelSelector that a pod's rule needs, with the label keys that go with it.
pub(super) fn selector_and_keys(term: &Value, path: &Path, errors: &mut ErrorList) {
    label_selector(term, "labelSelector", path, errors);
    for lists in ["matchLabelKeys", "mismatchLabelKeys"] {
        for (i, key) in texts(term, lists).enumerate() {
            let own = || path.child(lists).index(i);
            let messages = forms::qualified_name(key);
            if !messages.is_empty() {
                errors.check_at(&own(), key, messages);
            }
            if !has(term, "labelSelector") {
                errors.forbidden(&path.child(lists), "must not be specified when labelSelector is not set");
            }
        }
    }
    for key in texts(term, "matchLabelKeys") {
        if texts(term, "mismatchLabelKeys").any(|other| other == key) {
            errors.invalid(
                &path.child("matchLabelKeys"),
                key,
                "exists in both matchLabelKeys and mismatchLabelKeys",
            );
        }
    }
}
