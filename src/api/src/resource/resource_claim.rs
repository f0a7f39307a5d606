//! ResourceClaim (KEP-4381).

use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ResourceClaim.
pub struct ResourceClaim;

impl Kind for ResourceClaim {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("resource.k8s.io", "ResourceClaim")
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("State"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = value::field(object, "status");
        let mut states = Vec::new();
        if meta::is_terminating(object) {
            states.push("deleted");
        }
        if value::has(status, "allocation") {
            states.push("allocated");
        } else if !meta::is_terminating(object) {
            states.push("pending");
        }
        if !value::list(status, "reservedFor").is_empty() {
            states.push("reserved");
        }
        vec![columns::name(object), Value::from(states.join(",")), columns::age(object, now)]
    }
}
