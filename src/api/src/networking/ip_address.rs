//! IPAddress (KEP-1880).

use crate::Kind;
use crate::columns;
use crate::validation::{self, Errors, immutable, required_path_segment, text_form};
use crate::value;
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
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
        crate::NameRule::Custom(validation::canonical_ip)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("parentRef");
        let parent = value::at(object, &["spec", "parentRef"]);
        if parent.is_null() {
            errors.required(&path, "");
            return errors;
        }
        text_form(parent, "group", &path, forms::dns1123_subdomain, &mut errors);
        required_path_segment(parent, "resource", &path, &mut errors);
        required_path_segment(parent, "name", &path, &mut errors);
        text_form(parent, "namespace", &path, forms::path_segment, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (new, old) = (value::field(object, "spec"), value::field(old, "spec"));
        immutable(new, old, "parentRef", &Path::new("spec"), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("ParentRef"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let parent = value::at(object, &["spec", "parentRef"]);
        let resource = match value::text(parent, "group") {
            "" => value::text(parent, "resource").to_lowercase(),
            group => format!("{}.{group}", value::text(parent, "resource")).to_lowercase(),
        };
        let names = [resource.as_str(), value::text(parent, "namespace"), value::text(parent, "name")];
        let shown = names.into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>().join("/");
        vec![columns::name(object), columns::or_none(&shown), columns::age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_parent_is_named_and_stays() {
        let of = |parent: Value| json!({"spec": {"parentRef": parent}});
        let good = of(json!({"resource": "services", "name": "a", "namespace": "b"}));
        assert_eq!(told(&IPAddress.validate(&good)), Vec::<String>::new());
        assert_eq!(told(&IPAddress.validate(&json!({"spec": {}}))), ["spec.parentRef: Required value"]);
        assert_eq!(
            told(&IPAddress.validate(&of(json!({"resource": "a/b", "namespace": ".."})))),
            [
                "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'",
                "spec.parentRef.name: Required value",
                "spec.parentRef.namespace: Invalid value: \"..\": may not be '..'",
            ]
        );
        let other = of(json!({"resource": "services", "name": "c", "namespace": "b"}));
        assert!(told(&IPAddress.validate_update(&other, &good))[0].ends_with("field is immutable"));
    }

    #[test]
    fn the_table_names_the_parent() {
        let shown = |parent: Value| {
            IPAddress.row(&json!({"spec": {"parentRef": parent}}), Timestamp::UNIX_EPOCH)[1].clone()
        };
        assert_eq!(shown(json!({"resource": "services", "namespace": "b", "name": "a"})), "services/b/a");
        assert_eq!(shown(json!({"group": "x.y", "resource": "gates", "name": "a"})), "gates.x.y/a");
    }

    #[test]
    fn names_are_addresses_in_canonical_form() {
        let check = |name: &str| IPAddress.name_rule().check(name);
        assert!(check("10.0.0.1").is_empty() && check("fd00::1").is_empty());
        assert_eq!(check("FD00::1"), ["must be in canonical form (\"fd00::1\")"]);
        assert_eq!(check("10.0.0.01"), ["must not have leading 0s"]);
    }
}
