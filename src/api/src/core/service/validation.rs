//! Validation of services.

use super::{is_external, is_headless, needs_health_port};
use crate::validation::{
    Errors, cidr_warning, ip_warning, labels, one_of, port_or_name, required_one_of, strict_cidr, strict_ip,
};
use crate::value::{field, has, int, is_empty, list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::{meta, validation as forms};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::IpAddr;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TRAFFIC: [&str; 2] = ["Cluster", "Local"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
/// The longest that a client may stick to an endpoint: a day.
const MAX_AFFINITY_SECONDS: i64 = 86400;
/// How traffic stays near, in the annotations of then and now.
pub const OLD_TOPOLOGY: &str = "service.kubernetes.io/topology-aware-hints";
pub const TOPOLOGY: &str = "service.kubernetes.io/topology-mode";
/// Who may reach a load balancer, before there was a field for it.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

/// What is wrong with a service.
pub fn validate(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    if let (Some(old), Some(new)) =
        (meta::annotation(object, OLD_TOPOLOGY), meta::annotation(object, TOPOLOGY))
        && old != new
    {
        errors.invalid(
            &Path::new("metadata").child("annotations").key(TOPOLOGY),
            new,
            format!("must match annotations[{OLD_TOPOLOGY}] when both are specified"),
        );
    }
    let kind = text(spec, "type");
    let headless = is_headless(spec);
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => errors.invalid(
            &path.child("clusterIPs").index(0),
            "None",
            format!("may not be set to 'None' for {kind} services"),
        ),
        "ExternalName" => external_name(spec, &path, &mut errors),
        _ => {}
    }
    ports(spec, &path, &mut errors);
    labels(spec, "selector", &path, &mut errors);
    affinity(spec, &path, &mut errors);
    if kind != "ExternalName" {
        addresses(spec, &path, &mut errors);
    }
    for (i, ip) in texts(spec, "externalIPs").enumerate() {
        let path = path.child("externalIPs").index(i);
        let messages = strict_ip(ip);
        if messages.is_empty() {
            not_special(ip, &path, &mut errors);
        }
        errors.check_at(&path, ip, messages);
    }
    required_one_of(spec, "type", &path, &TYPES, &mut errors);
    port_clashes(spec, &path, &mut errors);
    load_balancer(object, &path, &mut errors);
    traffic_policies(spec, &path, &mut errors);
    one_of(spec, "trafficDistribution", &path, &DISTRIBUTIONS, &mut errors);
    errors
}

fn external_name(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
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
    let mut names = HashSet::new();
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
    }
}

