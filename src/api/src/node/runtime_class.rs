//! RuntimeClass (KEP-585).

use crate::core::pod::validation as pods;
use crate::validation::Errors;
use crate::value::{entries, equivalent, field, has, list, text};
use crate::{Kind, columns, validation};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::{Value, json};

/// RuntimeClass.
pub struct RuntimeClass;

impl Kind for RuntimeClass {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("node.k8s.io", "RuntimeClass")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (root, mut errors) = (Path::default(), ErrorList::new());
        let handler = text(object, "handler");
        errors.check(&root, "handler", handler, forms::dns1123_label(handler));
        if has(object, "overhead") {
            let path = Path::new("overhead");
            let limits = json!({"limits": field(field(object, "overhead"), "podFixed")});
            pods::resource_requirements(&limits, &path, None, &mut errors);
        }
        if has(object, "scheduling") {
            let (scheduling, path) = (field(object, "scheduling"), Path::new("scheduling"));
            validation::labels(scheduling, "nodeSelector", &path, &mut errors);
            pods::tolerations(scheduling, &path, &mut errors);
            let tolerations = list(scheduling, "tolerations");
            for (i, toleration) in tolerations.iter().enumerate() {
                if tolerations.iter().take(i).any(|earlier| equivalent(earlier, toleration)) {
                    errors.duplicate(&path.child("tolerations").index(i), toleration.clone());
                }
            }
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::immutable(object, old, "handler", &Path::default(), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        entries(field(object, "scheduling"), "nodeSelector")
            .filter_map(|(key, _)| {
                let why = validation::deprecated_node_label(key)?;
                Some(format!("scheduling.nodeSelector[{key}]: {why}"))
            })
            .collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Handler"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![columns::name(object), columns::text_cell(object, "handler"), columns::age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn overhead_and_placement_are_as_in_pods() {
        let good = json!({"handler": "runc", "overhead": {"podFixed": {"memory": "1Mi"}}});
        assert_eq!(told(&RuntimeClass.validate(&good)), Vec::<String>::new());
        let toleration = json!({"key": "a", "operator": "Exists"});
        let found = told(&RuntimeClass.validate(&json!({
            "handler": "A",
            "overhead": {"podFixed": {"cpu": "-1"}},
            "scheduling": {"nodeSelector": {"a b": "c"}, "tolerations": [toleration, toleration]},
        })));
        assert!(
            found[0].starts_with("handler: Invalid value: \"A\": a lowercase RFC 1123 label must consist")
        );
        assert_eq!(
            found[1],
            "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"
        );
        assert!(
            found[2].starts_with("scheduling.nodeSelector: Invalid value: \"a b\": name part must consist")
        );
        assert_eq!(
            found[3],
            "scheduling.tolerations[1]: Duplicate value: {\"key\":\"a\",\"operator\":\"Exists\"}"
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn labels_of_old_are_warned_of() {
        let object =
            json!({"handler": "a", "scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}});
        assert_eq!(
            RuntimeClass.warnings(&object),
            [
                "scheduling.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"
            ]
        );
    }

    #[test]
    fn the_handler_stays() {
        let of = |handler: &str| json!({ "handler": handler });
        assert_eq!(
            told(&RuntimeClass.validate_update(&of("b"), &of("a"))),
            ["handler: Invalid value: \"b\": field is immutable"]
        );
    }
}
