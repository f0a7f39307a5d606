//! APIService.

use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::Value;

/// APIService.
pub struct APIService;

impl Kind for APIService {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("apiregistration.k8s.io", "APIService")
    }

    fn name_rule(&self) -> crate::NameRule {
        crate::NameRule::PathSegment
    }

    fn default(&self, object: &mut Value) {
        if let Some(service) = value::at_mut(object, &["spec", "service"]) {
            value::default_int(service, "port", 443);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        let (group, version) = (value::text(spec, "group"), value::text(spec, "version"));
        let is_name = meta::name(object)
            .strip_prefix(version)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|rest| rest == group);
        if !is_name {
            let detail = format!("must be `spec.version+\".\"+spec.group`: \"{version}.{group}\"");
            errors.invalid(&Path::new("metadata").child("name"), meta::name(object), detail);
        }
        if group.is_empty() && version != "v1" {
            errors.required(
                &path.child("group"),
                "only v1 may have an empty group and it better be legacy kube",
            );
        }
        validation::text_form(spec, "group", &path, forms::dns1123_subdomain, &mut errors);
        errors.check(&path, "version", version, forms::dns1035_label(version));
        for (name, high) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
            let number = value::int(spec, name).unwrap_or(0);
            if number <= 0 || number > high {
                errors.invalid(&path.child(name), number, format!("must be positive and less than {high}"));
            }
        }
        if value::has(spec, "service") {
            remote(spec, &path, &mut errors);
        } else {
            local(spec, &path, &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for (i, condition) in value::list_at(object, &["status", "conditions"]).iter().enumerate() {
            let status = value::text(condition, "status");
            if !matches!(status, "True" | "False" | "Unknown") {
                let path = Path::new("status").child("conditions").index(i).child("status");
                errors.not_supported(&path, status, &["True", "False", "Unknown"]);
            }
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Service"), Column::new("Available"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let service = value::at(object, &["spec", "service"]);
        let shown = if service.is_null() {
            "Local".to_owned()
        } else {
            format!("{}/{}", value::text(service, "namespace"), value::text(service, "name"))
        };
        let available = match columns::last_condition(object, "Available") {
            Some(condition) if value::text(condition, "status") == "True" => "True".to_owned(),
            Some(condition) => {
                format!("{} ({})", value::text(condition, "status"), value::text(condition, "reason"))
            }
            None => "Unknown".to_owned(),
        };
        vec![columns::name(object), Value::from(shown), Value::from(available), columns::age(object, now)]
    }
}

/// A group that this server serves itself needs no trust.
fn local(spec: &Value, path: &Path, errors: &mut ErrorList) {
    // Of base64, four characters for three bytes.
    let bytes = value::text(spec, "caBundle").trim_end_matches('=').len() * 3 / 4;
    if bytes > 0 {
        errors.invalid(
            &path.child("caBundle"),
            format!("{bytes} bytes"),
            "local APIServices may not have a caBundle",
        );
    }
    if value::is_true(spec, "insecureSkipTLSVerify") {
        errors.invalid(
            &path.child("insecureSkipTLSVerify"),
            true,
            "local APIServices may not have insecureSkipTLSVerify",
        );
    }
}

fn remote(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (service, own) = (value::field(spec, "service"), path.child("service"));
    validation::required_text(service, "namespace", &own, errors);
    validation::required_text(service, "name", &own, errors);
    let port = value::int(service, "port").unwrap_or(0);
    let problems = forms::port_number(port);
    if !problems.is_empty() {
        errors.invalid(&own.child("port"), port, format!("port is not valid: {}", problems.join(", ")));
    }
    if value::is_true(spec, "insecureSkipTLSVerify") && !value::text(spec, "caBundle").is_empty() {
        errors.invalid(&path.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(name: &str, changes: &Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": name}, "spec": {
            "group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
        }});
        for (name, value) in changes.as_object().unwrap() {
            object["spec"][name] = value.clone();
        }
        APIService.default(&mut object);
        APIService.validate(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_name_is_version_and_group() {
        assert_eq!(told("v1.a.b", &json!({})), Vec::<String>::new());
        assert_eq!(
            told("a.b", &json!({"groupPriorityMinimum": 20001})),
            [
                "metadata.name: Invalid value: \"a.b\": must be `spec.version+\".\"+spec.group`: \"v1.a.b\"",
                "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
            ]
        );
        assert_eq!(
            told("v2.", &json!({"group": "", "version": "v2"})),
            ["spec.group: Required value: only v1 may have an empty group and it better be legacy kube"]
        );
    }

    #[test]
    fn what_is_served_here_needs_no_trust() {
        assert_eq!(
            told("v1.a.b", &json!({"caBundle": "YWJj", "insecureSkipTLSVerify": true})),
            [
                "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ]
        );
        assert_eq!(
            told(
                "v1.a.b",
                &json!({"caBundle": "YWJj", "insecureSkipTLSVerify": true,
                "service": {"name": "s", "port": 70000}})
            ),
            [
                "spec.service.namespace: Required value",
                "spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ]
        );
    }

    #[test]
    fn conditions_hold_or_do_not() {
        let object = json!({"status": {"conditions": [{"type": "Available", "status": "Maybe"}]}});
        let told: Vec<String> =
            APIService.validate_status_update(&object, &object).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\""
            ]
        );
    }
}
