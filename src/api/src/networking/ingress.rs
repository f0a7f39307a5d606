//! Ingress (KEP-1453).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// Ingress.
pub struct Ingress;

impl Kind for Ingress {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "Ingress")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ing"]
    }

    fn prepare_for_create(&self, object: &mut Value) {
        value::set(object, "status", serde_json::json!({"loadBalancer": {}}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        if value::list(spec, "rules").is_empty() && !value::has(spec, "defaultBackend") {
            errors.invalid(&path, spec.clone(), "either `defaultBackend` or `rules` must be specified");
        }
        if value::has(spec, "defaultBackend") {
            backend(value::field(spec, "defaultBackend"), &path.child("defaultBackend"), &mut errors);
        }
        validation::text_form(
            spec,
            "ingressClassName",
            &path,
            apimachinery::validation::dns1123_subdomain,
            &mut errors,
        );
        for (index, rule) in value::list(spec, "rules").iter().enumerate() {
            validate_rule(rule, &path.child("rules").index(index), &mut errors);
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Class"),
            Column::new("Hosts"),
            Column::new("Address"),
            Column::new("Ports"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let class = match value::text(spec, "ingressClassName") {
            "" => meta::annotation(object, "kubernetes.io/ingress.class").unwrap_or(""),
            class => class,
        };
        let hosts = columns::joined(
            value::list(spec, "rules").iter().map(|r| value::text(r, "host")).filter(|h| !h.is_empty()),
        );
        let addresses =
            value::list_at(object, &["status", "loadBalancer", "ingress"]).iter().map(|i| match value::text(
                i, "ip",
            ) {
                "" => value::text(i, "hostname"),
                ip => ip,
            });
        vec![
            columns::name(object),
            columns::or_none(class),
            Value::from(if hosts.is_empty() { "*".to_owned() } else { hosts }),
            Value::from(columns::joined(addresses)),
            Value::from(if value::list(spec, "tls").is_empty() { "80" } else { "80, 443" }),
            columns::age(object, now),
        ]
    }
}

fn validate_rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let host = value::text(rule, "host");
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.invalid(&path.child("host"), host, "must be a DNS name, not an IP address");
    } else if host.contains('*') {
        errors.check(path, "host", host, apimachinery::validation::wildcard_dns1123_subdomain(host));
    } else if !host.is_empty() {
        errors.check(path, "host", host, apimachinery::validation::dns1123_subdomain(host));
    }
    if !value::has(rule, "http") {
        return;
    }
    let (http, path) = (value::field(rule, "http"), path.child("http"));
    if value::list(http, "paths").is_empty() {
        errors.required(&path.child("paths"), "");
    }
    for (index, item) in value::list(http, "paths").iter().enumerate() {
        let path = path.child("paths").index(index);
        let (kind, text) = (value::text(item, "pathType"), value::text(item, "path"));
        match kind {
            "" => errors.required(&path.child("pathType"), "pathType must be specified"),
            "Exact" | "Prefix" => {
                if !text.starts_with('/') {
                    errors.invalid(&path.child("path"), text, "must be an absolute path");
                }
                for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                    if text.contains(bad) {
                        errors.invalid(&path.child("path"), text, format!("must not contain '{bad}'"));
                    }
                }
            }
            "ImplementationSpecific" => {
                if !text.is_empty() && !text.starts_with('/') {
                    errors.invalid(&path.child("path"), text, "must be an absolute path");
                }
            }
            other => {
                errors.not_supported(
                    &path.child("pathType"),
                    other,
                    &["Exact", "ImplementationSpecific", "Prefix"],
                );
            }
        }
        backend(value::field(item, "backend"), &path.child("backend"), errors);
    }
}

fn backend(backend: &Value, path: &Path, errors: &mut ErrorList) {
    let (service, resource) = (value::field(backend, "service"), value::has(backend, "resource"));
    if !service.is_null() && resource {
        errors.invalid(path, "", "cannot set both resource and service backends");
    } else if service.is_null() && !resource {
        errors.required(path, "resource or service backend is required");
    } else if !service.is_null() {
        let path = path.child("service");
        if validation::required_text(service, "name", &path, errors) {
            validation::text_form(service, "name", &path, apimachinery::validation::dns1123_label, errors);
        }
        let port = value::field(service, "port");
        let (name, number) = (value::text(port, "name"), value::int(port, "number").unwrap_or(0));
        match (name.is_empty(), number == 0) {
            (false, false) => errors.invalid(&path, "", "cannot set both port name & port number"),
            (true, true) => errors.required(&path, "port name or number is required"),
            (false, true) => {
                errors.check(&path.child("port"), "name", name, apimachinery::validation::port_name(name))
            }
            (true, false) => validation::range(port, "number", &path.child("port"), 1, 65535, errors),
        }
    }
}
