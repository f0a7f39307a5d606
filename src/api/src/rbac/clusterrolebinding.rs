//! ClusterRoleBinding (RBAC documentation).

use super::rules;
use crate::Kind;
use crate::columns;
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ClusterRoleBinding.
pub struct ClusterRoleBinding;

impl Kind for ClusterRoleBinding {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("rbac.authorization.k8s.io", "ClusterRoleBinding")
    }

    fn name_rule(&self) -> crate::NameRule {
        crate::NameRule::PathSegment
    }

    fn default(&self, object: &mut Value) {
        rules::default_binding(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        rules::validate_binding(object, false)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        rules::validate_binding_update(object, old, false)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Role"),
            Column::age(),
            Column::new("Users").wide(),
            Column::new("Groups").wide(),
            Column::new("ServiceAccounts").wide(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            rules::role_cell(object),
            columns::age(object, now),
            rules::subjects_cell(object, "User"),
            rules::subjects_cell(object, "Group"),
            rules::subjects_cell(object, "ServiceAccount"),
        ]
    }
}
