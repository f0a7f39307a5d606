//! ValidatingAdmissionPolicy (KEP-3488).

use super::{policies, policy_rules};
use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ValidatingAdmissionPolicy.
pub struct ValidatingAdmissionPolicy;

impl Kind for ValidatingAdmissionPolicy {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy")
    }

    fn default(&self, object: &mut Value) {
        policies::default_policy(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        policy_rules::validate_validating(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        policy_rules::validate_validating(object, Some(old))
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        policy_rules::validate_status(object)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Validations").integer(),
            Column::new("ParamKind"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::list_at(object, &["spec", "validations"]).len()),
            policies::param_kind_cell(object),
            columns::age(object, now),
        ]
    }
}
