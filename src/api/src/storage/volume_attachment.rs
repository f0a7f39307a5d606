//! VolumeAttachment.

use super::attachment_rules;
use crate::{Kind, columns, validation, value};
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
        let mut errors = ErrorList::new();
        attachment_rules::spec(value::field(object, "spec"), &mut errors);
        attachment_rules::status(value::field(object, "status"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        validation::immutable(object, old, "spec", &Path::default(), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        self.validate(object)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attachment(source: &Value) -> Value {
        json!({"spec": {"attacher": "disks.example.com", "nodeName": "node", "source": source}})
    }

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_volume_is_attached() {
        let check = |source: Value| told(&VolumeAttachment.validate(&attachment(&source)));
        assert_eq!(check(json!({"persistentVolumeName": "v"})), Vec::<String>::new());
        assert_eq!(
            check(json!({})),
            [
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            ]
        );
        assert_eq!(
            check(json!({"persistentVolumeName": "v", "inlineVolumeSpec": {}})),
            ["spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName"]
        );
        assert_eq!(
            check(json!({"inlineVolumeSpec": {"capacity": {"storage": "1Gi"}}})),
            [
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.accessModes: Required value",
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
            ]
        );
        assert_eq!(
            check(json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "csi": {"driver": "a.b"}}})),
            ["spec.source.inlineVolumeSpec.csi.volumeHandle: Required value"]
        );
    }

    #[test]
    fn who_attaches_where_is_named_and_stays() {
        let found =
            told(&VolumeAttachment.validate(&json!({"spec": {"source": {"persistentVolumeName": "v"}}})));
        assert_eq!(found[0], "spec.attacher: Required value");
        assert!(
            found
                .iter()
                .any(|m| m.starts_with("spec.nodeName: Invalid value: \"\": a lowercase RFC 1123 subdomain"))
        );
        let (new, old) = (
            attachment(&json!({"persistentVolumeName": "a"})),
            attachment(&json!({"persistentVolumeName": "b"})),
        );
        let found = told(&VolumeAttachment.validate_update(&new, &old));
        assert!(found[0].starts_with("spec: Invalid value: {") && found[0].ends_with("field is immutable"));
    }

    #[test]
    fn what_the_driver_tells_has_limits() {
        let mut object = attachment(&json!({"persistentVolumeName": "v"}));
        object["status"] = json!({"attached": false,
            "attachError": {"message": "x".repeat(1025), "errorCode": -1}});
        assert_eq!(
            told(&VolumeAttachment.validate_status_update(&object, &object)),
            [
                "status.attachError.message: Too long: may not be more than 1024 bytes",
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ]
        );
    }
}
