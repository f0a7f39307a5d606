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
