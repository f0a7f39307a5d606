//! IPAddress (KEP-1880).

use crate::Kind;
use crate::columns;
use crate::validation::{Errors, immutable, required_text};
use crate::value;
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// IPAddress.
pub struct IPAddress;

impl Kind for IPAddress {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "IPAddress")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ip"]
    }

    fn name_rule(&self) -> crate::NameRule {
        crate::NameRule::Custom(apimachinery::validation::ip_address)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("parentRef");
        let parent = value::at(object, &["spec", "parentRef"]);
        if parent.is_null() {
            errors.required(&path, "");
            return errors;
        }
        required_text(parent, "resource", &path, &mut errors);
        required_text(parent, "name", &path, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (new, old) = (value::field(object, "spec"), value::field(old, "spec"));
        immutable(new, old, "parentRef", &Path::new("spec"), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("ParentRef"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let parent = value::at(object, &["spec", "parentRef"]);
        let names =
            [value::text(parent, "resource"), value::text(parent, "namespace"), value::text(parent, "name")];
        let shown = names.into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>().join("/");
        vec![columns::name(object), columns::or_none(&shown), columns::age(object, now)]
    }
}
