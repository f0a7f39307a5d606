//! ServiceAccount: <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/service-account-v1/>.

use crate::columns::{age, name};
use crate::kind::Kind;
use crate::value::list;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct ServiceAccount;

impl Kind for ServiceAccount {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "ServiceAccount")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["sa"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Secrets").integer(), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), Value::from(list(object, "secrets").len()), age(object, now)]
    }
}
