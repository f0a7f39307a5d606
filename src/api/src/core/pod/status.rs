//! What may change in the status of a pod.

use super::validation;
use crate::validation::{Errors, check_ip, immutable};
use crate::value::{at, entries, field, has, int, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::HashSet;

/// Lists of the status, and the lists of the spec whose containers they tell of.
const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", ""),
];
/// Conditions without a domain in their type.
const SYSTEM_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
/// The longest message about a device's health (KEP-4680).
const HEALTH_MESSAGE_MAX_BYTES: usize = 1024;
const NOT_NEGATIVE: &str = "must be a non-negative integer";

/// An update of the pod's status.
pub fn validate(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let (status, old_status) = (field(object, "status"), field(old, "status"));
    let (spec, old_spec) = (field(object, "spec"), field(old, "spec"));
    validation::annotation_update(object, old, &mut errors);
    conditions(status, &path, &mut errors);
    if text(spec, "nodeName") != text(old_spec, "nodeName") {
        errors.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let nominated = text(status, "nominatedNodeName");
    if !nominated.is_empty() && nominated != text(old_status, "nominatedNodeName") {
        errors.check(&path, "nominatedNodeName", nominated, forms::dns1123_subdomain(nominated));
        if !text(old_spec, "nodeName").is_empty() {
            errors.forbidden(
                &path.child("nominatedNodeName"),
                "may not be set on pods that are already bound to a node",
            );
        }
    }
    if let Some(observed) = int(status, "observedGeneration").filter(|observed| *observed < 0) {
        errors.invalid(&path.child("observedGeneration"), observed, NOT_NEGATIVE);
    }
    immutable(status, old_status, "qosClass", &path, &mut errors);
    for (lists, containers) in LISTS {
        transitions(status, old_status, lists, old_spec, containers, &path, &mut errors);
    }
    claims(status, spec, &path, &mut errors);
    extended_claim(status, spec, &path, &mut errors);
    pod_ips(status, &path, &mut errors);
    host_ips(status, &path, &mut errors);
    let windows = text(field(spec, "os"), "name") == "windows";
    for (lists, containers) in LISTS {
        for (i, container) in list(status, lists).iter().enumerate() {
            let path = || path.child(lists).index(i);
            users(container, windows, path, &mut errors);
            if !list(container, "allocatedResourcesStatus").is_empty() {
                if containers.is_empty() {
                    errors.forbidden(
                        &path().child("allocatedResourcesStatus"),
                        "must not be specified in container status",
                    );
                } else {
                    let name = text(container, "name");
                    let known = list(spec, containers).iter().find(|c| text(c, "name") == name);
                    allocated(container, known, status, &path(), &mut errors);
                }
            }
        }
    }
    errors
}

fn conditions(status: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        let path = || path.child("conditions").index(i);
        if let Some(observed) = int(condition, "observedGeneration").filter(|observed| *observed < 0) {
            errors.invalid(&path().child("observedGeneration"), observed, NOT_NEGATIVE);
        }
        let kind = text(condition, "type");
        if !SYSTEM_CONDITIONS.contains(&kind) {
            let messages = forms::qualified_name(kind);
            if !messages.is_empty() {
                errors.check_at(&path().child("Type"), kind, messages);
            }
        }
    }
}

/// Whether a container's rules and policies let it start again after it ended with `code` (KEP-753, KEP-5307).
fn starts_again(container: &Value, spec: &Value, code: i64) -> bool {
    let matches = |rule: &&Value| {
        let codes = field(rule, "exitCodes");
        let named = list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
        match text(codes, "operator") {
            "In" => named,
            "NotIn" => !named,
            _ => false,
        }
    };
    let own = field(container, "restartPolicy").as_str();
    let by_rule = own.is_some() && list(container, "restartPolicyRules").iter().any(|rule| matches(&rule));
    by_rule
        || match own.unwrap_or_else(|| text(spec, "restartPolicy")) {
            "Always" => true,
            "OnFailure" => code != 0,
            _ => false,
        }
}

