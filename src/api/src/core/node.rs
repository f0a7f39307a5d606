//! Node: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/>.

use super::pod::validation::{amount, taint_effect};
use crate::columns::{age, last_condition, name, none, or_none};
use crate::diff::diff;
use crate::kind::Kind;
use crate::validation::{Errors, cidr_warning, only_new, strict_cidr};
use crate::value::{
    at, copy, ensure_object, entries, field, has, int, is_empty, is_true, list, object_mut, remove, same,
    set, text, texts,
};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cmp::Ordering;

/// A node's roles are labels with this prefix.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
/// Taints in an annotation.
const OLD_TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
/// The old label with a node's role.
const OLD_ROLE: &str = "kubernetes.io/role";

/// The kind.
#[derive(Debug)]
pub struct Node;

impl Kind for Node {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "Node")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["no"]
    }

    fn default(&self, object: &mut Value) {
        if let Some(status) = object_mut(object, "status")
            && !has(status, "allocatable")
            && has(status, "capacity")
        {
            let capacity = field(status, "capacity").clone();
            set(status, "allocatable", capacity);
        }
        if let Some(spec) = ensure_object(object, "spec") {
            // The old single network is the first of the list.
            let single = text(spec, "podCIDR").to_owned();
            let first = list(spec, "podCIDRs").first().and_then(Value::as_str).unwrap_or("").to_owned();
            if !single.is_empty()
                && first != single
                && (first.is_empty() || list(spec, "podCIDRs").len() == 1)
            {
                set(spec, "podCIDRs", json!([single]));
            } else if single.is_empty() && !first.is_empty() {
                set(spec, "podCIDR", first);
            }
        }
    }

    /// The kubelet registers a node with its whole status.
    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_configuration(object, &Value::Null);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_configuration(object, old);
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        drop_configuration(object, old);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        taints_annotation(object, &mut errors);
        taints(list(field(object, "spec"), "taints"), &Path::new("metadata").child("taints"), &mut errors);
        resources(object, &mut errors);
        let swap = at(object, &["status", "nodeInfo", "swap"]);
        if let Some(capacity) = int(swap, "capacity").filter(|capacity| *capacity <= 0) {
            errors.invalid(
                &Path::new("metadata").child("nodeSwapStatus").child("capacity"),
                capacity,
                "must be greater than zero",
            );
        }
        declared_features(object, &mut errors);
        pod_networks(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = validate_status(object);
        errors.extend(only_new(self.validate(object), || self.validate(old)));
        update(object, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = validate_status(object);
        resources(object, &mut errors);
        declared_features(object, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let spec = field(object, "spec");
        let mut warnings = Vec::new();
        if !text(spec, "externalID").is_empty() {
            warnings
                .push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        for (i, network) in texts(spec, "podCIDRs").enumerate() {
            warnings.extend(cidr_warning(network, || format!("spec.podCIDRs[{i}]")));
        }
        warnings
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", is_true(field(object, "spec"), "unschedulable").to_string())]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Status").describe("The status of the node"),
            Column::new("Roles").describe("The roles of the node"),
            Column::age(),
            Column::new("Version"),
            Column::new("Internal-IP").wide(),
            Column::new("External-IP").wide(),
            Column::new("OS-Image").wide(),
            Column::new("Kernel-Version").wide(),
            Column::new("Container-Runtime").wide(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = field(object, "status");
        let info = field(status, "nodeInfo");
        let address = |kind: &str| {
            let found = list(status, "addresses").iter().find(|a| text(a, "type") == kind);
            found.map_or_else(none, |a| or_none(text(a, "address")))
        };
        let unknown = |name: &str| match text(info, name) {
            "" => Value::from("<unknown>"),
            shown => Value::from(shown),
        };
        vec![
            name(object),
            Value::from(shown_status(object)),
            or_none(&roles(object)),
            age(object, now),
            Value::from(text(info, "kubeletVersion")),
            address("InternalIP"),
            address("ExternalIP"),
            unknown("osImage"),
            unknown("kernelVersion"),
            unknown("containerRuntimeVersion"),
        ]
    }
}

fn shown_status(object: &Value) -> String {
    let ready = match last_condition(object, "Ready") {
        None => "Unknown",
        Some(condition) if text(condition, "status") == "True" => "Ready",
        Some(_) => "NotReady",
    };
    if is_true(field(object, "spec"), "unschedulable") {
        format!("{ready},SchedulingDisabled")
    } else {
        ready.to_owned()
    }
}

fn roles(object: &Value) -> String {
    let mut roles: Vec<&str> = entries(field(object, "metadata"), "labels")
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some("") => None,
            Some(role) => Some(role),
            None if key == OLD_ROLE => value.as_str().filter(|role| !role.is_empty()),
            None => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    crate::columns::joined(roles)
}

/// Configuration of kubelets through the API is gone (KEP-281); what is there stays.
fn drop_configuration(object: &mut Value, old: &Value) {
    for (part, name) in [("spec", "configSource"), ("status", "config")] {
        if !has(field(old, part), name)
            && let Some(part) = object_mut(object, part)
        {
            remove(part, name);
        }
    }
}

/// Taints before there was a field for them.
fn taints_annotation(object: &Value, errors: &mut ErrorList) {
    let path = || Path::new("metadata").child("annotations");
    let Some(text) = meta::annotation(object, OLD_TAINTS).filter(|text| !text.is_empty()) else { return };
    match serde_json::from_str::<Vec<Value>>(text) {
        Ok(all) => taints(&all, &path().child(OLD_TAINTS), errors),
        Err(problem) => errors.invalid(&path(), OLD_TAINTS, problem.to_string()),
    }
}

fn taints(all: &[Value], path: &Path, errors: &mut ErrorList) {
    for (i, taint) in all.iter().enumerate() {
        let path = path.index(i);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.check(&path, "key", key, forms::qualified_name(key));
        let messages = forms::label_value(value);
        if !messages.is_empty() {
            errors.invalid(&path.child("value"), value, messages.join(";"));
        }
        taint_effect(taint, false, &path, errors);
        let again = all.iter().take(i).any(|t| text(t, "key") == key && text(t, "effect") == effect);
        if again {
            let mut error = FieldError::duplicate(&path, taint.clone());
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
}

/// Addresses are told once.
fn validate_status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let addresses = list(field(object, "status"), "addresses");
    for (i, address) in addresses.iter().enumerate() {
        if addresses.iter().take(i).any(|a| a == address) {
            errors.duplicate(&Path::new("status").child("addresses").index(i), address.clone());
        }
    }
    errors
}

fn resources(object: &Value, errors: &mut ErrorList) {
    for lists in ["capacity", "allocatable"] {
        for (name, value) in entries(field(object, "status"), lists) {
            amount(name, value, || Path::new("status").child(lists).child(name), errors);
        }
    }
}

/// Features that a node tells of (KEP-5328): sorted, each once.
fn declared_features(object: &Value, errors: &mut ErrorList) {
    let path = |i: usize| Path::new("status").child("declaredFeatures").index(i);
    let features: Vec<&str> = texts(field(object, "status"), "declaredFeatures").collect();
    for (i, feature) in features.iter().enumerate() {
        let form = feature.starts_with(|c: char| c.is_ascii_uppercase())
            && feature
                .split('/')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()));
        let most = forms::DNS1123_SUBDOMAIN_MAX_BYTES;
        if feature.len() > most {
            errors.invalid(
                &path(i),
                *feature,
                format!("invalid feature name \"{feature}\": must be no more than {most} characters"),
            );
        } else if !form {
            errors.invalid(
                &path(i),
                *feature,
                format!("invalid feature name \"{feature}\": must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"),
            );
        }
    }
    for (i, (before, feature)) in features.iter().zip(features.iter().skip(1)).enumerate() {
        match before.cmp(feature) {
            Ordering::Equal => errors.duplicate(&path(i + 1), *feature),
            Ordering::Greater => {
                errors.invalid(&path(i + 1), *feature, "list must be sorted alphabetically");
            }
            Ordering::Less => {}
        }
    }
}

fn pod_networks(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("podCIDRs");
    let networks: Vec<&str> = texts(field(object, "spec"), "podCIDRs").collect();
    for (i, network) in networks.iter().enumerate() {
        errors.check_at(&path.index(i), network, strict_cidr(network));
    }
    if let [a, b, ..] = networks.as_slice()
        && (networks.len() > 2 || a.contains(':') == b.contains(':'))
    {
        errors.invalid(&path, json!(networks), "may specify no more than one CIDR for each IP family");
    }
}

/// The spec but for taints and `unschedulable` is set once.
fn update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let (path, spec, old_spec) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
    if !is_empty(old_spec, "podCIDRs") && field(spec, "podCIDRs") != field(old_spec, "podCIDRs") {
        errors.forbidden(
            &path.child("podCIDRs"),
            "node updates may not change podCIDR except from \"\" to valid",
        );
    }
    if !is_empty(old_spec, "providerID") && text(spec, "providerID") != text(old_spec, "providerID") {
        errors.forbidden(
            &path.child("providerID"),
            "node updates may not change providerID except from \"\" to valid",
        );
    }
    let mut munged = spec.clone();
    for name in ["podCIDR", "podCIDRs", "providerID", "taints", "unschedulable", "configSource"] {
        copy(&mut munged, old_spec, name);
    }
    if !same(&munged, old_spec) {
        errors.forbidden(
            &path,
            format!("node updates may only change labels, taints, or capacity\n{}", diff(old_spec, &munged)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_readiness_and_roles() {
        let object = json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"},
            },
        });
        let row = Node.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(row.len(), Node.columns().len());
        assert_eq!(row[1], "Ready,SchedulingDisabled");
        assert_eq!(row[2], "control-plane");
        assert_eq!((&row[5], &row[6], &row[8]), (&json!("10.0.0.1"), &json!("<none>"), &json!("<unknown>")));
    }

    #[test]
    fn networks_and_provider_are_set_once() {
        let old = json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}});
        let new = json!({"spec": {"podCIDR": "10.1.1.0/24", "podCIDRs": ["10.1.1.0/24"]}});
        assert_eq!(Node.validate_update(&new, &old).len(), 1);
        assert!(Node.validate_update(&old, &json!({"spec": {}})).is_empty());
    }

    #[test]
    fn taints_resources_and_networks_have_rules() {
        let object = json!({
            "spec": {
                "taints": [
                    {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule", "value": "b"},
                    {"key": "b"},
                ],
                "podCIDRs": ["10.0.0.1/24", "10.1.0.0/24"],
            },
            "status": {
                "capacity": {"cpu": "-1", "example.com/gpu": "1500m"}, "declaredFeatures": ["B", "A", "A", "x"],
            },
        });
        let found: Vec<String> = Node.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\",\"value\":\"b\"}: taints must be unique by key and effect pair",
                "metadata.taints[2].effect: Required value",
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
                "status.capacity.example.com/gpu: Invalid value: \"1500m\": must be an integer",
                "status.declaredFeatures[3]: Invalid value: \"x\": invalid feature name \"x\": must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
                "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically",
                "status.declaredFeatures[2]: Duplicate value: \"A\"",
                "spec.podCIDRs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
                "spec.podCIDRs: Invalid value: [\"10.0.0.1/24\",\"10.1.0.0/24\"]: may specify no more than one CIDR for each IP family",
            ]
        );
    }

    #[test]
    fn configuration_through_the_api_is_gone() {
        let mut object = json!({"spec": {"configSource": {}}, "status": {"config": {}}});
        let old = object.clone();
        Node.prepare_for_update(&mut object, &old);
        assert_eq!(object, old);
        Node.prepare_for_create(&mut object);
        assert_eq!(object, json!({"spec": {}, "status": {}}));
    }
}
