//! CSIStorageCapacity (KEP-1472).

use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

/// CSIStorageCapacity.
pub struct CSIStorageCapacity;

impl Kind for CSIStorageCapacity {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "CSIStorageCapacity")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (root, mut errors) = (Path::default(), ErrorList::new());
        validation::label_selector(object, "nodeTopology", &root, &mut errors);
        let class = value::text(object, "storageClassName");
        errors.check(&root, "storageClassName", class, forms::dns1123_subdomain(class));
        if value::has(object, "capacity") {
            let path = Path::new("capacity");
            validation::non_negative_quantity(value::field(object, "capacity"), &path, &mut errors);
        }
        errors
    }

    /// What a driver was asked for stays; what it answered may change.
    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for name in ["nodeTopology", "storageClassName"] {
            validation::immutable(object, old, name, &Path::default(), &mut errors);
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let topology = value::field(object, "nodeTopology");
        let expressions =
            value::list(topology, "matchExpressions").iter().enumerate().filter_map(|(i, e)| {
                let why = validation::deprecated_node_label(value::text(e, "key"))?;
                Some(format!("nodeTopology.matchExpressions[{i}].key: {} is {why}", value::text(e, "key")))
            });
        let labels = value::entries(topology, "matchLabels").filter_map(|(key, _)| {
            let why = validation::deprecated_node_label(key)?;
            Some(format!("nodeTopology.matchLabels.{key}: {why}"))
        });
        expressions.chain(labels).collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("StorageClassName"), Column::new("Capacity")]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let _ = now;
        vec![
            columns::name(object),
            columns::text_cell(object, "storageClassName"),
            columns::text_cell(object, "capacity"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_old_are_warned_of() {
        let object = json!({"nodeTopology": {
            "matchLabels": {"beta.kubernetes.io/os": "linux"},
            "matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "Exists"}],
        }});
        assert_eq!(
            CSIStorageCapacity.warnings(&object),
            [
                "nodeTopology.matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead",
                "nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ]
        );
    }

    #[test]
    fn the_question_stays_the_answer_changes() {
        let told = |errors: ErrorList| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let of = |class: &str, capacity: &str| json!({"storageClassName": class, "capacity": capacity});
        assert_eq!(
            told(CSIStorageCapacity.validate_update(&of("a", "2Gi"), &of("a", "1Gi"))),
            Vec::<String>::new()
        );
        assert_eq!(
            told(CSIStorageCapacity.validate_update(&of("b", "1Gi"), &of("a", "1Gi"))),
            ["storageClassName: Invalid value: \"b\": field is immutable"]
        );
        assert_eq!(
            told(CSIStorageCapacity.validate(&of("a", "-1"))),
            ["capacity: Invalid value: \"-1\": must be greater than or equal to 0"]
        );
        assert!(
            told(CSIStorageCapacity.validate(&of("", "1")))[0]
                .starts_with("storageClassName: Invalid value: \"\": a lowercase RFC 1123")
        );
    }
}
