//! StorageClass.

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// StorageClass.
pub struct StorageClass;

impl Kind for StorageClass {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "StorageClass")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["sc"]
    }

    fn default(&self, object: &mut Value) {
        value::default_text(object, "reclaimPolicy", "Delete");
        value::default_text(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (root, mut errors) = (Path::default(), ErrorList::new());
        validation::required_text(object, "provisioner", &root, &mut errors);
        validation::one_of(object, "reclaimPolicy", &root, &["Delete", "Retain"], &mut errors);
        validation::one_of(
            object,
            "volumeBindingMode",
            &root,
            &["Immediate", "WaitForFirstConsumer"],
            &mut errors,
        );
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        for name in ["parameters", "provisioner", "reclaimPolicy"] {
            if !value::same(value::field(object, name), value::field(old, name)) {
                errors.forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
            }
        }
        validation::immutable(object, old, "volumeBindingMode", &Path::default(), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Provisioner"),
            Column::new("ReclaimPolicy"),
            Column::new("VolumeBindingMode"),
            Column::new("AllowVolumeExpansion"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut name = meta::name(object).to_owned();
        if meta::annotation(object, "storageclass.kubernetes.io/is-default-class") == Some("true") {
            name.push_str(" (default)");
        }
        vec![
            Value::from(name),
            columns::text_cell(object, "provisioner"),
            columns::text_cell(object, "reclaimPolicy"),
            columns::text_cell(object, "volumeBindingMode"),
            Value::from(value::is_true(object, "allowVolumeExpansion")),
            columns::age(object, now),
        ]
    }
}
