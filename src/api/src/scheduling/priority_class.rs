//! PriorityClass (KEP-564).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The highest priority that is not the system's own (KEP-564).
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
/// Names of the system's own classes begin so.
const SYSTEM_PREFIX: &str = "system-";
/// The system's own classes.
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// PriorityClass.
pub struct PriorityClass;

impl Kind for PriorityClass {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("scheduling.k8s.io", "PriorityClass")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["pc"]
    }

    fn default(&self, object: &mut Value) {
        value::default_text(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (name, number) = (meta::name(object), value::int(object, "value").unwrap_or(0));
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(why) = system_problem(name, number, value::is_true(object, "globalDefault")) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                );
                errors.forbidden(&Path::new("metadata").child("name"), detail);
            }
        } else if number > HIGHEST_USER_PRIORITY {
            let detail =
                format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
            errors.forbidden(&Path::new("value"), detail);
        }
        validation::one_of(
            object,
            "preemptionPolicy",
            &Path::default(),
            &["PreemptLowerPriority", "Never"],
            &mut errors,
        );
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if value::int(object, "value") != value::int(old, "value") {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        validation::immutable(object, old, "preemptionPolicy", &Path::default(), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Value").integer(),
            Column::new("Global-Default"),
            Column::age(),
            Column::new("PreemptionPolicy"),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            columns::int_cell(object, "value"),
            Value::from(value::is_true(object, "globalDefault")),
            columns::age(object, now),
            columns::text_cell(object, "preemptionPolicy"),
        ]
    }
}

/// Why a class is none of the system's own.
fn system_problem(name: &str, number: i64, is_default: bool) -> Option<String> {
    match SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, wanted)) if *wanted != number => {
            Some(format!("value of {name} PriorityClass must be {wanted}"))
        }
        Some(_) if is_default => Some(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(name: &str, number: i64) -> Value {
        json!({"metadata": {"name": name}, "value": number, "preemptionPolicy": "Never"})
    }

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_system_s_own_classes_are_fixed() {
        assert_eq!(
            told(&PriorityClass.validate(&class("system-node-critical", 2_000_001_000))),
            Vec::<String>::new()
        );
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: ";
        assert_eq!(
            told(&PriorityClass.validate(&class("system-node-critical", 1))),
            [format!("{reserved}value of system-node-critical PriorityClass must be 2000001000")]
        );
        assert_eq!(
            told(&PriorityClass.validate(&class("system-mine", 1))),
            [format!("{reserved}system-mine is not a known system priority class")]
        );
        assert_eq!(
            told(&PriorityClass.validate(&class("mine", 1_000_000_001))),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
    }

    #[test]
    fn a_class_stays_what_it_is() {
        let mut new = class("a", 2);
        new["preemptionPolicy"] = json!("PreemptLowerPriority");
        assert_eq!(
            told(&PriorityClass.validate_update(&new, &class("a", 1))),
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"PreemptLowerPriority\": field is immutable",
            ]
        );
        new["preemptionPolicy"] = json!("Often");
        assert_eq!(
            told(&PriorityClass.validate(&new)),
            [
                "preemptionPolicy: Unsupported value: \"Often\": supported values: \"PreemptLowerPriority\", \"Never\""
            ]
        );
    }
}
