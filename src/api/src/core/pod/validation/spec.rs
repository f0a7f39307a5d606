//! The pod as a whole: everything but its containers and volumes in detail.

use super::{affinity, annotations, containers, env, resources, scheduling, security, volumes, windows};
use crate::validation::{Errors, check_ip, labels, range, required_one_of, required_text, text_form};
use crate::value::{field, has, int, is_empty, is_true, list, text, texts};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::{meta, validation as forms};
use serde_json::Value;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
/// What resolvers read: MAXNS of resolv.h.
const MAX_NAMESERVERS: usize = 3;
/// KEP-2595.
const MAX_SEARCHES: usize = 32;
/// KEP-2595.
const MAX_SEARCH_CHARACTERS: usize = 2048;
const SEARCH_FORM: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
/// The kernel's limit on host names (HOST_NAME_MAX).
const HOST_NAME_MAX_BYTES: usize = 64;

/// What is wrong with a pod, besides the common part of its metadata and what only holds for new ones.
pub fn validate(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (metadata, spec, path) = (field(object, "metadata"), field(object, "spec"), Path::new("spec"));
    if !is_empty(metadata, "annotations") {
        annotations::validate(metadata, spec, &Path::new("metadata").child("annotations"), &mut errors);
    }
    let mirror = meta::annotation(object, annotations::MIRROR).is_some();
    pod_spec(spec, meta::name(object), true, mirror, &path, &mut errors);
    if text(spec, "serviceAccountName").is_empty() {
        for (i, volume) in list(spec, "volumes").iter().enumerate() {
            for (j, source) in list(field(volume, "projected"), "sources").iter().enumerate() {
                if has(source, "serviceAccountToken") {
                    let path = path.child("volumes").index(i).child("projected").child("sources").index(j);
                    errors.forbidden(
                        &path.child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    );
                }
            }
        }
    }
    crate::validation::non_negative(spec, "terminationGracePeriodSeconds", &path, &mut errors);
    errors
}

/// What is wrong with a new pod.
pub fn validate_create(object: &Value) -> ErrorList {
    let mut errors = validate(object);
    let (spec, path) = (field(object, "spec"), Path::new("spec"));
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        errors
            .forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::match_fields(field(object, "metadata"), spec, &path, &mut errors);
    errors
}

