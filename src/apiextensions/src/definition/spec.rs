//! Group, scope, versions, and what they are made of.

use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation::{dns1035_label, dns1123_subdomain};
use serde_json::{Value, json};

use super::{columns, conversion, hub, names, schema};
use crate::json::{field, is_true, list, some, text};
use crate::object_meta::ObjectMeta;
use crate::schema::StructuralSchema;

pub(super) fn validate(
    definition: &Value,
    old: Option<&Value>,
    object_meta: &ObjectMeta,
    errors: &mut ErrorList,
) {
    let (spec, path) = (field(definition, "spec"), Path::new("spec"));
    group(spec, &path, errors);
    scope(spec, &path, errors);
    versions(spec, &path, errors);
    let defined = field(spec, "names");
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(defined, name).is_empty() {
            errors.push(FieldError::required(&path.child("names").child(name), ""));
        }
    }
    names::validate(defined, &path.child("names"), errors);
    schema::validate(spec, old, object_meta, errors);
    for part in hub::parts(spec, "subresources", "subresources") {
        columns::subresources(field(part.version, "subresources"), &part.path, errors);
    }
    for part in hub::parts(spec, "additionalPrinterColumns", "additionalPrinterColumns") {
        columns::columns(list(part.version, "additionalPrinterColumns"), &part.path, errors);
    }
    for part in hub::parts(spec, "selectableFields", "selectableFields") {
        // What is wrong with the schema itself was told before.
        let json = crate::json::at(part.version, &["schema", "openAPIV3Schema"]);
        if let Ok(schema) = StructuralSchema::parse(json) {
            let fields = list(part.version, "selectableFields");
            columns::selectable_fields(fields, &schema, &part.path, errors);
        }
    }
    if conversion::by_webhook(spec) && is_true(spec, "preserveUnknownFields") {
        let path = path.child("conversion").child("strategy");
        errors.push(FieldError::invalid(
            &path,
            "Webhook",
            "must be None if spec.preserveUnknownFields is true",
        ));
    }
    conversion::validate(spec, &conversion::Lenient::of(old), errors);
}

fn group(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (group, path) = (text(spec, "group"), path.child("group"));
    let wrong = dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(&path, group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(&path, group, "should be a domain with at least one dot"));
    }
}

fn scope(spec: &Value, path: &Path, errors: &mut ErrorList) {
    match text(spec, "scope") {
        "" => errors.push(FieldError::required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        scope => {
            let known = ["Cluster", "Namespaced"];
            errors.push(FieldError::not_supported(&path.child("scope"), scope, &known));
        }
    }
}

fn versions(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (versions, path) = (list(spec, "versions"), path.child("versions"));
    for (index, version) in versions.iter().enumerate() {
        if some(field(version, "schema"), "openAPIV3Schema").is_none() {
            let path = path.index(index).child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&path, "schemas are required"));
        }
    }
    for (index, version) in versions.iter().enumerate() {
        let name = text(version, "name");
        let wrong = dns1035_label(name);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&path.index(index).child("name"), name, wrong.join(",")));
        }
        deprecation(version, &path.index(index).child("deprecationWarning"), errors);
    }
    let brief = || -> Value {
        versions
            .iter()
            .map(|version| {
                json!({"name": text(version, "name"), "served": is_true(version, "served"), "storage": is_true(version, "storage")})
            })
            .collect()
    };
    let repeated = versions.iter().enumerate().any(|(index, version)| {
        versions.iter().take(index).any(|before| text(before, "name") == text(version, "name"))
    });
    if repeated {
        errors.push(FieldError::invalid(&path, brief(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| is_true(version, "storage")).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&path, brief(), detail));
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(warning) = some(version, "deprecationWarning").and_then(Value::as_str) else { return };
    let mut wrong = |detail: String| errors.push(FieldError::invalid(path, warning, detail));
    if !is_true(version, "deprecated") {
        return wrong("can only be set for deprecated versions".to_owned());
    }
    if warning.len() > 256 {
        wrong("must be <= 256 characters long".to_owned());
    }
    if warning.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        wrong(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}