/// A container that ended and is not to be started again stays ended.
fn transitions(
    status: &Value,
    old: &Value,
    lists: &str,
    spec: &Value,
    containers: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let restarts_all = |container: &Value| {
        list(container, "restartPolicyRules")
            .iter()
            .any(|rule| text(rule, "action") == "RestartAllContainers")
    };
    for (i, before) in list(old, lists).iter().enumerate() {
        let Some(ended) = field(before, "state").get("terminated") else { continue };
        let name = text(before, "name");
        let now = list(status, lists).iter().find(|container| text(container, "name") == name);
        if now.is_none_or(|now| has(field(now, "state"), "terminated")) {
            continue;
        }
        let all =
            ["containers", "initContainers"].iter().flat_map(|lists| list(spec, lists)).any(restarts_all);
        let own = list(spec, containers).iter().find(|container| text(container, "name") == name);
        let code = int(ended, "exitCode").unwrap_or(0);
        let may = !containers.is_empty() && (all || own.is_some_and(|own| starts_again(own, spec, code)));
        if !may {
            errors.forbidden(
                &path.child(lists).index(i).child("state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}

/// `resourceClaimStatuses`: of the pod's claims, each once.
fn claims(status: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let path = path.child("resourceClaimStatuses").index(i);
        let name = text(claim, "name");
        if !list(spec, "resourceClaims").iter().any(|known| text(known, "name") == name) {
            errors.invalid(
                &path.child("name"),
                name,
                "must match the name of an entry in `spec.resourceClaims`",
            );
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if let Some(made) = field(claim, "resourceClaimName").as_str() {
            errors.check(&path, "resourceClaimName", made, forms::dns1123_subdomain(made));
        }
    }
}

/// `extendedResourceClaimStatus` (KEP-5004).
fn extended_claim(status: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(claim) = status.get("extendedResourceClaimStatus") else { return };
    let path = path.child("extendedResourceClaimStatus");
    let mappings = list(claim, "requestMappings");
    let own = path.child("requestMappings");
    if mappings.is_empty() {
        errors.required(&own, "at least one request mapping is required");
    }
    for (i, mapping) in mappings.iter().enumerate() {
        let index = own.index(i);
        let [container, resource, request] =
            ["containerName", "resourceName", "requestName"].map(|name| text(mapping, name));
        let found = ["containers", "initContainers"]
            .iter()
            .flat_map(|lists| list(spec, lists))
            .find(|c| text(c, "name") == container);
        match found {
            None => errors.invalid(
                &index.child("containerName"),
                container,
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            ),
            Some(found) if at(found, &["resources", "requests"]).get(resource).is_none() => errors.invalid(
                &index.child("resourceName"),
                resource,
                "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests",
            ),
            Some(_) => {}
        }
        errors.check(&path, "requestName", request, forms::dns1123_label(request));
        if mappings.iter().take(i).any(|other| other == mapping) {
            errors.duplicate(&index.child("containerName"), container);
            errors.duplicate(&index.child("resourceName"), resource);
            errors.duplicate(&index.child("requestName"), request);
        }
    }
    let name = text(claim, "resourceClaimName");
    if name.is_empty() {
        errors.required(&path.child("resourceClaimName"), "");
    } else {
        errors.check(&path, "resourceClaimName", name, forms::dns1123_subdomain(name));
    }
}

/// At most one address of each family.
fn one_of_each_family(addresses: &[Value], path: &Path, errors: &mut ErrorList) {
    let sixes = addresses.iter().filter(|address| text(address, "ip").contains(':')).count();
    if addresses.len() > 1 && (addresses.len() > 2 || sixes != 1) {
        errors.invalid(path, addresses.to_vec(), "may specify no more than one IP for each IP family");
    }
}

fn pod_ips(status: &Value, path: &Path, errors: &mut ErrorList) {
    let (addresses, path) = (list(status, "podIPs"), path.child("podIPs"));
    for (i, address) in addresses.iter().enumerate() {
        check_ip(text(address, "ip"), &path.index(i), errors);
    }
    one_of_each_family(addresses, &path, errors);
}

fn host_ips(status: &Value, path: &Path, errors: &mut ErrorList) {
    let (addresses, path) = (list(status, "hostIPs"), path.child("hostIPs"));
    let Some(first) = addresses.first() else { return };
    if text(first, "ip") != text(status, "hostIP") {
        errors.invalid(&path.index(0).child("ip"), text(first, "ip"), "must be equal to `hostIP`");
    }
    for (i, address) in addresses.iter().enumerate() {
        check_ip(text(address, "ip"), &path.index(i), errors);
    }
    one_of_each_family(addresses, &path, errors);
}

/// Who a container runs as (KEP-3619).
fn users(container: &Value, windows: bool, path: impl Fn() -> Path, errors: &mut ErrorList) {
    let Some(user) = field(container, "user").get("linux") else { return };
    let path = || path().child("user").child("linux");
    if windows {
        errors.forbidden(&path(), "cannot be set for a windows pod");
        return;
    }
    let mut id = |value: &Value, most: i64, own: &dyn Fn() -> Path| {
        if let Some(number) = value.as_i64().filter(|number| !(0..=most).contains(number)) {
            errors.invalid(&own(), number, format!("must be between 0 and {most}, inclusive"));
        }
    };
    let most = i64::from(i32::MAX);
    id(field(user, "uid"), most, &|| path().child("uid"));
    id(field(user, "gid"), most, &|| path().child("gid"));
    for (i, group) in list(user, "supplementalGroups").iter().enumerate() {
        id(group, most, &|| path().child("supplementalGroups").index(i));
    }
}

/// Health of the devices that a container has (KEP-4680).
fn allocated(container: &Value, known: Option<&Value>, status: &Value, path: &Path, errors: &mut ErrorList) {
    for (j, resource) in list(container, "allocatedResourcesStatus").iter().enumerate() {
        let path = path.child("allocatedResourcesStatus").index(j);
        let name = text(resource, "name");
        if let Some(known) = known {
            let (found, words) = match name.strip_prefix("claim:") {
                Some(claim) => (
                    has_claim(known, claim) || has_extended_claim(known, claim, status),
                    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                ),
                None => (
                    entries(field(known, "resources"), "requests").any(|(request, _)| request == name),
                    "must match one of the container's resource requests",
                ),
            };
            if !found {
                errors.invalid(&path.child("name"), name, words);
            }
        }
        let mut seen: HashSet<&str> = HashSet::new();
        for (k, device) in list(resource, "resources").iter().enumerate() {
            let path = path.child("resources").index(k);
            let health = text(device, "health");
            if !HEALTH.contains(&health) {
                errors.not_supported(&path.child("health"), health, &["Healthy", "Unhealthy", "Unknown"]);
            }
            match field(device, "message").as_str().map(str::len) {
                Some(0) => errors.required(&path.child("message"), "must be non-empty if specified"),
                Some(length) if length > HEALTH_MESSAGE_MAX_BYTES => {
                    errors.push(FieldError::too_long(&path.child("message"), HEALTH_MESSAGE_MAX_BYTES))
                }
                _ => {}
            }
            let id = text(device, "resourceID");
            if !seen.insert(id) {
                errors.duplicate(&path.child("resourceID"), id);
            }
        }
    }
}

fn has_claim(container: &Value, wanted: &str) -> bool {
    list(field(container, "resources"), "claims").iter().any(|claim| {
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        match wanted.split_once('/') {
            Some((claim, of)) => claim == name && of == request && !request.is_empty(),
            None => wanted == name && request.is_empty(),
        }
    })
}

fn has_extended_claim(container: &Value, wanted: &str, status: &Value) -> bool {
    let claim = field(status, "extendedResourceClaimStatus");
    let Some((name, request)) = wanted.split_once('/') else { return false };
    name == text(claim, "resourceClaimName")
        && list(claim, "requestMappings").iter().any(|mapping| {
            text(mapping, "containerName") == text(container, "name")
                && text(mapping, "requestName") == request
                && !request.is_empty()
                && at(container, &["resources", "requests"]).get(text(mapping, "resourceName")).is_some()
        })
}
