//! IngressClass (KEP-1453).

use super::references;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The longest name of a controller (upstream's limit).
const CONTROLLER_MAX_BYTES: usize = 250;

/// Tells that Ingresses without a class are of this one.
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

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
        let own = path.child("controller");
        if controller.len() > CONTROLLER_MAX_BYTES {
            errors.push(FieldError::too_long(&own, CONTROLLER_MAX_BYTES));
        }
        validation::domain_prefixed_path(controller, &own, &mut errors);
        if value::has(spec, "parameters") {
            references::parameters(value::field(spec, "parameters"), &path.child("parameters"), &mut errors);
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
        let mut name = meta::name(object).to_owned();
        if meta::annotation(object, IS_DEFAULT) == Some("true") {
            name.push_str(" (default)");
        }
        vec![
            Value::from(name),
            columns::text_cell(spec, "controller"),
            columns::or_none(&shown),
            columns::age(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: &Value) -> Vec<String> {
        let mut object = json!({ "spec": spec });
        IngressClass.default(&mut object);
        IngressClass.validate(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn parameters_are_in_a_namespace_or_are_not() {
        let with =
            |parameters: Value| told(&json!({"controller": "example.com/a", "parameters": parameters}));
        assert_eq!(with(json!({"kind": "K", "name": "n"})), Vec::<String>::new());
        assert_eq!(
            with(json!({"kind": "K", "name": "n", "namespace": "x"})),
            ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"]
        );
        assert_eq!(
            with(json!({"kind": "K", "name": "n", "scope": "Namespace"})),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
        assert_eq!(
            with(json!({"scope": "Node"})),
            [
                "spec.parameters.kind: Required value",
                "spec.parameters.name: Required value",
                "spec.parameters.scope: Unsupported value: \"Node\": supported values: \"Cluster\", \"Namespace\"",
            ]
        );
    }

    #[test]
    fn the_table_marks_the_default() {
        let object = json!({"metadata": {"name": "a", "annotations": {IS_DEFAULT: "true"}}, "spec": {}});
        assert_eq!(IngressClass.row(&object, Timestamp::UNIX_EPOCH)[0], "a (default)");
    }

    #[test]
    fn a_controller_has_a_domain_and_stays() {
        assert_eq!(
            told(&json!({"controller": "nginx"})),
            [
                "spec.controller: Invalid value: \"nginx\": must be a domain-prefixed path (such as \"acme.io/foo\")"
            ]
        );
        assert_eq!(
            told(&json!({"controller": format!("a.b/{}", "c".repeat(250))})),
            ["spec.controller: Too long: may not be more than 250 bytes"]
        );
        let of = |controller: &str| json!({"spec": {"controller": controller}});
        let update: Vec<String> = IngressClass
            .validate_update(&of("a.b/c"), &of("a.b/d"))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(update, ["spec.controller: Invalid value: \"a.b/c\": field is immutable"]);
    }
}
