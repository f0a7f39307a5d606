//! PodDisruptionBudget (KEP-85).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// PodDisruptionBudget.
pub struct PodDisruptionBudget;

impl Kind for PodDisruptionBudget {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("policy", "PodDisruptionBudget")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["pdb"]
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        if value::has(spec, "minAvailable") && value::has(spec, "maxUnavailable") {
            errors.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
        }
        for name in ["minAvailable", "maxUnavailable"] {
            validation::int_or_percent(spec, name, &path, &mut errors);
        }
        validation::label_selector(spec, "selector", &path, &mut errors);
        validation::one_of(
            spec,
            "unhealthyPodEvictionPolicy",
            &path,
            &["AlwaysAllow", "IfHealthyBudget"],
            &mut errors,
        );
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Min Available"),
            Column::new("Max Unavailable"),
            Column::new("Allowed Disruptions").integer(),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let or_unset = |name: &str| match value::field(spec, name) {
            Value::Null => Value::from("N/A"),
            Value::String(text) => Value::from(text.as_str()),
            number => Value::from(number.to_string()),
        };
        vec![
            columns::name(object),
            or_unset("minAvailable"),
            or_unset("maxUnavailable"),
            Value::from(value::int_at(object, &["status", "disruptionsAllowed"]).unwrap_or(0)),
            columns::age(object, now),
        ]
    }
}
