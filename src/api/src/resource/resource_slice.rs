//! ResourceSlice (KEP-4381).

use super::v1beta1;
use crate::Kind;
use crate::columns;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::status::Status;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ResourceSlice.
pub struct ResourceSlice;

impl Kind for ResourceSlice {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("resource.k8s.io", "ResourceSlice")
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = value::field(object, "spec");
        vec![
            ("spec.nodeName", value::text(spec, "nodeName").to_owned()),
            ("spec.driver", value::text(spec, "driver").to_owned()),
        ]
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (path, spec, mut errors) = (Path::new("spec"), value::field(object, "spec"), ErrorList::new());
        validation::required_text(spec, "driver", &path, &mut errors);
        validation::required_text(value::field(spec, "pool"), "name", &path.child("pool"), &mut errors);
        errors
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
        v1beta1::whole(object, &["spec"], (from, to), v1beta1::convert_devices)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Node"),
            Column::new("Driver"),
            Column::new("Pool"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        vec![
            columns::name(object),
            columns::or_none(value::text(spec, "nodeName")),
            columns::text_cell(spec, "driver"),
            Value::from(value::text_at(spec, &["pool", "name"])),
            columns::age(object, now),
        ]
    }
}
