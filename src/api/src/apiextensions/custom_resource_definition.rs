//! CustomResourceDefinition. What is wrong with one is told by `apiextensions`; serving what it defines is the
//! engine's affair.

use crate::Kind;
use crate::{columns, meta, value};
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// CustomResourceDefinition.
pub struct CustomResourceDefinition;

impl Kind for CustomResourceDefinition {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("apiextensions.k8s.io", "CustomResourceDefinition")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["crd", "crds"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["api-extensions"]
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = value::object_mut(object, "spec") else { return };
        if let Some(names) = value::object_mut(spec, "names") {
            let kind = value::text(names, "kind").to_owned();
            if !kind.is_empty() {
                value::default_text(names, "singular", &kind.to_lowercase());
                value::default_text(names, "listKind", &format!("{kind}List"));
            }
        }
        if let Some(conversion) = value::ensure_object(spec, "conversion") {
            value::default_text(conversion, "strategy", "None");
            if let Some(service) = value::at_mut(conversion, &["webhook", "clientConfig", "service"]) {
                value::default(service, "port", 443);
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let stored: Vec<String> = value::list_at(object, &["spec", "versions"])
            .iter()
            .filter(|version| value::is_true(version, "storage"))
            .map(|version| value::text(version, "name").to_owned())
            .collect();
        if let Some(status) = value::ensure_object(object, "status") {
            value::set(status, "storedVersions", stored);
            value::ensure_object(status, "acceptedNames");
        }
    }

    /// A version that was ever stored stays known until its objects are migrated.
    fn prepare_for_update(&self, object: &mut Value, _old: &Value) {
        let stored: Vec<String> = value::list_at(object, &["spec", "versions"])
            .iter()
            .filter(|version| value::is_true(version, "storage"))
            .map(|version| value::text(version, "name").to_owned())
            .collect();
        let mut known = value::list_at(object, &["status", "storedVersions"]).to_vec();
        for name in stored {
            if !known.iter().any(|version| version.as_str() == Some(name.as_str())) {
                known.push(Value::from(name));
            }
        }
        if let Some(status) = value::ensure_object(object, "status") {
            value::set(status, "storedVersions", known);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        apiextensions::validate_crd_update(object, old, &meta::object_meta())
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        apiextensions::validate_crd_status_update(object)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        apiextensions::validate_crd_create(object, &meta::object_meta())
    }

    fn columns(&self) -> Vec<Column> {
        columns::created_at_columns()
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        columns::created_at_row(object)
    }
}
