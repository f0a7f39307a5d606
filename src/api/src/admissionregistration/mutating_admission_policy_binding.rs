//! MutatingAdmissionPolicyBinding (KEP-3962).

use super::{policies, policy_rules};
use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// MutatingAdmissionPolicyBinding.
pub struct MutatingAdmissionPolicyBinding;

impl Kind for MutatingAdmissionPolicyBinding {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding")
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = value::object_mut(object, "spec") {
            policies::default_match(spec, "matchResources");
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        policy_rules::validate_mutating_binding(object)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("PolicyName"), Column::new("ParamRef"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::text_at(object, &["spec", "policyName"])),
            policies::param_ref_cell(object),
            columns::age(object, now),
        ]
    }
}
