//! Whether this node will run a pod that was bound to it. Pure.
//!
//! The scheduler decided on what it knew; the node has the last word, so that two pods that were bound at the
//! same time do not share what is there once.

use crate::pod;
use crate::resources::{self, QosClass};
use crate::status::Override;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sysctls that need no permission: namespaced, and harmless to others on the node.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// The node as admission sees it.
#[derive(Debug, Clone, Default)]
pub struct NodeView {
    /// Allocatable: CPU in millicores, else whole units, `pods` among them.
    pub allocatable: BTreeMap<String, i64>,
    /// The Node's name.
    pub name: String,
    /// The Node's labels; none while the Node is not known yet.
    pub labels: Option<BTreeMap<String, String>>,
    /// `MemoryPressure` holds.
    pub memory_pressure: bool,
    /// `DiskPressure` holds.
    pub disk_pressure: bool,
}

/// Checks a new pod against the pods that are already admitted.
///
/// # Errors
/// Why it is rejected, as its status will say.
pub fn admit(pod: &Pod, others: &[Arc<Pod>], node: &NodeView) -> Result<(), Override> {
    let reject = |reason: &str, message: String| {
        Err(Override { reason: reason.to_owned(), message: format!("Pod was rejected: {message}") })
    };
    let spec = pod::spec(pod);
    if let Some(os) = &spec.os
        && os.name != "linux"
    {
        return reject(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS".to_owned(),
        );
    }
    for sysctl in spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten()) {
        let name = sysctl.name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return reject("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted"));
        }
    }
    if !pod::is_critical(pod) {
        if node.disk_pressure {
            return reject("Evicted", "The node had condition: [DiskPressure]. ".to_owned());
        }
        if node.memory_pressure && resources::qos_class(pod) == QosClass::BestEffort {
            return reject("Evicted", "The node had condition: [MemoryPressure]. ".to_owned());
        }
    }
    if node.labels.as_ref().is_some_and(|labels| !matches_node(pod, labels, &node.name)) {
        return reject("NodeAffinity", "Predicate NodeAffinity failed".to_owned());
    }
    if others.iter().any(|other| ports_clash(pod, other)) {
        return reject("NodePorts", "Predicate NodePorts failed".to_owned());
    }
    for (resource, capacity) in &node.allocatable {
        let (requested, used) = if resource == "pods" {
            (1, i64::try_from(others.len()).unwrap_or(i64::MAX))
        } else {
            let requested = resources::pod_request(pod, resource);
            (
                requested,
                others
                    .iter()
                    .map(|other| resources::pod_request(other, resource))
                    .fold(0, i64::saturating_add),
            )
        };
        if requested > 0 && requested.saturating_add(used) > *capacity {
            let message = format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return reject(&format!("OutOf{resource}"), message);
        }
    }
    Ok(())
}

fn ports_clash(pod: &Pod, other: &Pod) -> bool {
    let ports = |pod: &Pod| -> Vec<(i32, String, String)> {
        pod::containers(pod)
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                let number = port.host_port.filter(|port| *port > 0)?;
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((
                    number,
                    protocol,
                    port.host_ip.clone().filter(|ip| ip != "0.0.0.0").unwrap_or_default(),
                ))
            })
            .collect()
    };
    let taken = ports(other);
    ports(pod).iter().any(|(number, protocol, ip)| {
        taken.iter().any(|(other_number, other_protocol, other_ip)| {
            number == other_number
                && protocol == other_protocol
                && (ip == other_ip || ip.is_empty() || other_ip.is_empty())
        })
    })
}

fn matches_node(pod: &Pod, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let spec = pod::spec(pod);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| term_matches(term, labels, name))
        })
}

fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|requirement| requirement_matches(requirement, labels.get(&requirement.key).map(String::as_str)))
        && fields.iter().all(|requirement| {
            requirement.key == "metadata.name" && requirement_matches(requirement, Some(name))
        })
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compared = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(value, bound)| value > bound),
        "Lt" => compared().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn node() -> NodeView {
        NodeView {
            allocatable: BTreeMap::from([("cpu".into(), 1000), ("pods".into(), 2)]),
            labels: Some(BTreeMap::from([("zone".into(), "a".into())])),
            ..NodeView::default()
        }
    }

    fn cpu(amount: &str) -> Pod {
        pod(json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": amount}}}]}))
    }

    #[test]
    fn what_does_not_fit_is_rejected() {
        let other = Arc::new(cpu("600m"));
        assert_eq!(admit(&cpu("400m"), std::slice::from_ref(&other), &node()), Ok(()));
        let verdict = admit(&cpu("500m"), std::slice::from_ref(&other), &node()).unwrap_err();
        assert_eq!(verdict.reason, "OutOfcpu");
        assert!(verdict.message.ends_with("requested: 500, used: 600, capacity: 1000"));
        let verdict = admit(&cpu("0"), &[other.clone(), other], &node()).unwrap_err();
        assert_eq!(verdict.reason, "OutOfpods");
    }

    #[test]
    fn host_ports_are_taken_once() {
        let with = |ip: &str| {
            pod(
                json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": ip}]}]}),
            )
        };
        assert!(admit(&with("10.0.0.1"), &[Arc::new(with("10.0.0.2"))], &node()).is_ok());
        assert_eq!(admit(&with("10.0.0.1"), &[Arc::new(with(""))], &node()).unwrap_err().reason, "NodePorts");
    }

    #[test]
    fn selectors_and_pressure_count() {
        let elsewhere = pod(json!({"containers": [], "nodeSelector": {"zone": "b"}}));
        assert_eq!(admit(&elsewhere, &[], &node()).unwrap_err().reason, "NodeAffinity");
        let pressed = NodeView { memory_pressure: true, ..node() };
        assert_eq!(admit(&cpu("0"), &[], &pressed).unwrap_err().reason, "Evicted");
        assert!(admit(&cpu("1m"), &[], &pressed).is_ok());
    }

    #[test]
    fn dangerous_sysctls_are_refused() {
        let with = |name: &str| {
            pod(json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}}))
        };
        assert!(admit(&with("net.ipv4.tcp_syncookies"), &[], &node()).is_ok());
        assert_eq!(admit(&with("kernel.msgmax"), &[], &node()).unwrap_err().reason, "SysctlForbidden");
    }
}
