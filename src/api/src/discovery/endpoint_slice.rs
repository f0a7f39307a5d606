//! EndpointSlice (KEP-752).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// Most endpoints of a slice (upstream's limit).
const MAX_ENDPOINTS: usize = 1000;
/// Most addresses of an endpoint (upstream's limit).
const MAX_ADDRESSES: usize = 100;

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

    fn validate(&self, object: &Value) -> ErrorList {
        let (root, mut errors) = (Path::default(), ErrorList::new());
        validation::required_one_of(object, "addressType", &root, &["FQDN", "IPv4", "IPv6"], &mut errors);
        let endpoints = value::list(object, "endpoints");
        if endpoints.len() > MAX_ENDPOINTS {
            errors.push(FieldError::too_many(&Path::new("endpoints"), endpoints.len(), MAX_ENDPOINTS));
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = Path::new("endpoints").index(index);
            let addresses = value::list(endpoint, "addresses");
            if addresses.is_empty() {
                errors.required(&path.child("addresses"), "must contain at least 1 address");
            } else if addresses.len() > MAX_ADDRESSES {
                errors.push(FieldError::too_many(&path.child("addresses"), addresses.len(), MAX_ADDRESSES));
            }
            for (at, address) in value::texts(endpoint, "addresses").enumerate() {
                let path = path.child("addresses").index(at);
                match value::text(object, "addressType") {
                    "FQDN" => {
                        errors.check_at(&path, address, apimachinery::validation::dns1123_subdomain(address))
                    }
                    _ => validation::check_ip(address, &path, &mut errors),
                }
            }
        }
        for (index, port) in value::list(object, "ports").iter().enumerate() {
            let path = Path::new("ports").index(index);
            validation::one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"], &mut errors);
            validation::range(port, "port", &path, 1, 65535, &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        validation::immutable(object, old, "addressType", &Path::default(), &mut errors);
        errors
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
            None => "*".to_owned(),
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

/// The first three of some texts and how many more there are, as kubectl shows them.
fn some_of(texts: Vec<String>, none: &str) -> Value {
    let shown = columns::joined(texts.iter().take(3).map(String::as_str));
    Value::from(match texts.len() {
        0 => none.to_owned(),
        1..=3 => shown,
        more => format!("{shown} + {} more...", more - 3),
    })
}
