//! Endpoints: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/>.

use super::service::not_special;
use crate::columns::{age, name, none};
use crate::discovery::endpoint_rules::may_be_special;
use crate::kind::Kind;
use crate::validation::{Errors, ip_warning, required_one_of, strict_ip, text_form};
use crate::value::{default_text, field, int, list, list_mut, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

/// Endpoints that the table shows before it counts.
const SHOWN: usize = 3;
/// Where a subset keeps its addresses.
const ADDRESSES: [&str; 2] = ["addresses", "notReadyAddresses"];

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
        validate(object, &Value::Null)
    }

    /// Addresses that are there already may stay as they are written.
    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        validate(object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings =
            vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()];
        for (i, subset) in list(object, "subsets").iter().enumerate() {
            for lists in ADDRESSES {
                for (j, address) in list(subset, lists).iter().enumerate() {
                    let path = || format!("subsets[{i}].{lists}[{j}].ip");
                    warnings.extend(ip_warning(text(address, "ip"), path));
                }
            }
        }
        warnings
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Endpoints"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), shown(object), age(object, now)]
    }
}

fn validate(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let known = |ip: &str| {
        list(old, "subsets").iter().any(|subset| {
            ADDRESSES.iter().any(|lists| list(subset, lists).iter().any(|address| text(address, "ip") == ip))
        })
    };
    for (i, subset) in list(object, "subsets").iter().enumerate() {
        let path = Path::new("subsets").index(i);
        if ADDRESSES.iter().all(|lists| list(subset, lists).is_empty()) {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for lists in ADDRESSES {
            for (j, address) in list(subset, lists).iter().enumerate() {
                self::address(address, known, &path.child(lists).index(j), &mut errors);
            }
        }
        ports(list(subset, "ports"), &path.child("ports"), &mut errors);
    }
    errors
}

fn address(address: &Value, known: impl Fn(&str) -> bool, path: &Path, errors: &mut ErrorList) {
    let ip = text(address, "ip");
    let problems = strict_ip(ip);
    if problems.is_empty() {
        if ip.parse().is_ok_and(may_be_special) {
            not_special(ip, &path.child("ip"), errors);
        }
    } else if !known(ip) {
        errors.check(path, "ip", ip, problems);
    }
    text_form(address, "hostname", path, forms::dns1123_label, errors);
    if let Some(node) = field(address, "nodeName").as_str() {
        errors.check(path, "nodeName", node, forms::dns1123_subdomain(node));
    }
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
        if let Some(protocol) = field(port, "appProtocol").as_str() {
            errors.check(&path, "appProtocol", protocol, forms::qualified_name(protocol));
        }
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
    fn subsets_have_addresses_and_named_ports() {
        let object = json!({"subsets": [
            {"ports": [{"port": 80, "protocol": "TCP"}, {"name": "b", "port": 0, "protocol": "TCP", "appProtocol": "/x"}]},
            {"addresses": [{"ip": "10.0.0.01"}, {"ip": "169.254.0.1"}]},
        ]});
        let told: Vec<String> = Endpoints.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[0].ports[1].appProtocol: Invalid value: \"/x\": prefix part must be non-empty",
                "subsets[1].addresses[0].ip: Invalid value: \"10.0.0.01\": must not have leading 0s",
                "subsets[1].addresses[1].ip: Invalid value: \"169.254.0.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            ]
        );
        let old = json!({"subsets": [{"addresses": [{"ip": "10.0.0.01"}]}]});
        assert_eq!(Endpoints.validate_update(&old, &old), vec![]);
    }

    #[test]
    fn the_table_shows_three_endpoints() {
        let addresses: Vec<Value> = (1..=5).map(|n| json!({"ip": format!("10.0.0.{n}")})).collect();
        let object = json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
        assert_eq!(shown(&object), "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
        assert_eq!(shown(&json!({})), "<none>");
    }
}
