//! What is wrong with the endpoints and the ports of a slice.

use crate::core::service::not_special;
use crate::validation::{self as rules, Errors};
use crate::value::{entries, field, list, list_at, text, texts};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;

/// Endpoints of a slice.
const MAX_ENDPOINTS: usize = 1000;
/// Addresses of an endpoint.
const MAX_ADDRESSES: usize = 100;
/// Ports of a slice.
const MAX_PORTS: usize = 20_000;
/// Labels that tell where an endpoint is.
const MAX_TOPOLOGY_LABELS: usize = 16;
/// Zones, or nodes, that an endpoint is for (KEP-2433, KEP-3015).
const MAX_HINTS: usize = 8;

/// What is wrong with a slice; addresses of the old one may stay as they are written.
pub fn validate(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let types = ["FQDN", "IPv4", "IPv6"];
    rules::required_one_of(object, "addressType", &Path::default(), &types, &mut errors);
    let endpoints = list(object, "endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(&Path::new("endpoints"), endpoints.len(), MAX_ENDPOINTS));
    } else {
        let mut known: Option<HashSet<&str>> = None;
        let mut is_known = |address: &str| {
            let known = known.get_or_insert_with(|| {
                list(old, "endpoints").iter().flat_map(|endpoint| texts(endpoint, "addresses")).collect()
            });
            known.contains(address)
        };
        for (i, endpoint) in endpoints.iter().enumerate() {
            let path = || Path::new("endpoints").index(i);
            addresses(endpoint, text(object, "addressType"), &mut is_known, &path, &mut errors);
            validate_endpoint(endpoint, &path, &mut errors);
        }
    }
    ports(list(object, "ports"), &mut errors);
    errors
}

fn addresses(
    endpoint: &Value,
    kind: &str,
    is_known: &mut impl FnMut(&str) -> bool,
    path: &impl Fn() -> Path,
    errors: &mut ErrorList,
) {
    let all = list(endpoint, "addresses");
    if all.is_empty() {
        errors.required(&path().child("addresses"), "must contain at least 1 address");
    } else if all.len() > MAX_ADDRESSES {
        errors.push(FieldError::too_many(&path().child("addresses"), all.len(), MAX_ADDRESSES));
    }
    for (i, address) in texts(endpoint, "addresses").enumerate() {
        let own = || path().child("addresses").index(i);
        match kind {
            "FQDN" => rules::fully_qualified_domain(address, &own(), errors),
            "IPv4" | "IPv6" => {
                let problems = rules::strict_ip(address);
                if !problems.is_empty() && !is_known(address) {
                    errors.check_at(&own(), address, problems);
                    continue;
                }
                let Ok(ip) = address.parse::<IpAddr>() else { continue };
                if ip.is_ipv4() != (kind == "IPv4") {
                    errors.invalid(&own(), address, format!("must be an {kind} address"));
                }
                if may_be_special(ip) {
                    not_special(address, &own(), errors);
                }
            }
            _ => {}
        }
    }
}

/// Whether an address is perhaps none that other machines can have: most are, so that their paths are not needed.
pub fn may_be_special(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || local
}

fn validate_endpoint(endpoint: &Value, path: &impl Fn() -> Path, errors: &mut ErrorList) {
    let topology = entries(endpoint, "deprecatedTopology").count();
    if topology > MAX_TOPOLOGY_LABELS {
        errors.push(FieldError::too_many(&path().child("deprecatedTopology"), topology, MAX_TOPOLOGY_LABELS));
    }
    if topology > 0 {
        rules::labels(endpoint, "deprecatedTopology", &path(), errors);
    }
    let mut form = |name: &str, check: fn(&str) -> Vec<String>| {
        if let Some(value) = field(endpoint, name).as_str() {
            let problems = check(value);
            if !problems.is_empty() {
                errors.check_at(&path().child(name), value, problems);
            }
        }
    };
    form("nodeName", forms::dns1123_subdomain);
    form("hostname", forms::dns1123_label);
    let path = |name: &str| path().child("hints").child(name);
    hints(list_at(endpoint, &["hints", "forZones"]), forms::label_value, || path("forZones"), errors);
    hints(list_at(endpoint, &["hints", "forNodes"]), forms::dns1123_subdomain, || path("forNodes"), errors);
}

fn hints(all: &[Value], form: fn(&str) -> Vec<String>, path: impl Fn() -> Path, errors: &mut ErrorList) {
    if all.len() > MAX_HINTS {
        return errors.push(FieldError::too_many(&path(), all.len(), MAX_HINTS));
    }
    for (i, hint) in all.iter().enumerate() {
        let name = text(hint, "name");
        if all.iter().take(i).any(|earlier| text(earlier, "name") == name) {
            errors.duplicate(&path().index(i).child("name"), name);
        }
        let problems = form(name);
        if !problems.is_empty() {
            errors.check_at(&path().index(i).child("name"), name, problems);
        }
    }
}

fn ports(ports: &[Value], errors: &mut ErrorList) {
    let path = Path::new("ports");
    if ports.len() > MAX_PORTS {
        return errors.push(FieldError::too_many(&path, ports.len(), MAX_PORTS));
    }
    let mut names = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            errors.check(&path, "name", name, forms::dns1123_label(name));
        }
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        rules::required_one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"], errors);
        if let Some(protocol) = field(port, "appProtocol").as_str() {
            errors.check(&path, "appProtocol", protocol, forms::qualified_name(protocol));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(kind: &str, addresses: &[&str]) -> Value {
        json!({"addressType": kind, "endpoints": [{"addresses": addresses}]})
    }

    fn told(object: &Value) -> Vec<String> {
        validate(object, &Value::Null).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_of_their_type() {
        assert_eq!(told(&slice("IPv4", &["10.0.0.1"])), Vec::<String>::new());
        assert_eq!(
            told(&slice("IPv4", &["fd00::1", "127.0.0.1", "10.0.0.01", "x"])),
            [
                "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be an IPv4 address",
                "endpoints[0].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[0].addresses[2]: Invalid value: \"10.0.0.01\": must not have leading 0s",
                "endpoints[0].addresses[3]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ]
        );
        assert_eq!(
            told(&slice("FQDN", &["example"])),
            [
                "endpoints[0].addresses[0]: Invalid value: \"example\": should be a domain with at least two segments separated by dots"
            ]
        );
        assert_eq!(
            told(&slice("IPv4", &[])),
            ["endpoints[0].addresses: Required value: must contain at least 1 address"]
        );
        let old = slice("IPv4", &["10.0.0.01"]);
        assert_eq!(validate(&old, &old), vec![]);
    }

    #[test]
    fn hints_name_each_zone_once() {
        let zones = |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
        let with = |hints: Value| {
            told(&json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}]}))
        };
        assert_eq!(
            with(json!({"forZones": zones(&["a", "a"])})),
            ["endpoints[0].hints.forZones[1].name: Duplicate value: \"a\""]
        );
        assert_eq!(
            with(json!({"forNodes": zones(&["1", "2", "3", "4", "5", "6", "7", "8", "9"])})),
            ["endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items"]
        );
    }

    #[test]
    fn ports_have_names_of_their_own() {
        assert_eq!(
            told(&json!({"addressType": "IPv4", "ports": [
                {"name": "a", "protocol": "TCP"}, {"name": "a", "protocol": "ICMP"},
            ]})),
            [
                "ports[1].name: Duplicate value: \"a\"",
                "ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
        assert_eq!(
            told(&json!({"addressType": "MAC"})),
            ["addressType: Unsupported value: \"MAC\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""]
        );
    }
}
