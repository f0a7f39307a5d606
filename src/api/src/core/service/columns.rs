//! The table of services.

use crate::columns::{age, joined, name, or_none, selector_text};
use crate::value::{field, int, list, text, texts};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The columns.
pub fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::new("Type"),
        Column::new("Cluster-IP"),
        Column::new("External-IP"),
        Column::new("Port(s)"),
        Column::age(),
        Column::new("Selector").wide(),
    ]
}

/// The cells of one service.
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = field(object, "spec");
    let ports: Vec<String> = list(spec, "ports").iter().map(port).collect();
    vec![
        name(object),
        Value::from(text(spec, "type")),
        or_none(match list(spec, "clusterIPs").first().and_then(Value::as_str) {
            Some(first) => first,
            None => text(spec, "clusterIP"),
        }),
        Value::from(external(object)),
        or_none(&joined(ports.iter().map(String::as_str))),
        age(object, now),
        selector_text(field(spec, "selector")),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (int(port, "port").unwrap_or(0), text(port, "protocol"));
    match int(port, "nodePort") {
        Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
        _ => format!("{number}/{protocol}"),
    }
}

fn external(object: &Value) -> String {
    let spec = field(object, "spec");
    let own = joined(texts(spec, "externalIPs"));
    match text(spec, "type") {
        "ClusterIP" | "NodePort" => {
            if own.is_empty() {
                "<none>".to_owned()
            } else {
                own
            }
        }
        "LoadBalancer" => {
            let balanced = load_balancer(field(field(object, "status"), "loadBalancer"));
            match (balanced.is_empty(), own.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (false, true) => balanced,
                (true, false) => own,
                (false, false) => format!("{balanced},{own}"),
            }
        }
        "ExternalName" => text(spec, "externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses or names in a load balancer's status, sorted and joined.
fn load_balancer(status: &Value) -> String {
    let mut all: Vec<&str> = list(status, "ingress")
        .iter()
        .map(|entry| match text(entry, "ip") {
            "" => text(entry, "hostname"),
            ip => ip,
        })
        .filter(|shown| !shown.is_empty())
        .collect();
    all.sort_unstable();
    all.dedup();
    joined(all)
}
