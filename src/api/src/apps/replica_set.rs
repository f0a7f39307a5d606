//! ReplicaSet: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/replica-set-v1/>.

use super::workload;
use crate::columns::{age, int_cell, name};
use crate::core::pod::strategy::drop_disabled_template;
use crate::kind::{Kind, STANDARD_SCALE, ScalePaths};
use crate::validation::non_negative;
use crate::value::{default, field};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct ReplicaSet;

impl Kind for ReplicaSet {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("apps", "ReplicaSet")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["rs"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = workload::spec_mut(object) else { return };
        default(spec, "replicas", 1);
        workload::default_template(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_template(object, None);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_template(object, Some(old));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        non_negative(spec, "replicas", &path, &mut errors);
        non_negative(spec, "minReadySeconds", &path, &mut errors);
        workload::selector_and_template(spec, "deployment", &path, &mut errors);
        workload::always_restarted(spec, "ReplicaSet", &path, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        workload::immutable_selector(object, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        replica_status(field(object, "status"), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        crate::core::pod_warnings::of_template(object)
    }

    fn warnings_on_update(&self, object: &Value, old: &Value) -> Vec<String> {
        workload::warnings_of_change(self, object, old)
    }

    fn warnings_on_create(&self, object: &Value) -> Vec<String> {
        workload::name_warning(object).into_iter().collect()
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.replicas",
            field(field(object, "status"), "replicas").as_i64().unwrap_or(0).to_string(),
        )]
    }

    fn columns(&self) -> Vec<Column> {
        replica_columns()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        replica_row(object, now)
    }

    fn scale(&self) -> Option<ScalePaths> {
        Some(STANDARD_SCALE)
    }
}

/// The status rules of ReplicaSets and ReplicationControllers.
pub fn replica_status(status: &Value, errors: &mut ErrorList) {
    workload::status_counters(
        status,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "terminatingReplicas",
            "observedGeneration",
        ],
        &[
            ("fullyLabeledReplicas", "replicas", "status.replicas"),
            ("readyReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "readyReplicas", "readyReplicas"),
        ],
        errors,
    );
}

/// The columns of ReplicaSets and ReplicationControllers.
pub fn replica_columns() -> Vec<Column> {
    let mut columns = vec![
        Column::object_name(),
        Column::new("Desired").integer(),
        Column::new("Current").integer(),
        Column::new("Ready").integer(),
        Column::age(),
    ];
    columns.extend(workload::template_columns());
    columns
}

/// Their cells.
pub fn replica_row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (field(object, "spec"), field(object, "status"));
    let mut row = vec![
        name(object),
        int_cell(spec, "replicas"),
        int_cell(status, "replicas"),
        int_cell(status, "readyReplicas"),
        age(object, now),
    ];
    row.extend(workload::template_cells(spec));
    row
}
