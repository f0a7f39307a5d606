//! RuntimeClass (KEP-585).

use crate::Kind;
use crate::columns;
use crate::validation;
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// RuntimeClass.
pub struct RuntimeClass;

impl Kind for RuntimeClass {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("node.k8s.io", "RuntimeClass")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (root, mut errors) = (Path::default(), ErrorList::new());
        if validation::required_text(object, "handler", &root, &mut errors) {
            validation::text_form(
                object,
                "handler",
                &root,
                apimachinery::validation::dns1123_label,
                &mut errors,
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::immutable(object, old, "handler", &Path::default(), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Handler"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![columns::name(object), columns::text_cell(object, "handler"), columns::age(object, now)]
    }
}
