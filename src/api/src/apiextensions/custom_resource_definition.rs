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
        let mut errors = self.validate(object);
        let (path, spec, old_spec) =
            (Path::new("spec"), value::field(object, "spec"), value::field(old, "spec"));
        validation::immutable(spec, old_spec, "group", &path, &mut errors);
        let established = columns::last_condition(old, "Established")
            .is_some_and(|condition| value::text(condition, "status") == "True");
        if established {
            validation::immutable(spec, old_spec, "scope", &path, &mut errors);
            let (names, old_names) = (value::field(spec, "names"), value::field(old_spec, "names"));
            for name in ["kind", "plural"] {
                validation::immutable(names, old_names, name, &path.child("names"), &mut errors);
            }
        }
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status").child("storedVersions");
        let stored: Vec<&str> = value::texts(value::field(object, "status"), "storedVersions").collect();
        if stored.is_empty() {
            errors.invalid(&path, Vec::<Value>::new(), "must have at least one stored version");
        }
        for version in value::list_at(object, &["spec", "versions"]) {
            let name = value::text(version, "name");
            if value::is_true(version, "storage") && !stored.contains(&name) {
                let detail = format!("must have the storage version {name}");
                errors.invalid(&path, stored.clone(), detail);
            }
        }
        for (index, name) in stored.iter().enumerate() {
            let known = value::list_at(object, &["spec", "versions"])
                .iter()
                .any(|version| value::text(version, "name") == *name);
            if !known {
                errors.invalid(&path.index(index), *name, "must appear in spec.versions");
            }
        }
        errors
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
        columns::created_at_columns()
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        columns::created_at_row(object)
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
