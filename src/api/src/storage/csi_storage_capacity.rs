//! CSIStorageCapacity (KEP-1472).

use crate::Kind;
use crate::columns;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// CSIStorageCapacity.
pub struct CSIStorageCapacity;

impl Kind for CSIStorageCapacity {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "CSIStorageCapacity")
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("StorageClassName"), Column::new("Capacity")]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let _ = now;
        vec![
            columns::name(object),
            columns::text_cell(object, "storageClassName"),
            columns::text_cell(object, "capacity"),
        ]
    }
}
