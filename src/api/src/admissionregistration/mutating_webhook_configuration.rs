//! MutatingWebhookConfiguration (KEP-492).

use super::webhooks;
use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// MutatingWebhookConfiguration.
pub struct MutatingWebhookConfiguration;

impl Kind for MutatingWebhookConfiguration {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration")
    }

    fn default(&self, object: &mut Value) {
        webhooks::default(object, true);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        webhooks::validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        webhooks::validate_update(object, old)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Webhooks").integer(), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::list(object, "webhooks").len()),
            columns::age(object, now),
        ]
    }
}
