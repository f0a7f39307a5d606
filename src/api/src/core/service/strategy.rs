//! Defaults of services and what an update keeps.

use super::{has_node_ports, is_external, needs_health_port};
use crate::value::{
    self, copy, default_text, ensure_object, field, has, int, is_empty, list, list_mut, object_mut, remove,
    same, set, text,
};
use serde_json::{Value, json};

/// Seconds for which a client sticks to an endpoint: three hours.
const AFFINITY_SECONDS: i64 = 10800;

/// Fills in defaults.
pub fn default(object: &mut Value) {
    // A balancer's address is seen as the destination unless told otherwise (KEP-1860).
    if value::text_at(object, &["spec", "type"]) == "LoadBalancer"
        && let Some(status) = value::at_mut(object, &["status", "loadBalancer"])
    {
        for ingress in list_mut(status, "ingress").iter_mut().filter(|i| !text(i, "ip").is_empty()) {
            value::default(ingress, "ipMode", "VIP");
        }
    }
    let Some(spec) = object_mut(object, "spec") else { return };
    default_text(spec, "sessionAffinity", "None");
    default_text(spec, "type", "ClusterIP");
    match text(spec, "sessionAffinity") {
        "None" => {
            remove(spec, "sessionAffinityConfig");
        }
        "ClientIP" => {
            let config =
                ensure_object(spec, "sessionAffinityConfig").and_then(|c| ensure_object(c, "clientIP"));
            if let Some(config) = config {
                value::default(config, "timeoutSeconds", AFFINITY_SECONDS);
            }
        }
        _ => {}
    }
    for port in list_mut(spec, "ports") {
        default_text(port, "protocol", "TCP");
        let number = int(port, "port").unwrap_or(0);
        if is_empty(port, "targetPort") {
            set(port, "targetPort", number);
        }
        if int(port, "nodePort") == Some(0) {
            remove(port, "nodePort");
        }
    }
    if is_external(spec) {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(text(spec, "type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
        value::default(spec, "internalTrafficPolicy", "Cluster");
    }
    if text(spec, "type") == "LoadBalancer" {
        value::default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// `clusterIP` is the first of `clusterIPs`, whichever of them the client wrote (KEP-563).
pub fn normalize_cluster_ips(object: &mut Value, old: Option<&Value>) {
    let old_spec = old.map(|old| field(old, "spec"));
    let Some(spec) = object_mut(object, "spec") else { return };
    let single = text(spec, "clusterIP").to_owned();
    let Some(old) = old_spec else {
        if !single.is_empty() && list(spec, "clusterIPs").is_empty() {
            set(spec, "clusterIPs", json!([single]));
        }
        return;
    };
    let old_single = text(old, "clusterIP");
    let ips_unchanged = same(field(spec, "clusterIPs"), field(old, "clusterIPs"));
    if single.is_empty() && !old_single.is_empty() && ips_unchanged {
        // Cleared by a client that does not know of the list.
        remove(spec, "clusterIPs");
    } else if single != old_single && !single.is_empty() && ips_unchanged {
        set(spec, "clusterIPs", json!([single]));
    } else if single == old_single && !ips_unchanged && list(spec, "clusterIPs").is_empty() {
        copy(spec, old, "clusterIPs");
    }
}

/// What was handed out before is kept where the client left it out.
pub fn patch_allocated(object: &mut Value, old: &Value) {
    let old = field(old, "spec");
    let Some(spec) = object_mut(object, "spec") else { return };
    let has_address = |s: &Value| text(s, "type") != "ExternalName";
    if has_address(old) && has_address(spec) {
        if text(spec, "clusterIP").is_empty() {
            copy(spec, old, "clusterIP");
        }
        if list(spec, "clusterIPs").is_empty() && text(spec, "clusterIP") == text(old, "clusterIP") {
            copy(spec, old, "clusterIPs");
        }
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if !has(spec, name) {
                copy(spec, old, name);
            }
        }
    }
    if has_node_ports(old) && has_node_ports(spec) {
        let mut used: Vec<i64> = list(spec, "ports").iter().filter_map(|p| int(p, "nodePort")).collect();
        for port in list_mut(spec, "ports") {
            if int(port, "nodePort").unwrap_or(0) != 0 {
                continue;
            }
            let before = list(old, "ports").iter().find(|p| {
                int(p, "port") == int(port, "port") && text(p, "protocol") == text(port, "protocol")
            });
            if let Some(number) = before.and_then(|p| int(p, "nodePort"))
                && number != 0
                && !used.contains(&number)
            {
                set(port, "nodePort", number);
                used.push(number);
            }
        }
    }
    if needs_health_port(old) && needs_health_port(spec) && int(spec, "healthCheckNodePort").unwrap_or(0) == 0
    {
        copy(spec, old, "healthCheckNodePort");
    }
}

/// What belongs to the old type and was not changed goes when the type changes.
pub fn drop_type_dependent(object: &mut Value, old: Option<&Value>) {
    let Some(old) = old.map(|old| field(old, "spec")) else { return };
    let Some(spec) = object_mut(object, "spec") else { return };
    let external = |s: &Value| text(s, "type") == "ExternalName";
    if external(spec) && !external(old) {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if same(field(spec, name), field(old, name)) {
                remove(spec, name);
            }
        }
        if text(spec, "internalTrafficPolicy") == text(old, "internalTrafficPolicy") {
            remove(spec, "internalTrafficPolicy");
        }
    }
    if has_node_ports(old) && !has_node_ports(spec) && same_node_ports(spec, old) {
        for port in list_mut(spec, "ports") {
            remove(port, "nodePort");
        }
    }
    let drops: [(&str, bool); 4] = [
        ("healthCheckNodePort", needs_health_port(old) && !needs_health_port(spec)),
        (
            "allocateLoadBalancerNodePorts",
            text(old, "type") == "LoadBalancer" && text(spec, "type") != "LoadBalancer",
        ),
        ("loadBalancerClass", text(old, "type") == "LoadBalancer" && text(spec, "type") != "LoadBalancer"),
        ("externalTrafficPolicy", is_external(old) && !is_external(spec)),
    ];
    for (name, gone) in drops {
        if gone && same(field(spec, name), field(old, name)) {
            remove(spec, name);
        }
    }
}

fn same_node_ports(spec: &Value, old: &Value) -> bool {
    let ports = |s: &Value| -> Vec<i64> {
        let mut all: Vec<i64> = list(s, "ports").iter().filter_map(|p| int(p, "nodePort")).collect();
        all.sort_unstable();
        all
    };
    let (new, old) = (ports(spec), ports(old));
    new.iter().all(|port| old.contains(port))
}
