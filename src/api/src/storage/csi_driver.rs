//! CSIDriver (KEP-557).

use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// CSIDriver.
pub struct CSIDriver;

impl Kind for CSIDriver {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "CSIDriver")
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = value::ensure_object(object, "spec") else { return };
        value::default(spec, "attachRequired", true);
        for name in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            value::default(spec, name, false);
        }
        value::default_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if value::list(spec, "volumeLifecycleModes").is_empty() {
            value::set(spec, "volumeLifecycleModes", vec!["Persistent"]);
        }
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("AttachRequired"),
            Column::new("PodInfoOnMount"),
            Column::new("StorageCapacity"),
            Column::new("TokenRequests"),
            Column::new("RequiresRepublish"),
            Column::new("Modes"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let tokens = value::list(spec, "tokenRequests").iter().map(|t| value::text(t, "audience"));
        let modes = columns::joined(value::texts(spec, "volumeLifecycleModes"));
        let unset = |text: String| Value::from(if text.is_empty() { "<unset>".to_owned() } else { text });
        vec![
            columns::name(object),
            Value::from(value::is_true(spec, "attachRequired")),
            Value::from(value::is_true(spec, "podInfoOnMount")),
            Value::from(value::is_true(spec, "storageCapacity")),
            unset(columns::joined(tokens)),
            Value::from(value::is_true(spec, "requiresRepublish")),
            if modes.is_empty() { columns::none() } else { Value::from(modes) },
            columns::age(object, now),
        ]
    }
}
