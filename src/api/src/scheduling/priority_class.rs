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
            if !SYSTEM_CLASSES.contains(&(name, number)) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only"
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
