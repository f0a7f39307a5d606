//! VolumeAttributesClass (KEP-3751).

use crate::Kind;
use crate::columns;
use crate::validation;
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
        validation::required_text(object, "driverName", &Path::default(), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        for name in ["driverName", "parameters"] {
            validation::immutable(object, old, name, &Path::default(), &mut errors);
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("DriverName"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![columns::name(object), columns::text_cell(object, "driverName"), columns::age(object, now)]
    }
}
