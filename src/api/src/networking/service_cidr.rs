//! ServiceCIDR (KEP-1880).

use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ServiceCIDR.
pub struct ServiceCIDR;

impl Kind for ServiceCIDR {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "ServiceCIDR")
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("CIDRs"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cidrs = columns::joined(value::texts(value::field(object, "spec"), "cidrs"));
        vec![columns::name(object), Value::from(cidrs), columns::age(object, now)]
    }
}
