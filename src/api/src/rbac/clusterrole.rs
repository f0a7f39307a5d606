//! ClusterRole (RBAC documentation).

use super::rules;
use crate::Kind;
use crate::columns;
use crate::validation::only_new;
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ClusterRole.
pub struct ClusterRole;

impl Kind for ClusterRole {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("rbac.authorization.k8s.io", "ClusterRole")
    }

    fn name_rule(&self) -> crate::NameRule {
        crate::NameRule::PathSegment
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = rules::validate_rules(object, false);
        rules::validate_aggregation(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        only_new(self.validate(object), || {
            let mut errors = ErrorList::new();
            rules::validate_aggregation(old, &mut errors);
            errors
        })
    }

    fn columns(&self) -> Vec<Column> {
        columns::created_at_columns()
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        columns::created_at_row(object)
    }
}
