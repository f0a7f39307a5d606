//! ComponentStatus: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/component-status-v1/>.

use crate::columns::name;
use crate::kind::Kind;
use crate::value::{list, text};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct ComponentStatus;

impl Kind for ComponentStatus {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "ComponentStatus")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["cs"]
    }

    fn warnings(&self, _object: &Value) -> Vec<String> {
        vec!["v1 ComponentStatus is deprecated in v1.19+".to_owned()]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Status").describe("Status of the component conditions"),
            Column::new("Message").describe("Message of the component conditions"),
            Column::new("Error").describe("Error of the component conditions"),
        ]
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let healthy = list(object, "conditions").iter().find(|c| text(c, "type") == "Healthy");
        let (status, message, error) = match healthy {
            None => ("Unknown", "", ""),
            Some(condition) => (
                if text(condition, "status") == "True" { "Healthy" } else { "Unhealthy" },
                text(condition, "message"),
                text(condition, "error"),
            ),
        };
        vec![name(object), Value::from(status), Value::from(message), Value::from(error)]
    }
}
