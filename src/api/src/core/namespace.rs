//! Namespace: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/>.

use crate::columns::{age, name};
use crate::kind::{Kind, NameRule};
use crate::validation::Errors;
use crate::value::{copy, ensure_object, field, list, set, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The label that tells selectors the namespace's name (KEP-2161).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Keeps a namespace until everything in it is gone.
pub const FINALIZER: &str = "kubernetes";

/// The kind.
#[derive(Debug)]
pub struct Namespace;

impl Kind for Namespace {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "Namespace")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ns"]
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Label
    }

    fn default(&self, object: &mut Value) {
        label_with_name(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        label_with_name(object);
        set(object, "status", json!({"phase": "Active"}));
        let Some(spec) = ensure_object(object, "spec") else { return };
        let mut finalizers = list(spec, "finalizers").to_vec();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(Value::from(FINALIZER));
        }
        set(spec, "finalizers", finalizers);
    }

    /// The finalizers are only changed by the `finalize` subresource.
    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        label_with_name(object);
        if let Some(spec) = ensure_object(object, "spec") {
            copy(spec, field(old, "spec"), "finalizers");
        }
    }

    fn prepare_for_subresource_update(&self, _subresource: &str, object: &mut Value, old: &Value) {
        copy(object, old, "status");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        finalizers(object, |_| Path::new("spec").child("finalizers"), &mut errors);
        errors
    }

    /// A plain update keeps the finalizers.
    fn validate_update(&self, _object: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    fn validate_subresource_update(&self, _subresource: &str, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        finalizers(object, |i| Path::new("spec").child("finalizers").index(i), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let phase = text(field(object, "status"), "phase");
        let path = Path::new("status").child("Phase");
        if meta::is_terminating(object) {
            if phase != "Terminating" {
                errors.invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
            }
        } else if phase != "Active" {
            errors.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![
            ("status.phase", text(field(object, "status"), "phase").to_owned()),
            ("name", meta::name(object).to_owned()),
        ]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Status").describe("The status of the namespace"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), Value::from(text(field(object, "status"), "phase")), age(object, now)]
    }
}

fn finalizers(object: &Value, path: impl Fn(usize) -> Path, errors: &mut ErrorList) {
    for (i, finalizer) in texts(field(object, "spec"), "finalizers").enumerate() {
        if finalizer == FINALIZER {
            continue;
        }
        errors.check_at(&path(i), finalizer, forms::qualified_name(finalizer));
        if !finalizer.contains('/') {
            errors.invalid(
                &path(i),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            );
        }
    }
}

fn label_with_name(object: &mut Value) {
    let name = meta::name(object).to_owned();
    if !name.is_empty() && meta::label(object, NAME_LABEL) != Some(name.as_str()) {
        meta::set_label(object, NAME_LABEL, &name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_active_and_knows_its_name() {
        let mut object = json!({"metadata": {"name": "n"}});
        Namespace.default(&mut object);
        Namespace.prepare_for_create(&mut object);
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            })
        );
        assert!(Namespace.validate(&object).is_empty());
    }

    #[test]
    fn finalizers_have_a_domain_and_phases_fit() {
        let object = json!({"spec": {"finalizers": ["kubernetes", "mine"]}, "status": {"phase": "Gone"}});
        let told = |errors: ErrorList| -> Vec<String> { errors.iter().map(ToString::to_string).collect() };
        const WORDS: &str = "name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(
            told(Namespace.validate(&object)),
            [format!("spec.finalizers: Invalid value: \"mine\": {WORDS}")]
        );
        assert_eq!(
            told(Namespace.validate_subresource_update("finalize", &object, &object)),
            [format!("spec.finalizers[1]: Invalid value: \"mine\": {WORDS}")]
        );
        assert_eq!(
            told(Namespace.validate_status_update(&object, &object)),
            ["status.Phase: Invalid value: \"Gone\": may only be 'Active' if `deletionTimestamp` is empty"]
        );
    }
}
