//! StorageClass.

use super::{parameters, topologies};
use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// Tell that claims without a class are of this one.
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

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
        parameters::provisioner(object, "provisioner", &mut errors);
        parameters::parameters(object, true, &mut errors);
        validation::one_of(object, "reclaimPolicy", &root, &["Delete", "Retain"], &mut errors);
        validation::one_of(
            object,
            "volumeBindingMode",
            &root,
            &["Immediate", "WaitForFirstConsumer"],
            &mut errors,
        );
        topologies::validate(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for name in ["parameters", "provisioner", "reclaimPolicy"] {
            if !value::same(value::field(object, name), value::field(old, name)) {
                errors.forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
            }
        }
        validation::immutable(object, old, "volumeBindingMode", &Path::default(), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let terms = value::list(object, "allowedTopologies").iter().enumerate();
        let keys = terms.flat_map(|(i, term)| {
            let expressions = value::list(term, "matchLabelExpressions").iter().enumerate();
            expressions.map(move |(j, expression)| (i, j, value::text(expression, "key")))
        });
        keys.filter_map(|(i, j, key)| {
            let why = validation::deprecated_node_label(key)?;
            Some(format!("allowedTopologies[{i}].matchLabelExpressions[{j}].key: {why}"))
        })
        .collect()
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
        if IS_DEFAULT.iter().any(|annotation| meta::annotation(object, annotation) == Some("true")) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn class(changes: &Value) -> Value {
        let mut object = json!({"provisioner": "example.com/disks"});
        for (name, value) in changes.as_object().unwrap() {
            object[name] = value.clone();
        }
        StorageClass.default(&mut object);
        object
    }

    #[test]
    fn a_provisioner_has_a_qualified_name() {
        let check = |changes: Value| told(&StorageClass.validate(&class(&changes)));
        assert_eq!(check(json!({"provisioner": "Example.com/Disks"})), Vec::<String>::new());
        assert_eq!(check(json!({"provisioner": ""})), ["provisioner: Required value"]);
        assert!(
            check(json!({"provisioner": "a/b/c"}))[0]
                .starts_with("provisioner: Invalid value: \"a/b/c\": a qualified name must")
        );
        assert_eq!(
            check(json!({"parameters": {"": "x"}, "reclaimPolicy": "Recycle"})),
            [
                "parameters: Invalid value: \"\": field can not be empty.",
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            ]
        );
        assert_eq!(
            check(json!({"parameters": {"a": "x".repeat(256 * 1024)}})),
            ["parameters: Too long: may not be more than 262144 bytes"]
        );
    }

    #[test]
    fn a_class_stays_what_it_is() {
        let new = class(&json!({
            "provisioner": "b", "reclaimPolicy": "Retain", "parameters": {"a": "b"},
            "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true,
        }));
        assert_eq!(
            told(&StorageClass.validate_update(&new, &class(&json!({})))),
            [
                "parameters: Forbidden: updates to parameters are forbidden.",
                "provisioner: Forbidden: updates to provisioner are forbidden.",
                "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
                "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
            ]
        );
    }

    #[test]
    fn labels_of_old_are_warned_of() {
        let expression = json!({"key": "failure-domain.beta.kubernetes.io/zone", "values": ["a"]});
        let object = class(&json!({"allowedTopologies": [{"matchLabelExpressions": [expression]}]}));
        assert_eq!(
            StorageClass.warnings(&object),
            [
                "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
            ]
        );
    }
}
