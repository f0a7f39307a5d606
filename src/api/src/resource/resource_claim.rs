//! ResourceClaim (KEP-4381).

use super::{claim_spec, claim_status, v1beta1};
use crate::Kind;
use crate::columns;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::status::Status;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ResourceClaim.
pub struct ResourceClaim;

impl Kind for ResourceClaim {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("resource.k8s.io", "ResourceClaim")
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = value::object_mut(object, "spec") {
            v1beta1::default_requests(spec);
        }
        if let Some(allocated) = value::at_mut(object, &["status", "allocation", "devices"]) {
            value::list_mut(allocated, "results").iter_mut().for_each(v1beta1::default_tolerations);
        }
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        claim_status::drop_deallocated(object, old);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        claim_spec::validate(value::field(object, "spec"), &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::immutable(object, old, "spec", &Path::default(), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        claim_status::validate_update(object, old)
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
        v1beta1::whole(object, &["spec"], (from, to), v1beta1::convert_claim_spec)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("State"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = value::field(object, "status");
        let mut states = Vec::new();
        if meta::is_terminating(object) {
            states.push("deleted");
        }
        if value::has(status, "allocation") {
            states.push("allocated");
        } else if !meta::is_terminating(object) {
            states.push("pending");
        }
        if !value::list(status, "reservedFor").is_empty() {
            states.push("reserved");
        }
        vec![columns::name(object), Value::from(states.join(",")), columns::age(object, now)]
    }
}
