//! NetworkPolicy (KEP-2079 and the network policy documentation).

use crate::Kind;
use crate::columns;
use crate::validation::{Errors, sloppy_network};
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;

/// What goes in and what goes out, and where their rules keep the peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];
const TYPES: [&str; 2] = ["Ingress", "Egress"];

/// NetworkPolicy.
pub struct NetworkPolicy;

impl Kind for NetworkPolicy {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "NetworkPolicy")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["netpol"]
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = value::object_mut(object, "spec") else { return };
        if value::list(spec, "policyTypes").is_empty() {
            let types: &[&str] =
                if value::list(spec, "egress").is_empty() { &["Ingress"] } else { &["Ingress", "Egress"] };
            value::set(spec, "policyTypes", types.to_vec());
        }
        for list in ["ingress", "egress"] {
            for rule in value::list_mut(spec, list) {
                for port in value::list_mut(rule, "ports") {
                    value::default_text(port, "protocol", "TCP");
                }
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validate(object, &Value::Null)
    }

    /// Networks that are there already may stay as they are written.
    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        validate(object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        for_each_block(object, |block, path| {
            let own = |name: &str| path().child("ipBlock").child(name);
            warnings.extend(validation::cidr_warning(value::text(block, "cidr"), || own("cidr").to_string()));
            for (i, except) in value::texts(block, "except").enumerate() {
                warnings.extend(validation::cidr_warning(except, || own("except").index(i).to_string()));
            }
        });
        warnings
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Pod-Selector"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            columns::selector_text(value::at(object, &["spec", "podSelector"])),
            columns::age(object, now),
        ]
    }
}

fn validate(object: &Value, old: &Value) -> ErrorList {
    let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
    validation::label_selector(spec, "podSelector", &path, &mut errors);
    let mut known = HashSet::new();
    for_each_block(old, |block, _| {
        known.insert(value::text(block, "cidr"));
        known.extend(value::texts(block, "except"));
    });
    for (direction, peers) in DIRECTIONS {
        for (i, rule) in value::list(spec, direction).iter().enumerate() {
            let path = path.child(direction).index(i);
            for (j, port) in value::list(rule, "ports").iter().enumerate() {
                validate_port(port, &path.child("ports").index(j), &mut errors);
            }
            for (j, peer) in value::list(rule, peers).iter().enumerate() {
                validate_peer(peer, &known, &path.child(peers).index(j), &mut errors);
            }
        }
    }
    let types = value::list(spec, "policyTypes");
    if types.len() > TYPES.len() {
        errors.invalid(
            &path.child("policyTypes"),
            types.to_vec(),
            "may not specify more than two policyTypes",
        );
        return errors;
    }
    for (i, kind) in value::texts(spec, "policyTypes").enumerate() {
        if !TYPES.contains(&kind) {
            errors.not_supported(&path.child("policyTypes").index(i), kind, &TYPES);
        }
    }
    errors
}

/// Calls `visit` for every block of addresses of a policy, with what writes down the path of its peer.
fn for_each_block<'a>(object: &'a Value, mut visit: impl FnMut(&'a Value, &dyn Fn() -> Path)) {
    for (direction, peers) in DIRECTIONS {
        for (i, rule) in value::list_at(object, &["spec", direction]).iter().enumerate() {
            for (j, peer) in value::list(rule, peers).iter().enumerate() {
                if let Some(block) = peer.get("ipBlock") {
                    visit(block, &|| Path::new("spec").child(direction).index(i).child(peers).index(j));
                }
            }
        }
    }
}

fn validate_port(port: &Value, path: &Path, errors: &mut ErrorList) {
    validation::one_of(port, "protocol", path, &["TCP", "UDP", "SCTP"], errors);
    if value::has(port, "port") {
        validation::port_or_name(port, "port", path, errors);
    }
    let Some(last) = value::int(port, "endPort") else { return };
    let own = path.child("endPort");
    match value::field(port, "port") {
        Value::Null => errors.invalid(&own, last, "may not be specified when `port` is not specified"),
        Value::String(_) => errors.invalid(&own, last, "may not be specified when `port` is non-numeric"),
        first => {
            if let Some(first) = first.as_i64()
                && last < first
            {
                errors.invalid(&own, first, "must be greater than or equal to `port`");
            }
            validation::range(port, "endPort", path, 1, 65535, errors);
        }
    }
}

