//! Validation of services.

use super::{has_node_ports, is_external, is_headless, needs_health_port};
use crate::validation::{Errors, immutable, labels, one_of, port_or_name, range, required_one_of};
use crate::value::{field, has, int, is_empty, list, same, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::IpAddr;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TRAFFIC: [&str; 2] = ["Cluster", "Local"];
/// The longest that a client may stick to an endpoint: a day.
const MAX_AFFINITY_SECONDS: i64 = 86400;
/// The kubelet's port, which a load balancer must not take over.
const KUBELET_PORT: i64 = 10250;

/// What is wrong with a service.
pub fn validate(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    let kind = text(spec, "type");
    let headless = is_headless(spec);
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" => {
            for (i, port) in list(spec, "ports").iter().enumerate() {
                if int(port, "port") == Some(KUBELET_PORT) {
                    errors.invalid(
                        &path.child("ports").index(i).child("port"),
                        KUBELET_PORT,
                        "may not expose port 10250 externally since it is used by kubelet",
                    );
                }
            }
            not_headless(headless, kind, &path, &mut errors);
        }
        "NodePort" => not_headless(headless, kind, &path, &mut errors),
        "ExternalName" => external_name(spec, &path, &mut errors),
        _ => {}
    }
    ports(spec, &path, &mut errors);
    labels(spec, "selector", &path, &mut errors);
    affinity(spec, &path, &mut errors);
    external_ips(spec, &path, &mut errors);
    required_one_of(spec, "type", &path, &TYPES, &mut errors);
    load_balancer(spec, &path, &mut errors);
    traffic_policies(spec, &path, &mut errors);
    addresses(spec, &path, &mut errors);
    one_of(
        spec,
        "trafficDistribution",
        &path,
        &["PreferClose", "PreferSameNode", "PreferSameZone"],
        &mut errors,
    );
    errors
}

fn not_headless(headless: bool, kind: &str, path: &Path, errors: &mut ErrorList) {
    if headless {
        errors.invalid(
            &path.child("clusterIPs").index(0),
            "None",
            format!("may not be set to 'None' for {kind} services"),
        );
    }
}

fn external_name(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if !list(spec, "clusterIPs").is_empty() {
        errors.forbidden(&path.child("clusterIPs"), "may not be set for ExternalName services");
    }
    for name in ["ipFamilies", "ipFamilyPolicy"] {
        if !is_empty(spec, name) {
            errors.forbidden(&path.child(name), "may not be set for ExternalName services");
        }
    }
    let name = text(spec, "externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.required(&path.child("externalName"), "");
    } else {
        errors.check(path, "externalName", name, forms::dns1123_subdomain(name));
    }
}

fn ports(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let all = list(spec, "ports");
    let (mut names, mut numbers, mut nodes) = (HashSet::new(), HashSet::new(), HashSet::new());
    let kind = text(spec, "type");
    for (i, port) in all.iter().enumerate() {
        let path = path.child("ports").index(i);
        let name = text(port, "name");
        if name.is_empty() {
            if all.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            errors.check(&path, "name", name, forms::dns1123_label(name));
            if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        let number = int(port, "port").unwrap_or(0);
        for message in forms::port_number(number) {
            errors.invalid(&path.child("port"), number, message);
        }
        required_one_of(port, "protocol", &path, &PROTOCOLS, errors);
        port_or_name(port, "targetPort", &path, errors);
        if let Some(protocol) = field(port, "appProtocol").as_str() {
            errors.check(&path, "appProtocol", protocol, forms::qualified_name(protocol));
        }
        let protocol = text(port, "protocol");
        if !numbers.insert((protocol, number)) {
            errors.duplicate(&path, json!({"protocol": protocol, "port": number}));
        }
        let node = int(port, "nodePort").unwrap_or(0);
        if node == 0 {
            continue;
        }
        if !has_node_ports(spec) {
            errors.forbidden(&path.child("nodePort"), format!("may not be used when `type` is '{kind}'"));
        } else if !nodes.insert((protocol, node)) {
            errors.duplicate(&path.child("nodePort"), node);
        }
        range(port, "nodePort", &path, 0, 65535, errors);
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    required_one_of(spec, "sessionAffinity", path, &["ClientIP", "None"], errors);
    let own = path.child("sessionAffinityConfig");
    match (text(spec, "sessionAffinity"), spec.get("sessionAffinityConfig")) {
        ("None", Some(_)) => errors.forbidden(&own, "must not be set when session affinity is None"),
        ("ClientIP", None) => errors.required(&own, "when session affinity type is ClientIP"),
        ("ClientIP", Some(config)) => {
            let own = own.child("clientIP").child("timeoutSeconds");
            match int(field(config, "clientIP"), "timeoutSeconds") {
                None => errors.required(&own, ""),
                Some(seconds) if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds) => errors.invalid(
                    &own,
                    seconds,
                    format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"),
                ),
                Some(_) => {}
            }
        }
        _ => {}
    }
}

fn external_ips(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, ip) in texts(spec, "externalIPs").enumerate() {
        let path = path.child("externalIPs").index(i);
        let messages = forms::ip_address(ip);
        if messages.is_empty() {
            not_special(ip, &path, errors);
        }
        errors.check_at(&path, ip, messages);
    }
}