/// What is wrong with a pod template at `path` (its metadata's labels and annotations, and its spec).
pub fn template(template: &Value, path: &Path, errors: &mut ErrorList) {
    let (metadata, spec) = (field(template, "metadata"), field(template, "spec"));
    labels(metadata, "labels", path, errors);
    if !is_empty(metadata, "annotations") {
        crate::meta::validate_annotations(metadata, path, errors);
        annotations::validate(metadata, spec, &path.child("annotations"), errors);
    }
    let spec_path = path.child("spec");
    pod_spec(spec, "", false, false, &spec_path, errors);
    annotations::match_fields(metadata, spec, &spec_path, errors);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(
            &spec_path.child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

fn pod_spec(spec: &Value, name: &str, is_pod: bool, mirror: bool, path: &Path, errors: &mut ErrorList) {
    if int(spec, "terminationGracePeriodSeconds").is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::validate(spec, name, path, errors);
    resource_claims(spec, mirror, path, errors);
    containers::validate(spec, &volumes, is_pod, path, errors);
    resources::pod_level(spec, path, errors);
    containers::host_network_ports(spec, is_pod, path, errors);
    required_one_of(spec, "restartPolicy", path, &RESTART_POLICIES, errors);
    required_one_of(spec, "dnsPolicy", path, &DNS_POLICIES, errors);
    labels(spec, "nodeSelector", path, errors);
    security::pod(spec, path, errors);
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
    affinity::validate(spec, path, errors);
    dns_config(spec, path, errors);
    readiness_gates(spec, path, errors);
    scheduling::gates(spec, path, errors);
    scheduling::topology_spread(spec, path, errors);
    windows::host_process(spec, path, errors);
    security::host_users(spec, path, errors);
    hostname_override(spec, path, errors);
    text_form(spec, "serviceAccountName", path, forms::dns1123_subdomain, errors);
    text_form(spec, "nodeName", path, forms::dns1123_subdomain, errors);
    range(spec, "activeDeadlineSeconds", path, 1, i64::from(i32::MAX), errors);
    text_form(spec, "hostname", path, forms::dns1123_label, errors);
    text_form(spec, "subdomain", path, forms::dns1123_label, errors);
    scheduling::tolerations(spec, path, errors);
    host_aliases(spec, path, errors);
    text_form(spec, "priorityClassName", path, forms::dns1123_subdomain, errors);
    if let Some(class) = field(spec, "runtimeClassName").as_str() {
        errors.check(path, "runtimeClassName", class, forms::dns1123_subdomain(class));
    }
    if has(spec, "preemptionPolicy") {
        required_one_of(spec, "preemptionPolicy", path, &["PreemptLowerPriority", "Never"], errors);
    }
    if !is_empty(spec, "overhead") {
        let limits = serde_json::json!({"limits": field(spec, "overhead")});
        resources::resource_requirements(&limits, &path.child("overhead"), None, errors);
    }
    windows::operating_system(spec, path, errors);
    env::file_key_volumes(spec, path, errors);
}

fn hostname_override(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let own = path.child("hostnameOverride");
    for other in ["setHostnameAsFQDN", "hostNetwork"] {
        if is_true(spec, other) {
            errors.forbidden(&own, format!("may not be specified when {other} is true"));
        }
    }
    if name.len() > HOST_NAME_MAX_BYTES {
        errors.push(FieldError::too_long(&own, HOST_NAME_MAX_BYTES));
    }
    errors.check_at(&own, name, forms::dns1123_subdomain(name));
}

fn dns_config(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let none = text(spec, "dnsPolicy") == "None";
    let Some(config) = spec.get("dnsConfig") else {
        if none {
            errors.required(&path.child("dnsConfig"), "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let path = path.child("dnsConfig");
    let (servers, searches) = (list(config, "nameservers"), list(config, "searches"));
    if none && servers.is_empty() {
        errors.required(
            &path.child("nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
        return;
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
    for (i, search) in texts(config, "searches").enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        let messages = search_domain(search);
        if !messages.is_empty() {
            errors.check_at(&path.child("searches").index(i), search, messages);
        }
    }
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&path.child("options").index(i), "must not be empty");
        }
    }
}

/// A subdomain whose labels may begin with an underscore, and have some within (KEP-4427).
fn search_domain(search: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if search.len() > forms::DNS1123_SUBDOMAIN_MAX_BYTES {
        messages.push(format!("must be no more than {} bytes", forms::DNS1123_SUBDOMAIN_MAX_BYTES));
    }
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let right = search.split('.').all(|label| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|b| alphanumeric(b) || matches!(b, b'-' | b'_'))
    });
    if !right {
        messages.push(SEARCH_FORM.to_owned());
    }
    messages
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
        for (j, name) in texts(alias, "hostnames").enumerate() {
            errors.check_at(&path.child("hostnames").index(j), name, forms::dns1123_subdomain(name));
        }
    }
}

fn resource_claims(spec: &Value, mirror: bool, path: &Path, errors: &mut ErrorList) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, claim) in list(spec, "resourceClaims").iter().enumerate() {
        if mirror {
            errors.forbidden(&Path::new(""), "static pods do not support resource claims");
            continue;
        }
        let path = path.child("resourceClaims").index(i);
        let name = text(claim, "name");
        if required_text(claim, "name", &path, errors) {
            if seen.contains(&name) {
                errors.duplicate(&path.child("name"), name);
            } else {
                errors.check(&path, "name", name, forms::dns1123_label(name));
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
