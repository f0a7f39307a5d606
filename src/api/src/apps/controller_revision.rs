//! ControllerRevision:
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/>.

use crate::columns::{age, int_cell, name, none};
use crate::kind::Kind;
use crate::validation::{Errors, immutable, non_negative};
use crate::value::{has, is_true, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::gvk::parse_api_version;
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct ControllerRevision;

impl Kind for ControllerRevision {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("apps", "ControllerRevision")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::default();
        if !has(object, "data") {
            errors.required(&path.child("data"), "data is mandatory");
        }
        non_negative(object, "revision", &path, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        immutable(object, old, "data", &Path::default(), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Controller").describe("Controller of the object"),
            Column::new("Revision"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let owner = meta::owner_references(object).iter().find(|o| is_true(o, "controller"));
        let controller = owner.map_or_else(none, |owner| {
            let (group, _) = parse_api_version(text(owner, "apiVersion"));
            let kind = text(owner, "kind").to_lowercase();
            let dot = if group.is_empty() { "" } else { "." };
            Value::from(format!("{kind}{dot}{group}/{}", text(owner, "name")))
        });
        vec![name(object), controller, int_cell(object, "revision"), age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_is_there_and_stays() {
        let told = |errors: ErrorList| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let good = json!({"data": {"a": 1}, "revision": 1});
        assert!(ControllerRevision.validate_update(&good, &good).is_empty());
        assert_eq!(
            told(ControllerRevision.validate(&json!({"revision": -1}))),
            [
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        assert_eq!(
            told(ControllerRevision.validate_update(&json!({"data": {"a": 2}, "revision": 2}), &good)),
            ["data: Invalid value: {\"a\":2}: field is immutable"]
        );
    }
}
