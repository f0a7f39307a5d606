//! PodDisruptionBudget (KEP-85).

use crate::apps::workload;
use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
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
            workload::share(spec, name, true, &path, &mut errors);
        }
        validation::label_selector(spec, "selector", &path, &mut errors);
        let known = ["AlwaysAllow", "IfHealthyBudget"];
        validation::one_of(spec, "unhealthyPodEvictionPolicy", &path, &known, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let (status, path, mut errors) =
            (value::field(object, "status"), Path::new("status"), ErrorList::new());
        validation::conditions(status, "conditions", &path, &mut errors);
        for name in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            validation::non_negative(status, name, &path, &mut errors);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_budget_is_a_number_or_a_share() {
        let check = |spec: Value| told(&PodDisruptionBudget.validate(&json!({ "spec": spec })));
        assert_eq!(check(json!({"minAvailable": "50%"})), Vec::<String>::new());
        assert_eq!(
            check(json!({"minAvailable": "101%", "unhealthyPodEvictionPolicy": "Never"})),
            [
                "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%",
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ]
        );
        assert_eq!(
            check(json!({"minAvailable": -1, "maxUnavailable": 1})),
            [
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":-1}: minAvailable and maxUnavailable cannot be both set",
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }

    #[test]
    fn a_status_has_whole_conditions() {
        let object =
            json!({"status": {"disruptionsAllowed": -1, "conditions": [{"type": "A", "status": "True"}]}});
        assert_eq!(
            told(&PodDisruptionBudget.validate_status_update(&object, &object)),
            [
                "status.conditions[0].lastTransitionTime: Required value: must be set",
                "status.conditions[0].reason: Required value: must be set",
                "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
