//! PodTemplate: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-template-v1/>.

use super::pod::strategy::drop_disabled_at;
use super::pod::{defaults, validation};
use super::pod_warnings::of_template_at;
use crate::columns::{container_names, images, name, selector_text};
use crate::kind::Kind;
use crate::validation::only_new;
use crate::value::{at, at_mut, field};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct PodTemplate;

impl Kind for PodTemplate {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "PodTemplate")
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = at_mut(object, &["template", "spec"]) {
            defaults::pod_spec(spec);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_at(object, None, &["template", "spec"]);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_at(object, Some(old), &["template", "spec"]);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::template(field(object, "template"), &Path::new("template"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        only_new(self.validate(object), || self.validate(old))
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        of_template_at(field(object, "template"), "template")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Containers").describe("Names of each container in the template."),
            Column::new("Images").describe("Images referenced by each container in the template."),
            Column::new("Pod Labels").describe("The labels for the pod template."),
        ]
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let spec = at(object, &["template", "spec"]);
        vec![
            name(object),
            container_names(spec),
            images(spec),
            selector_text(at(object, &["template", "metadata", "labels"])),
        ]
    }
}
