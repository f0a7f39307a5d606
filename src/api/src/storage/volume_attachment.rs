//! VolumeAttachment.

use crate::Kind;
use crate::columns;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// VolumeAttachment.
pub struct VolumeAttachment;

impl Kind for VolumeAttachment {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "VolumeAttachment")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        validation::required_text(spec, "attacher", &path, &mut errors);
        validation::required_text(spec, "nodeName", &path, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        validation::immutable(object, old, "spec", &Path::default(), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Attacher"),
            Column::new("PV"),
            Column::new("Node"),
            Column::new("Attached"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::text_at(object, &["spec", "attacher"])),
            Value::from(value::text_at(object, &["spec", "source", "persistentVolumeName"])),
            Value::from(value::text_at(object, &["spec", "nodeName"])),
            Value::from(value::at(object, &["status", "attached"]).as_bool().unwrap_or(false)),
            columns::age(object, now),
        ]
    }
}
