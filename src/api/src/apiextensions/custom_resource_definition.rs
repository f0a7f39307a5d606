//! CustomResourceDefinition: its own rules. Serving what it defines is the engine's affair.

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

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
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        let (names, group) = (value::field(spec, "names"), value::text(spec, "group"));
        let expected = format!("{}.{group}", value::text(names, "plural"));
        if meta::name(object) != expected {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid(&Path::new("metadata").child("name"), meta::name(object), detail);
        }
        if validation::required_text(spec, "group", &path, &mut errors) {
            errors.check(&path, "group", group, apimachinery::validation::dns1123_subdomain(group));
            if group.split('.').count() < 2 {
                errors.invalid(&path.child("group"), group, "should be a domain with at least one dot");
            }
        }
        validation::required_one_of(spec, "scope", &path, &["Cluster", "Namespaced"], &mut errors);
        for name in ["plural", "kind"] {
            validation::required_text(names, name, &path.child("names"), &mut errors);
        }
        for name in ["plural", "singular"] {
            validation::text_form(
                names,
                name,
                &path.child("names"),
                apimachinery::validation::dns1035_label,
                &mut errors,
            );
        }
        versions(spec, &path, &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Created At")]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let _ = now;
        vec![columns::name(object), Value::from(meta::string(object, "creationTimestamp"))]
    }
}

fn versions(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (path, versions) = (path.child("versions"), value::list(spec, "versions"));
    let mut names = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = value::text(version, "name");
        if validation::required_text(version, "name", &path, errors) {
            errors.check(&path, "name", name, apimachinery::validation::dns1035_label(name));
        }
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if !value::has(value::field(version, "schema"), "openAPIV3Schema") {
            errors.required(&path.child("schema").child("openAPIV3Schema"), "schemas are required");
        }
    }
    let stored = versions.iter().filter(|version| value::is_true(version, "storage")).count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.invalid(&path, Value::Array(versions.to_vec()), detail);
    }
}
