//! Endpoints: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/>.

use super::service::not_special;
use crate::columns::{age, name, none};
use crate::kind::Kind;
use crate::validation::{Errors, required_one_of, text_form};
use crate::value::{default_text, int, list, list_mut, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

/// Endpoints that the table shows before it counts.
const SHOWN: usize = 3;

/// The kind.
#[derive(Debug)]
pub struct Endpoints;

impl Kind for Endpoints {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "Endpoints")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ep"]
    }

    fn default(&self, object: &mut Value) {
        for subset in list_mut(object, "subsets") {
            for port in list_mut(subset, "ports") {
                default_text(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for (i, subset) in list(object, "subsets").iter().enumerate() {
            let path = Path::new("subsets").index(i);
            if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
                errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
            }
            for lists in ["addresses", "notReadyAddresses"] {
                for (j, address) in list(subset, lists).iter().enumerate() {
                    self::address(address, &path.child(lists).index(j), &mut errors);
                }
            }
            ports(list(subset, "ports"), &path.child("ports"), &mut errors);
        }
        errors
    }

    fn warnings(&self, _object: &Value) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Endpoints"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), shown(object), age(object, now)]
    }
}

fn address(address: &Value, path: &Path, errors: &mut ErrorList) {
    let ip = text(address, "ip");
    let messages = forms::ip_address(ip);
    if messages.is_empty() {
        not_special(ip, &path.child("ip"), errors);
    }
    errors.check(path, "ip", ip, messages);
    text_form(address, "hostname", path, forms::dns1123_label, errors);
    text_form(address, "nodeName", path, forms::dns1123_subdomain, errors);
}

fn ports(all: &[Value], path: &Path, errors: &mut ErrorList) {
    for (i, port) in all.iter().enumerate() {
        let path = path.index(i);
        let (name, number) = (text(port, "name"), int(port, "port").unwrap_or(0));
        if name.is_empty() && all.len() > 1 {
            errors.required(&path.child("name"), "");
        } else if !name.is_empty() {
            errors.check(&path, "name", name, forms::dns1123_label(name));
        }
        for message in forms::port_number(number) {
            errors.invalid(&path.child("port"), number, message);
        }
        required_one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"], errors);
    }
}

fn shown(object: &Value) -> Value {
    let mut all: Vec<String> = Vec::new();
    for subset in list(object, "subsets") {
        let addresses = list(subset, "addresses").iter().map(|a| text(a, "ip"));
        if list(subset, "ports").is_empty() {
            all.extend(addresses.map(str::to_owned));
            continue;
        }
        for port in list(subset, "ports") {
            let number = int(port, "port").unwrap_or(0);
            all.extend(list(subset, "addresses").iter().map(|address| {
                let ip = text(address, "ip");
                if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") }
            }));
        }
    }
    if all.is_empty() {
        return none();
    }
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    let first = all.join(",");
    Value::from(if more > 0 { format!("{first} + {more} more...") } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_shows_three_endpoints() {
        let addresses: Vec<Value> = (1..=5).map(|n| json!({"ip": format!("10.0.0.{n}")})).collect();
        let object = json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
        assert_eq!(shown(&object), "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
        assert_eq!(shown(&json!({})), "<none>");
    }
}
