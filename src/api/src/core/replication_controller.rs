//! ReplicationController:
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/replication-controller-v1/>.

use super::pod::strategy::drop_disabled_template;
use super::pod::validation as pods;
use crate::apps::workload;
use crate::kind::{Kind, STANDARD_SCALE, ScalePaths};
use crate::validation::{Errors, non_negative, only_new};
use crate::value::{at, default, entries, field, has, is_empty, set};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct ReplicationController;

impl Kind for ReplicationController {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "ReplicationController")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["rc"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    /// The template's labels are the selector and the controller's own labels where none are given.
    fn default(&self, object: &mut Value) {
        let labels = at(object, &["spec", "template", "metadata", "labels"]).clone();
        let labelled = !is_empty(field(object, "metadata"), "labels");
        let Some(spec) = workload::spec_mut(object) else { return };
        default(spec, "replicas", 1);
        workload::default_template(spec);
        if labels.is_object() {
            if is_empty(spec, "selector") {
                set(spec, "selector", labels.clone());
            }
            if !labelled {
                meta::set(object, "labels", labels);
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_template(object, None);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_template(object, Some(old));
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        only_new(self.validate(object), || self.validate(old))
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        non_negative(spec, "minReadySeconds", &path, &mut errors);
        if is_empty(spec, "selector") {
            errors.required(&path.child("selector"), "");
        }
        non_negative(spec, "replicas", &path, &mut errors);
        if !has(spec, "template") {
            errors.required(&path.child("template"), "");
            return errors;
        }
        let labels = at(spec, &["template", "metadata", "labels"]);
        if !entries(spec, "selector").all(|(key, value)| labels.get(key) == Some(value)) {
            errors.invalid(
                &path.child("template").child("metadata").child("labels"),
                labels.clone(),
                "`selector` does not match template `labels`",
            );
        }
        pods::template(field(spec, "template"), &path.child("template"), &mut errors);
        workload::always_restarted(spec, "ReplicationController", &path, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        crate::apps::replica_status(field(object, "status"), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        super::pod_warnings::of_template(object)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.replicas",
            field(field(object, "status"), "replicas").as_i64().unwrap_or(0).to_string(),
        )]
    }

    fn columns(&self) -> Vec<Column> {
        crate::apps::replica_columns()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        crate::apps::replica_row(object, now)
    }

    fn scale(&self) -> Option<ScalePaths> {
        Some(STANDARD_SCALE)
    }
}
