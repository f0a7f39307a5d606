//! APIService.

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
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
        validation::required_text(spec, "version", &path, &mut errors);
        let expected = format!("{}.{}", value::text(spec, "version"), value::text(spec, "group"));
        if meta::name(object) != expected {
            let detail = format!("must be `spec.version+\".\"+spec.group`: \"{expected}\"");
            errors.invalid(&Path::new("metadata").child("name"), meta::name(object), detail);
        }
        for (name, high) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
            let number = value::int(spec, name).unwrap_or(0);
            if number <= 0 || number > high {
                errors.invalid(&path.child(name), number, format!("must be positive and less than {high}"));
            }
        }
        if value::is_true(spec, "insecureSkipTLSVerify") && !value::text(spec, "caBundle").is_empty() {
            errors.invalid(
                &path.child("insecureSkipTLSVerify"),
                true,
                "may not be true if caBundle is present",
            );
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