/// Ports, of the service and of nodes, are used once for each protocol.
fn port_clashes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let all = list(spec, "ports");
    let number = |port: &Value, name: &str| int(port, name).unwrap_or(0);
    let again = |i: usize, port: &Value, name: &str| {
        let same = |other: &Value| {
            number(other, name) == number(port, name) && text(other, "protocol") == text(port, "protocol")
        };
        all.iter().take(i).any(same)
    };
    for (i, port) in all.iter().enumerate() {
        let (path, node) = (|| path.child("ports").index(i), number(port, "nodePort"));
        if node != 0 && text(spec, "type") == "ClusterIP" {
            errors.forbidden(&path().child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
        if node != 0 && again(i, port, "nodePort") {
            errors.duplicate(&path().child("nodePort"), node);
        }
        if again(i, port, "port") {
            errors.duplicate(
                &path(),
                json!({"protocol": text(port, "protocol"), "port": number(port, "port")}),
            );
        }
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    required_one_of(spec, "sessionAffinity", path, &["ClientIP", "None"], errors);
    let own = path.child("sessionAffinityConfig");
    const MISSING: &str = "when session affinity type is ClientIP";
    match (text(spec, "sessionAffinity"), spec.get("sessionAffinityConfig")) {
        ("None", Some(_)) => errors.forbidden(&own, "must not be set when session affinity is None"),
        ("ClientIP", None) => errors.required(&own, MISSING),
        ("ClientIP", Some(config)) => {
            let own = own.child("clientIP");
            let Some(client) = config.get("clientIP") else { return errors.required(&own, MISSING) };
            let own = own.child("timeoutSeconds");
            match int(client, "timeoutSeconds") {
                None => errors.required(&own, MISSING),
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

fn load_balancer(object: &Value, path: &Path, errors: &mut ErrorList) {
    let spec = field(object, "spec");
    let balanced = text(spec, "type") == "LoadBalancer";
    if !list(spec, "loadBalancerSourceRanges").is_empty() {
        let own = path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.forbidden(&own, ONLY_BALANCED);
        }
        for (i, network) in texts(spec, "loadBalancerSourceRanges").enumerate() {
            errors.check_at(&own.index(i), network.trim(), strict_cidr(network.trim()));
        }
    } else if let Some(ranges) = meta::annotation(object, SOURCE_RANGES) {
        let own = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
        if !balanced {
            errors.forbidden(&own, ONLY_BALANCED);
        }
        for network in ranges.split(',').map(str::trim).filter(|_| !ranges.trim().is_empty()) {
            errors.check_at(&own, network, strict_cidr(network));
        }
    }
    match (balanced, has(spec, "allocateLoadBalancerNodePorts")) {
        (false, true) => errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED),
        (true, false) => errors.required(&Path::new("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
    if let Some(class) = field(spec, "loadBalancerClass").as_str() {
        if balanced {
            errors.check(path, "loadBalancerClass", class, forms::qualified_name(class));
        } else {
            errors.forbidden(&path.child("loadBalancerClass"), ONLY_BALANCED);
        }
    }
}

/// The port for health checks is handed out later, so a new service may lack it.
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
    let own = || path.child("healthCheckNodePort");
    if health != 0 && !needs_health_port(spec) {
        errors.invalid(
            &own(),
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    } else if health != 0 {
        for message in forms::port_number(health) {
            errors.invalid(&own(), health, message);
        }
    }
    if text(spec, "type") != "ExternalName" && !has(spec, "internalTrafficPolicy") {
        errors.required(&path.child("internalTrafficPolicy"), "");
    }
    one_of(spec, "internalTrafficPolicy", path, &TRAFFIC, errors);
}

/// Addresses, their families and how many there are (KEP-563).
fn addresses(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let ips: Vec<&str> = texts(spec, "clusterIPs").collect();
    let own = path.child("clusterIPs");
    match (text(spec, "clusterIP"), ips.first()) {
        ("", None) => {}
        ("", Some(_)) => {
            errors.invalid(&own, json!(ips), "must be empty when `clusterIP` is not specified");
        }
        (_, None) => errors.required(&own, ""),
        (single, Some(first)) if single != *first => {
            errors.invalid(&own, json!(ips), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let families: Vec<&str> = texts(spec, "ipFamilies").collect();
    for (i, family) in families.iter().enumerate() {
        let own = path.child("ipFamilies").index(i);
        if !matches!(*family, "IPv4" | "IPv6") {
            errors.not_supported(&own, *family, &["IPv4", "IPv6"]);
        }
        if families.iter().take(i).any(|other| other == family) {
            errors.duplicate(&own, *family);
        }
    }
    one_of(spec, "ipFamilyPolicy", path, &["PreferDualStack", "RequireDualStack", "SingleStack"], errors);
    let mut wrong = false;
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && *ip == "None" {
            if ips.len() > 1 {
                wrong = true;
                errors.invalid(&own, json!(ips), "'None' must be the first and only value");
            }
        } else {
            let messages = strict_ip(ip);
            wrong |= !messages.is_empty();
            errors.check_at(&own.index(i), ip, messages);
        }
    }
    if ips.len() > 2 {
        errors.invalid(&own, json!(ips), "may only hold up to 2 values");
    }
    if wrong {
        return;
    }
    let sixes = ips.iter().filter(|ip| ip.contains(':')).count();
    if ips.len() > 1 && (sixes == 0 || sixes == ips.len()) {
        errors.invalid(&own, json!(ips), "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (i, (ip, family)) in ips.iter().zip(&families).enumerate() {
        if matches!((*family, ip.contains(':')), ("IPv4", true) | ("IPv6", false)) {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(&own.index(i), *ip, detail);
        }
    }
}

/// What is wrong with an update, besides what is wrong with the new service itself.
pub fn update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let (path, spec, old) = (Path::new("spec"), field(object, "spec"), field(old, "spec"));
    let has_address = |s: &Value| text(s, "type") != "ExternalName";
    if has_address(old) && has_address(spec) {
        let (headless, was_headless) = (is_headless(spec), is_headless(old));
        if !(headless && was_headless) {
            stays_first(spec, old, "clusterIPs", "clusterIP", &path, errors);
        }
        if !headless && !was_headless {
            stays_first(spec, old, "ipFamilies", "ipFamily", &path, errors);
        }
    }
    let balanced = |s: &Value| text(s, "type") == "LoadBalancer";
    let class = field(spec, "loadBalancerClass");
    if balanced(old) && balanced(spec) && class != field(old, "loadBalancerClass") {
        let shown = if class.is_null() { Value::from("null") } else { class.clone() };
        errors.invalid(&path.child("loadBalancerClass"), shown, "may not change once set");
    }
    let health = |s: &Value| int(s, "healthCheckNodePort").unwrap_or(0);
    if needs_health_port(old) && needs_health_port(spec) && health(spec) != health(old) {
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
}

/// The first address or family stays; a second may come, or go where the service is told to have one only.
fn stays_first(spec: &Value, old: &Value, lists: &str, words: &str, path: &Path, errors: &mut ErrorList) {
    let (new, before) = (list(spec, lists), list(old, lists));
    let own = |i: usize| path.child(lists).index(i);
    let shown = field(spec, lists).clone();
    const CHANGED: &str = "may not change once set";
    if new.len() == before.len() {
        for (i, _) in new.iter().zip(before).enumerate().filter(|(_, (new, before))| new != before) {
            errors.invalid(&own(if lists == "ipFamilies" { 0 } else { i }), shown.clone(), CHANGED);
        }
        return;
    }
    if new.len() < before.len() && list(spec, "clusterIPs").is_empty() {
        errors.invalid(&own(0), shown.clone(), format!("primary {words} can not be unset"));
    }
    if let (Some(first), Some(was)) = (new.first(), before.first())
        && first != was
    {
        errors.invalid(&own(0), field(spec, "clusterIPs").clone(), CHANGED);
    }
    if new.len() == 1 && before.len() > 1 && text(spec, "ipFamilyPolicy") != "SingleStack" {
        let policy = field(spec, "ipFamilyPolicy");
        errors.invalid(
            &path.child("ipFamilyPolicy"),
            if policy.is_null() { Value::from("null") } else { policy.clone() },
            format!("must be set to 'SingleStack' when releasing the secondary {words}"),
        );
    }
}

/// Warnings about a service.
pub fn warnings(object: &Value) -> Vec<String> {
    let spec = field(object, "spec");
    let mut warnings = Vec::new();
    let mut warn = |words: &str| warnings.push(words.to_owned());
    if meta::annotation(object, OLD_TOPOLOGY).is_some() {
        warn(&format!("annotation {OLD_TOPOLOGY} is deprecated, please use {TOPOLOGY} instead"));
    }
    let kind = text(spec, "type");
    let headless = kind == "ClusterIP" && text(spec, "clusterIP") == "None";
    if !matches!(text(spec, "clusterIP"), "" | "None") {
        for (i, ip) in texts(spec, "clusterIPs").enumerate() {
            ip_warning(ip, || format!("spec.clusterIPs[{i}]")).iter().for_each(|words| warn(words));
        }
    }
    let external = !list(spec, "externalIPs").is_empty();
    if headless {
        if !text(spec, "loadBalancerIP").is_empty() {
            warn("spec.loadBalancerIP is ignored for headless services");
        }
        if external {
            warn("spec.externalIPs is ignored for headless services");
        }
        if text(spec, "sessionAffinity") != "None" {
            warn("spec.SessionAffinity is ignored for headless services");
        }
    }
    for (i, ip) in texts(spec, "externalIPs").enumerate() {
        ip_warning(ip, || format!("spec.externalIPs[{i}]")).iter().for_each(|words| warn(words));
    }
    if external && !headless && kind != "ExternalName" {
        warn("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    let balancer = text(spec, "loadBalancerIP");
    ip_warning(balancer, || "spec.loadBalancerIP".to_owned()).iter().for_each(|words| warn(words));
    for (i, network) in texts(spec, "loadBalancerSourceRanges").enumerate() {
        cidr_warning(network, || format!("spec.loadBalancerSourceRanges[{i}]"))
            .iter()
            .for_each(|words| warn(words));
    }
    if kind == "ExternalName" && external {
        warn("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if kind != "ExternalName" && !text(spec, "externalName").is_empty() {
        warn("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        warn("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
    warnings
}

/// What is wrong with a service's status.
pub fn status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("loadBalancer");
    let ingress = list(field(field(object, "status"), "loadBalancer"), "ingress");
    if !ingress.is_empty() && text(field(object, "spec"), "type") != "LoadBalancer" {
        errors.forbidden(&path.child("ingress"), "may only be used when `spec.type` is 'LoadBalancer'");
        return errors;
    }
    for (i, entry) in ingress.iter().enumerate() {
        let path = path.child("ingress").index(i);
        let (ip, host) = (text(entry, "ip"), text(entry, "hostname"));
        if !ip.is_empty() {
            errors.check(&path, "ip", ip, strict_ip(ip));
        }
        match (ip.is_empty(), has(entry, "ipMode")) {
            (false, false) => {
                errors.required(&path.child("ipMode"), "must be specified when `ip` is set");
            }
            (true, true) => {
                errors.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set");
            }
            _ => one_of(entry, "ipMode", &path, &["Proxy", "VIP"], &mut errors),
        }
        if !host.is_empty() {
            errors.check(&path, "hostname", host, forms::dns1123_subdomain(host));
            if host.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}
