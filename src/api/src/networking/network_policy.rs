//! NetworkPolicy (KEP-2079 and the network policy documentation).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

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
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        validation::label_selector(spec, "podSelector", &path, &mut errors);
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in value::list(spec, direction).iter().enumerate() {
                validate_rule(rule, peers, &path.child(direction).index(index), &mut errors);
            }
        }
        for (index, kind) in value::texts(spec, "policyTypes").enumerate() {
            if !["Ingress", "Egress"].contains(&kind) {
                errors.not_supported(&path.child("policyTypes").index(index), kind, &["Egress", "Ingress"]);
            }
        }
        errors
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

fn validate_rule(rule: &Value, peers: &str, path: &Path, errors: &mut ErrorList) {
    for (index, port) in value::list(rule, "ports").iter().enumerate() {
        let path = path.child("ports").index(index);
        validation::one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"], errors);
        if value::has(port, "port") {
            validation::port_or_name(port, "port", &path, errors);
        }
        if let (Some(first), Some(last)) = (value::int(port, "port"), value::int(port, "endPort"))
            && last < first
        {
            errors.invalid(&path.child("endPort"), last, "must be greater than or equal to `port`");
        }
    }
    for (index, peer) in value::list(rule, peers).iter().enumerate() {
        let path = path.child(peers).index(index);
        let block = value::field(peer, "ipBlock");
        let selectors = ["podSelector", "namespaceSelector"];
        if block.is_null() && selectors.iter().all(|name| !value::has(peer, name)) {
            errors.required(&path, "must specify a peer");
        } else if !block.is_null() && selectors.iter().any(|name| value::has(peer, name)) {
            errors.forbidden(&path, "may not specify both ipBlock and another peer");
        }
        for name in selectors {
            validation::label_selector(peer, name, &path, errors);
        }
        if !block.is_null() {
            let cidr = value::text(block, "cidr");
            if cidr.parse::<ipnet::IpNet>().is_err() {
                let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                errors.invalid(&path.child("ipBlock").child("cidr"), cidr, detail);
            }
        }
    }
}
