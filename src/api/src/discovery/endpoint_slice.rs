//! EndpointSlice (KEP-752).

use super::endpoint_rules;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// EndpointSlice.
pub struct EndpointSlice;

impl Kind for EndpointSlice {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("discovery.k8s.io", "EndpointSlice")
    }

    fn default(&self, object: &mut Value) {
        for port in value::list_mut(object, "ports") {
            value::default(port, "name", "");
            value::default_text(port, "protocol", "TCP");
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_topology(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        if !value::same(value::field(object, "endpoints"), value::field(old, "endpoints")) {
            drop_topology(object);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        endpoint_rules::validate(object, &Value::Null)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = endpoint_rules::validate(object, old);
        validation::immutable(object, old, "addressType", &Path::default(), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if value::text(object, "addressType") == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        for (i, endpoint) in value::list(object, "endpoints").iter().enumerate() {
            for (j, address) in value::texts(endpoint, "addresses").enumerate() {
                let path = || format!("endpoints[{i}].addresses[{j}]");
                warnings.extend(validation::ip_warning(address, path));
            }
        }
        warnings
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("AddressType"),
            Column::new("Ports"),
            Column::new("Endpoints"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let ports = value::list(object, "ports").iter().map(|p| match value::int(p, "port") {
            Some(port) => port.to_string(),
            None => p.get("name").and_then(Value::as_str).unwrap_or("*").to_owned(),
        });
        let addresses = value::list(object, "endpoints")
            .iter()
            .flat_map(|e| value::texts(e, "addresses").map(str::to_owned));
        vec![
            columns::name(object),
            columns::text_cell(object, "addressType"),
            some_of(ports.collect(), "<unset>"),
            some_of(addresses.collect(), "<unset>"),
            columns::age(object, now),
        ]
    }
}

/// The labels of v1beta1 are not for clients of v1 to write: zone and node have fields.
fn drop_topology(object: &mut Value) {
    for endpoint in value::list_mut(object, "endpoints") {
        value::remove(endpoint, "deprecatedTopology");
    }
}

/// The first three of some texts and how many more there are, as kubectl shows them.
fn some_of(texts: Vec<String>, none: &str) -> Value {
    let shown = columns::joined(texts.iter().take(3).map(String::as_str));
    Value::from(match texts.len() {
        0 => none.to_owned(),
        1..=3 => shown,
        more => format!("{shown} + {} more...", more - 3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_old_are_dropped_with_a_change() {
        let old = json!({"endpoints": [{"addresses": ["10.0.0.1"], "deprecatedTopology": {"a": "b"}}]});
        let mut same = old.clone();
        EndpointSlice.prepare_for_update(&mut same, &old);
        assert_eq!(same, old);
        let mut new = old.clone();
        new["endpoints"][0]["addresses"] = json!(["10.0.0.2"]);
        EndpointSlice.prepare_for_update(&mut new, &old);
        assert_eq!(new, json!({"endpoints": [{"addresses": ["10.0.0.2"]}]}));
    }

    #[test]
    fn the_type_stays() {
        let of = |kind: &str| json!({"addressType": kind});
        let told: Vec<String> =
            EndpointSlice.validate_update(&of("IPv6"), &of("IPv4")).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["addressType: Invalid value: \"IPv6\": field is immutable"]);
        assert_eq!(EndpointSlice.warnings(&of("FQDN")), ["spec.addressType: FQDN endpoints are deprecated"]);
    }
}
