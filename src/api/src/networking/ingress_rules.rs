//! What is wrong with the spec and the status of an Ingress.

use super::references;
use crate::validation::{self as rules, Errors};
use crate::value::{field, has, int, list, list_at, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::net::IpAddr;

/// What no path may hold: it would be read in two ways.
const BAD_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
/// What no path may end with.
const BAD_PATH_ENDS: [&str; 2] = ["/..", "/."];

/// What an Ingress that is there already may keep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tolerated {
    /// Names of secrets that no secret can have.
    secret_names: bool,
    /// Rules of hosts with a wildcard that would not be taken.
    wildcard_rules: bool,
}

impl Tolerated {
    /// What an update of an Ingress with this spec may keep.
    pub fn by(spec: &Value) -> Self {
        let bad_secret = |tls: &Value| !forms::dns1123_subdomain(text(tls, "secretName")).is_empty();
        let bad_rule = |rule: &Value| {
            let mut errors = ErrorList::new();
            rule_paths(rule, &Path::default(), &mut errors);
            text(rule, "host").contains('*') && !errors.is_empty()
        };
        Self {
            secret_names: list(spec, "tls").iter().any(|tls| has(tls, "secretName") && bad_secret(tls)),
            wildcard_rules: list(spec, "rules").iter().any(bad_rule),
        }
    }
}

/// What is wrong with a spec.
pub fn spec(spec: &Value, tolerated: Tolerated, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
        errors.invalid(&path, Vec::<Value>::new(), "either `defaultBackend` or `rules` must be specified");
    }
    if has(spec, "defaultBackend") {
        backend(field(spec, "defaultBackend"), &path.child("defaultBackend"), errors);
    }
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        let path = path.child("rules").index(i);
        let name = text(rule, "host");
        if !name.is_empty() {
            host(name, "host", &path, errors);
        }
        if !(name.contains('*') && tolerated.wildcard_rules) {
            rule_paths(rule, &path, errors);
        }
    }
    for (i, tls) in list(spec, "tls").iter().enumerate() {
        let path = path.child("tls").index(i);
        for (j, name) in texts(tls, "hosts").enumerate() {
            let messages = host_form(name);
            if !messages.is_empty() {
                errors.check_at(&path.child("hosts").index(j), name, messages);
            }
        }
        if !tolerated.secret_names {
            rules::text_form(tls, "secretName", &path, forms::dns1123_subdomain, errors);
        }
    }
    if let Some(class) = field(spec, "ingressClassName").as_str() {
        errors.check(&path, "ingressClassName", class, forms::dns1123_subdomain(class));
    }
}

fn host_form(name: &str) -> Vec<String> {
    if name.contains('*') { forms::wildcard_dns1123_subdomain(name) } else { forms::dns1123_subdomain(name) }
}

/// A host's name, which is no address.
fn host(name: &str, member: &str, path: &Path, errors: &mut ErrorList) {
    if name.parse::<IpAddr>().is_ok() {
        errors.invalid(&path.child(member), name, "must be a DNS name, not an IP address");
    }
    errors.check(path, member, name, host_form(name));
}

fn rule_paths(rule: &Value, path: &Path, errors: &mut ErrorList) {
    if !has(rule, "http") {
        return;
    }
    let paths = list_at(rule, &["http", "paths"]);
    let path = path.child("http");
    if paths.is_empty() {
        errors.required(&path.child("paths"), "");
    }
    for (i, item) in paths.iter().enumerate() {
        http_path(item, &path.child("paths").index(i), errors);
    }
}

