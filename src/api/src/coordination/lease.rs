//! Lease (KEP-589).

use crate::Kind;
use crate::columns;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// Lease.
pub struct Lease;

impl Kind for Lease {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("coordination.k8s.io", "Lease")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        validation::positive(spec, "leaseDurationSeconds", &path, &mut errors);
        validation::non_negative(spec, "leaseTransitions", &path, &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Holder"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::text_at(object, &["spec", "holderIdentity"])),
            columns::age(object, now),
        ]
    }
}