/// An address that other machines can have.
pub fn not_special(ip: &str, path: &Path, errors: &mut ErrorList) {
    let Ok(parsed) = ip.parse::<IpAddr>() else {
        errors.invalid(path, ip, "must be a valid IP address");
        return;
    };
    let link_local = match parsed {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let link_local_multicast = match parsed {
        IpAddr::V4(v4) => v4.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(v6) => v6.segments().first() == Some(&0xff02),
    };
    if parsed.is_unspecified() {
        errors.invalid(path, ip, format!("may not be unspecified ({ip})"));
    }
    if parsed.is_loopback() {
        errors.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        errors.invalid(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn load_balancer(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let balanced = text(spec, "type") == "LoadBalancer";
    for name in ["loadBalancerSourceRanges", "loadBalancerClass", "allocateLoadBalancerNodePorts"] {
        if has(spec, name) && !balanced && !(name == "loadBalancerSourceRanges" && is_empty(spec, name)) {
            errors.forbidden(&path.child(name), "may only be used when `type` is 'LoadBalancer'");
        }
    }
    if !balanced {
        return;
    }
    if !has(spec, "allocateLoadBalancerNodePorts") {
        errors.required(&path.child("allocateLoadBalancerNodePorts"), "");
    }
    for (i, network) in texts(spec, "loadBalancerSourceRanges").enumerate() {
        if network.trim().parse::<IpNet>().is_err() {
            errors.invalid(
                &path.child("loadBalancerSourceRanges").index(i),
                network,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            );
        }
    }
    if let Some(class) = field(spec, "loadBalancerClass").as_str() {
        errors.check(path, "loadBalancerClass", class, forms::qualified_name(class));
    }
}

fn traffic_policies(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let own = path.child("externalTrafficPolicy");
    match (is_external(spec), text(spec, "externalTrafficPolicy")) {
        (false, "") => {}
        (false, policy) => {
            errors.invalid(&own, policy, "may only be set for externally-accessible services");
        }
        (true, "") => errors.required(&own, ""),
        (true, _) => one_of(spec, "externalTrafficPolicy", path, &TRAFFIC, errors),
    }
    let health = int(spec, "healthCheckNodePort").unwrap_or(0);
    if health != 0 && !needs_health_port(spec) {
        errors.invalid(
            &path.child("healthCheckNodePort"),
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
    range(spec, "healthCheckNodePort", path, 0, 65535, errors);
    if text(spec, "type") != "ExternalName" {
        required_one_of(spec, "internalTrafficPolicy", path, &TRAFFIC, errors);
    }
}

fn addresses(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let families = list(spec, "ipFamilies");
    for (i, family) in texts(spec, "ipFamilies").enumerate() {
        let own = path.child("ipFamilies").index(i);
        if !matches!(family, "IPv4" | "IPv6") {
            errors.not_supported(&own, family, &["IPv4", "IPv6"]);
        }
        if families.iter().take(i).any(|f| f.as_str() == Some(family)) {
            errors.duplicate(&own, family);
        }
    }
    one_of(spec, "ipFamilyPolicy", path, &["SingleStack", "PreferDualStack", "RequireDualStack"], errors);
    let ips: Vec<&str> = texts(spec, "clusterIPs").collect();
    let own = path.child("clusterIPs");
    let single = text(spec, "clusterIP");
    if !ips.is_empty() && ips.first() != Some(&single) {
        errors.invalid(&own, json!(ips), "first value must match `clusterIP`");
    }
    if ips.len() > 2 {
        errors.invalid(&own, json!(ips), "may only hold up to 2 values");
    }
    for (i, ip) in ips.iter().enumerate() {
        if *ip == "None" {
            if ips.len() > 1 {
                errors.invalid(&own.index(i), *ip, "'None' must be the first and only value");
            }
        } else {
            errors.check_at(&own.index(i), ip, forms::ip_address(ip));
        }
    }
    if let [a, b] = ips.as_slice()
        && a.contains(':') == b.contains(':')
        && *a != "None"
        && *b != "None"
    {
        errors.invalid(
            &own,
            json!(ips),
            "may specify no more than one IP for each IP family, i.e. one IPv4 and one IPv6 address",
        );
    }
    if ips.is_empty() && !single.is_empty() {
        errors.required(&own, "");
    }
}

/// What is wrong with an update, besides what is wrong with the new service itself.
pub fn update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let (path, spec, old) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
    let has_address = |s: &Value| text(s, "type") != "ExternalName";
    if has_address(old) && has_address(spec) {
        for i in 0..2 {
            let (before, after) = (
                list(old, "clusterIPs").get(i).and_then(Value::as_str),
                list(spec, "clusterIPs").get(i).and_then(Value::as_str),
            );
            // A secondary address may go; what is there may not become another.
            let gone = i > 0 && after.is_none();
            if let Some(before) = before
                && after != Some(before)
                && !gone
            {
                let words = if after.is_some() {
                    "may not change once set"
                } else {
                    "primary clusterIP can not be unset"
                };
                errors.invalid(&path.child("clusterIPs").index(i), field(spec, "clusterIPs").clone(), words);
            }
        }
        let (before, after) = (list(old, "ipFamilies").first(), list(spec, "ipFamilies").first());
        if before.is_some() && before != after {
            errors.invalid(
                &path.child("ipFamilies").index(0),
                field(spec, "ipFamilies").clone(),
                "may not change once set",
            );
        }
    }
    let balanced = |s: &Value| text(s, "type") == "LoadBalancer";
    if balanced(old)
        && balanced(spec)
        && !same(field(spec, "loadBalancerClass"), field(old, "loadBalancerClass"))
    {
        errors.invalid(
            &path.child("loadBalancerClass"),
            field(spec, "loadBalancerClass").clone(),
            "may not change once set",
        );
    }
    if needs_health_port(old) && needs_health_port(spec) {
        immutable(spec, old, "healthCheckNodePort", &path, errors);
    }
}

/// What is wrong with a service's status.
pub fn status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("loadBalancer");
    let ingress = list(field(field(object, "status"), "loadBalancer"), "ingress");
    if !ingress.is_empty() && text(field(object, "spec"), "type") != "LoadBalancer" {
        errors.forbidden(&path.child("ingress"), "may only be used when `spec.type` is \"LoadBalancer\"");
    }
    for (i, entry) in ingress.iter().enumerate() {
        let path = path.child("ingress").index(i);
        let (ip, host) = (text(entry, "ip"), text(entry, "hostname"));
        if !ip.is_empty() {
            errors.check(&path, "ip", ip, forms::ip_address(ip));
            if !has(entry, "ipMode") {
                errors.required(&path.child("ipMode"), "must be specified when `ip` is set");
            }
        }
        one_of(entry, "ipMode", &path, &["Proxy", "VIP"], &mut errors);
        if !host.is_empty() {
            errors.check(&path, "hostname", host, forms::dns1123_subdomain(host));
            if host.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}
