//! The schemas of a definition's versions.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::{defaults, hub, keywords, rules};
use crate::json::{field, is_true, is_zero, list, some, text};
use crate::object_meta::ObjectMeta;
use crate::schema::StructuralSchema;
use crate::structural;

/// The keywords that the root may have where there is a status subresource, as Kubernetes' message names them.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

pub(super) fn validate(spec: &Value, old: Option<&Value>, object_meta: &ObjectMeta, errors: &mut ErrorList) {
    for part in hub::parts(spec, "schema", "validation") {
        let schema = field(part.version, "schema");
        let Some(json) = some(schema, "openAPIV3Schema") else { continue };
        let versions = list(spec, "versions");
        // The schema of the whole definition is that of all versions.
        let status = if part.path.as_str() == "spec.validation" {
            versions.iter().any(has_status)
        } else {
            has_status(part.version)
        };
        let path = part.path.child("openAPIV3Schema");
        let name = text(part.version, "name");
        let unchanged = old.is_some_and(|old| {
            list(field(old, "spec"), "versions").iter().any(|version| {
                text(version, "name") == name && field(field(version, "schema"), "openAPIV3Schema") == json
            })
        });
        one(json, &path, &Facts { status, unchanged }, object_meta, errors);
    }
}

fn has_status(version: &Value) -> bool {
    some(field(version, "subresources"), "status").is_some()
}

/// What decides over some rules.
struct Facts {
    /// There is a status subresource.
    status: bool,
    /// An update leaves the schema as it was.
    unchanged: bool,
}

fn one(json: &Value, path: &Path, facts: &Facts, object_meta: &ObjectMeta, errors: &mut ErrorList) {
    let before = errors.len();
    if facts.status {
        root_keywords(json, path, errors);
    }
    if is_true(json, "nullable") {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let parsed = StructuralSchema::parse(json);
    if let Ok(schema) = &parsed {
        let wrong = structural::validate(schema, path);
        if wrong.is_empty() {
            defaults::validate(schema, path, object_meta, errors);
        } else {
            errors.extend(wrong);
        }
    }
    keywords::validate(json, parsed.as_ref().ok(), path, errors);
    match parsed {
        // What is wrong with the schema mostly makes rules wrong too.
        Ok(schema) if errors.len() == before => rules::validate(&schema, facts.unchanged, path, errors),
        // Mostly the same is told of the keyword itself, and better.
        Err(err) if errors.len() == before => errors.push(FieldError::invalid(path, "", err.to_string())),
        _ => {}
    }
}

fn root_keywords(json: &Value, path: &Path, errors: &mut ErrorList) {
    let Value::Object(keywords) = json else { return };
    for (keyword, value) in keywords.iter().filter(|(_, value)| !is_zero(value)) {
        if keyword == "type" {
            if value != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                errors.push(FieldError::invalid(&path.child("type"), value.clone(), detail));
                return;
            }
        } else if !AT_ROOT.iter().any(|(known, _)| known == keyword) {
            let names: Vec<&str> = AT_ROOT.iter().map(|(_, name)| *name).collect();
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                names.join(" ")
            );
            errors.push(FieldError::invalid(path, keyword.as_str(), detail));
            return;
        }
    }
}
