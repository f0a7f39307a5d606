//! Node: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/>.

use super::pod::validation::taint_effect;
use crate::columns::{age, last_condition, name, none, or_none};
use crate::diff::diff;
use crate::kind::Kind;
use crate::validation::{Errors, non_negative_quantity};
use crate::value::{
    copy, ensure_object, entries, field, has, is_empty, is_true, list, object_mut, same, set, text, texts,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A node's roles are labels with this prefix.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
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

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        taints(spec, &path, &mut errors);
        let networks: Vec<&str> = texts(spec, "podCIDRs").collect();
        for (i, network) in networks.iter().enumerate() {
            if network.parse::<ipnet::IpNet>().is_err() {
                errors.invalid(
                    &path.child("podCIDRs").index(i),
                    *network,
                    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                );
            }
        }
        if let [a, b, ..] = networks.as_slice()
            && (networks.len() > 2 || a.contains(':') == b.contains(':'))
        {
            errors.invalid(
                &path.child("podCIDRs"),
                json!(networks),
                "may specify no more than one CIDR for each IP family",
            );
        }
        validate_status(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        update(object, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_status(object, &mut errors);
        errors
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

fn taints(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let all = list(spec, "taints");
    for (i, taint) in all.iter().enumerate() {
        let path = path.child("taints").index(i);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.check(&path, "key", key, forms::qualified_name(key));
        let messages = forms::label_value(value);
        if !messages.is_empty() {
            errors.invalid(&path.child("value"), value, messages.join(";"));
        }
        taint_effect(taint, false, &path, errors);
        let again = all.iter().take(i).any(|t| text(t, "key") == key && text(t, "effect") == effect);
        if again {
            errors.duplicate(&path, taint.clone());
        }
    }
}

fn validate_status(object: &Value, errors: &mut ErrorList) {
    let (path, status) = (Path::new("status"), field(object, "status"));
    let addresses = list(status, "addresses");
    for (i, address) in addresses.iter().enumerate() {
        if addresses.iter().take(i).any(|a| a == address) {
            errors.duplicate(&path.child("addresses").index(i), address.clone());
        }
    }
    for lists in ["capacity", "allocatable"] {
        for (name, amount) in entries(status, lists) {
            let own = path.child(lists).key(name);
            errors.check_at(&own, name, forms::qualified_name(name));
            non_negative_quantity(amount, &own, errors);
        }
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
}
