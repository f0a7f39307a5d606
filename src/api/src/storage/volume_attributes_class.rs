//! VolumeAttributesClass (KEP-3751).

use super::parameters;
use crate::validation::Errors;
use crate::{Kind, columns, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// VolumeAttributesClass.
pub struct VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "VolumeAttributesClass")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["vac"]
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        parameters::provisioner(object, "driverName", &mut errors);
        parameters::parameters(object, false, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for name in ["driverName", "parameters"] {
            if !value::same(value::field(object, name), value::field(old, name)) {
                errors.forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
            }
        }
        errors.extend(self.validate(object));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("DriverName"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![columns::name(object), columns::text_cell(object, "driverName"), columns::age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_class_has_parameters_that_stay() {
        let told = |errors: ErrorList| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let of = |iops: &str| json!({"driverName": "a.b", "parameters": {"iops": iops}});
        assert_eq!(told(VolumeAttributesClass.validate(&of("1"))), Vec::<String>::new());
        assert_eq!(
            told(VolumeAttributesClass.validate(&json!({}))),
            [
                "driverName: Required value",
                "parameters: Required value: must contain at least one key/value pair",
            ]
        );
        assert_eq!(
            told(VolumeAttributesClass.validate_update(&of("2"), &of("1"))),
            ["parameters: Forbidden: updates to parameters are forbidden."]
        );
    }
}