fn http_path(item: &Value, path: &Path, errors: &mut ErrorList) {
    let place = text(item, "path");
    let own = || path.child("path");
    match text(item, "pathType") {
        "" => return errors.required(&path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !place.starts_with('/') {
                errors.invalid(&own(), place, "must be an absolute path");
            }
            for bad in BAD_IN_PATHS.iter().filter(|bad| place.contains(**bad)) {
                errors.invalid(&own(), place, format!("must not contain '{bad}'"));
            }
            for bad in BAD_PATH_ENDS.iter().filter(|bad| place.ends_with(**bad)) {
                errors.invalid(&own(), place, format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !place.is_empty() && !place.starts_with('/') {
                errors.invalid(&own(), place, "must be an absolute path");
            }
        }
        other => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.not_supported(&path.child("pathType"), other, &known);
        }
    }
    backend(field(item, "backend"), &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path, errors: &mut ErrorList) {
    match (has(backend, "resource"), has(backend, "service")) {
        (true, true) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (false, false) => errors.invalid(path, "", "resource or service backend is required"),
        (true, false) => references::local(field(backend, "resource"), &path.child("resource"), errors),
        (false, true) => service(field(backend, "service"), path, errors),
    }
}

fn service(service: &Value, backend: &Path, errors: &mut ErrorList) {
    let path = backend.child("service");
    if rules::required_text(service, "name", &path, errors) {
        // As Services are named (KEP-5311).
        rules::text_form(service, "name", &path, forms::dns1123_label, errors);
    }
    let port = field(service, "port");
    let (name, number) = (text(port, "name"), int(port, "number").unwrap_or(0));
    match (name.is_empty(), number == 0) {
        (false, false) => errors.invalid(backend, "", "cannot set both port name & port number"),
        (true, true) => errors.required(backend, "port name or number is required"),
        (false, true) => errors.check(&path.child("port"), "name", name, forms::port_name(name)),
        (true, false) => rules::range(port, "number", &path.child("port"), 1, 65535, errors),
    }
}

/// What is wrong with the addresses in a status; those of the old one may stay.
pub fn status(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let ingress = |object| list_at(object, &["status", "loadBalancer", "ingress"]);
    let path = Path::new("status").child("loadBalancer").child("ingress");
    for (i, entry) in ingress(object).iter().enumerate() {
        let path = path.index(i);
        let (ip, name) = (text(entry, "ip"), text(entry, "hostname"));
        if !ip.is_empty() && !ingress(old).iter().any(|entry| text(entry, "ip") == ip) {
            errors.check(&path, "ip", ip, rules::strict_ip(ip));
        }
        if !name.is_empty() {
            errors.check(&path, "hostname", name, forms::dns1123_subdomain(name));
            if name.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), name, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(object: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        spec(object, Tolerated::default(), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    fn with_backend(backend: Value) -> Vec<String> {
        told(&json!({ "defaultBackend": backend }))
    }

    fn with_path(kind: &str, path: &str) -> Vec<String> {
        let item = json!({"path": path, "pathType": kind, "backend": {"service": {"name": "a", "port": {"number": 1}}}});
        told(&json!({"rules": [{"http": {"paths": [item]}}]}))
    }

    #[test]
    fn a_backend_is_a_service_or_another_resource() {
        assert_eq!(
            told(&json!({})),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]
        );
        assert_eq!(
            with_backend(json!({})),
            ["spec.defaultBackend: Invalid value: \"\": resource or service backend is required"]
        );
        assert_eq!(
            with_backend(json!({"resource": {"apiGroup": "Ex", "kind": "", "name": "a/b"}}))
                .iter()
                .map(|m| m.split(" RFC").next().unwrap().to_owned())
                .collect::<Vec<_>>(),
            [
                "spec.defaultBackend.resource.apiGroup: Invalid value: \"Ex\": a lowercase",
                "spec.defaultBackend.resource.kind: Required value",
                "spec.defaultBackend.resource.name: Invalid value: \"a/b\": may not contain '/'",
            ]
        );
        assert_eq!(
            with_backend(json!({"service": {"port": {}}})),
            [
                "spec.defaultBackend.service.name: Required value",
                "spec.defaultBackend: Required value: port name or number is required",
            ]
        );
        assert_eq!(
            with_backend(json!({"service": {"name": "1a", "port": {"number": 70000}}})),
            [
                "spec.defaultBackend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"
            ]
        );
    }

    #[test]
    fn paths_are_read_in_one_way_only() {
        assert_eq!(with_path("Prefix", "/a/b"), Vec::<String>::new());
        assert_eq!(with_path("ImplementationSpecific", ""), Vec::<String>::new());
        assert_eq!(
            with_path("Exact", "a//b/.."),
            [
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
            ]
        );
        assert_eq!(
            with_path("Regex", "/"),
            [
                "spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
            ]
        );
        assert_eq!(
            with_path("", "/"),
            ["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"]
        );
    }

    #[test]
    fn hosts_are_names() {
        let found = told(&json!({
            "rules": [{"host": "10.0.0.1"}, {"host": "a.*.b"}],
            "tls": [{"hosts": ["a_b"], "secretName": "A"}],
        }));
        assert_eq!(
            found[0],
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"
        );
        assert!(
            found[1]
                .starts_with("spec.rules[1].host: Invalid value: \"a.*.b\": a wildcard DNS-1123 subdomain")
        );
        assert!(
            found[2]
                .starts_with("spec.tls[0].hosts[0]: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain")
        );
        assert!(
            found[3]
                .starts_with("spec.tls[0].secretName: Invalid value: \"A\": a lowercase RFC 1123 subdomain")
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn what_was_there_may_stay() {
        let old = json!({"tls": [{"secretName": "A"}], "rules": [{"host": "*.a.b", "http": {"paths": []}}]});
        let mut errors = ErrorList::new();
        spec(&old, Tolerated::by(&old), &mut errors);
        assert_eq!(errors, vec![]);
        assert_eq!(told(&old).len(), 2);
    }

    #[test]
    fn a_status_holds_addresses_and_names() {
        let object = |ip: &str, name: &str| json!({"status": {"loadBalancer": {"ingress": [{"ip": ip, "hostname": name}]}}});
        let told = |new: &Value, old: &Value| -> Vec<String> {
            status(new, old).iter().map(ToString::to_string).collect()
        };
        let old = object("010.0.0.1", "");
        assert!(told(&old, &old).is_empty());
        assert_eq!(
            told(&old, &json!({})),
            ["status.loadBalancer.ingress[0].ip: Invalid value: \"010.0.0.1\": must not have leading 0s"]
        );
        assert_eq!(
            told(&object("", "10.0.0.1"), &old),
            [
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"
            ]
        );
    }
}