fn validate_peer(peer: &Value, known: &HashSet<&str>, path: &Path, errors: &mut ErrorList) {
    let selectors = ["podSelector", "namespaceSelector"];
    for name in selectors {
        validation::label_selector(peer, name, path, errors);
    }
    let block = value::field(peer, "ipBlock");
    if !block.is_null() {
        validate_block(block, known, &path.child("ipBlock"), errors);
    }
    match (block.is_null(), selectors.iter().any(|name| value::has(peer, name))) {
        (true, false) => errors.required(path, "must specify a peer"),
        (false, true) => errors.forbidden(path, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

/// A network without some of its parts.
fn validate_block(block: &Value, known: &HashSet<&str>, path: &Path, errors: &mut ErrorList) {
    let problems = |cidr: &str| {
        if known.contains(cidr) && sloppy_network(cidr).is_some() {
            Vec::new()
        } else {
            validation::strict_cidr(cidr)
        }
    };
    let cidr = value::text(block, "cidr");
    if !validation::required_text(block, "cidr", path, errors) {
        return;
    }
    errors.check(path, "cidr", cidr, problems(cidr));
    let Some(whole) = sloppy_network(cidr) else { return };
    for (i, except) in value::texts(block, "except").enumerate() {
        let wrong = problems(except);
        if !wrong.is_empty() {
            errors.check_at(&path.child("except").index(i), except, wrong);
        }
        if sloppy_network(except).is_some_and(|part| !validation::is_strict_subset(part, whole)) {
            errors.invalid(&path.child("except").index(i), except, "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(spec: &Value) -> Value {
        let mut object = json!({ "spec": spec });
        NetworkPolicy.default(&mut object);
        object
    }

    fn told(spec: &Value) -> Vec<String> {
        NetworkPolicy.validate(&policy(spec)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_of_ports_are_numbers() {
        let port = |port: Value| told(&json!({"podSelector": {}, "ingress": [{"ports": [port]}]}));
        assert_eq!(port(json!({"port": 80, "endPort": 90})), Vec::<String>::new());
        assert_eq!(port(json!({"port": "http"})), Vec::<String>::new());
        assert_eq!(
            port(json!({"port": 80, "endPort": 79})),
            ["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"]
        );
        assert_eq!(
            port(json!({"port": "http", "endPort": 79})),
            [
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric"
            ]
        );
        assert_eq!(
            port(json!({"endPort": 79, "protocol": "ICMP"})),
            [
                "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is not specified",
            ]
        );
    }

    #[test]
    fn blocks_are_networks_without_parts_of_them() {
        let block = |block: Value| told(&json!({"egress": [{"to": [{"ipBlock": block}]}]}));
        assert_eq!(block(json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]})), Vec::<String>::new());
        assert_eq!(
            block(json!({"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.0.0.0/8", "x"]})),
            [
                "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "spec.egress[0].to[0].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
                "spec.egress[0].to[0].ipBlock.except[2]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ]
        );
        assert_eq!(block(json!({})), ["spec.egress[0].to[0].ipBlock.cidr: Required value"]);
        assert_eq!(
            told(&json!({"egress": [{"to": [{}, {"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]})),
            [
                "spec.egress[0].to[0]: Required value: must specify a peer",
                "spec.egress[0].to[1]: Forbidden: may not specify both ipBlock and another peer",
            ]
        );
    }

    #[test]
    fn networks_that_were_there_may_stay() {
        let loose = policy(&json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]}));
        assert_eq!(
            told(&loose["spec"]),
            [
                "spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length"
            ]
        );
        assert_eq!(NetworkPolicy.validate_update(&loose, &loose), vec![]);
    }

    #[test]
    fn unusual_networks_are_warned_of() {
        let object = policy(&json!({"ingress": [{"from": [{"ipBlock": {"cidr": "FD00::/8"}}]}]}));
        assert_eq!(
            NetworkPolicy.warnings(&object),
            [
                "spec.ingress[0].from[0].ipBlock.cidr: IPv6 CIDR value \"FD00::/8\" should be in RFC 5952 canonical format (\"fd00::/8\")"
            ]
        );
    }

    #[test]
    fn a_policy_is_of_two_types_at_most() {
        assert_eq!(
            told(&json!({"policyTypes": ["Ingress", "Other"]})),
            ["spec.policyTypes[1]: Unsupported value: \"Other\": supported values: \"Ingress\", \"Egress\""]
        );
        assert!(
            told(&json!({"policyTypes": ["Ingress", "Egress", "Egress"]}))[0]
                .ends_with("may not specify more than two policyTypes")
        );
    }
}
