//! IngressClass (KEP-1453).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// IngressClass.
pub struct IngressClass;

impl Kind for IngressClass {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "IngressClass")
    }

    fn default(&self, object: &mut Value) {
        if let Some(parameters) = value::at_mut(object, &["spec", "parameters"]) {
            value::default_text(parameters, "scope", "Cluster");
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        let controller = value::text(spec, "controller");
        if validation::required_text(spec, "controller", &path, &mut errors) && !controller.contains('/') {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.invalid(&path.child("controller"), controller, detail);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let (new, old) = (value::field(object, "spec"), value::field(old, "spec"));
        let mut errors = self.validate(object);
        validation::immutable(new, old, "controller", &Path::new("spec"), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Controller"), Column::new("Parameters"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, parameters) = (value::field(object, "spec"), value::at(object, &["spec", "parameters"]));
        let shown = match (parameters.is_null(), value::text(parameters, "apiGroup")) {
            (true, _) => String::new(),
            (false, "") => format!("{}/{}", value::text(parameters, "kind"), value::text(parameters, "name")),
            (false, group) => {
                format!("{}.{group}/{}", value::text(parameters, "kind"), value::text(parameters, "name"))
            }
        };
        vec![
            columns::name(object),
            columns::text_cell(spec, "controller"),
            columns::or_none(&shown),
            columns::age(object, now),
        ]
    }
}
