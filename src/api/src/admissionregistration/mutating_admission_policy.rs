//! MutatingAdmissionPolicy (KEP-3962).

use super::{policies, policy_rules};
use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// MutatingAdmissionPolicy.
pub struct MutatingAdmissionPolicy;

impl Kind for MutatingAdmissionPolicy {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy")
    }

    fn default(&self, object: &mut Value) {
        policies::default_policy(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        policy_rules::validate_mutating(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        policy_rules::validate_mutating(object, Some(old))
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Mutations").integer(),
            Column::new("ParamKind"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::list_at(object, &["spec", "mutations"]).len()),
            policies::param_kind_cell(object),
            columns::age(object, now),
        ]
    }
}
