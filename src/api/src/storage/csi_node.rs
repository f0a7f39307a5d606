//! CSINode (KEP-557).

use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// CSINode.
pub struct CSINode;

impl Kind for CSINode {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "CSINode")
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Drivers").integer(), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::list_at(object, &["spec", "drivers"]).len()),
            columns::age(object, now),
        ]
    }
}
