//! Printer columns, selectable fields, subresources.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::field_path;
use crate::json::{some, text};
use crate::schema::{StructuralSchema, Type};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Most selectable fields of a version (KEP-4358).
const MAX_SELECTABLE_FIELDS: usize = 8;

pub(super) fn columns(columns: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, column) in columns.iter().enumerate() {
        let path = path.index(index);
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        let (ty, detail) = (text(column, "type"), format!("must be one of {}", COLUMN_TYPES.join(",")));
        if ty.is_empty() {
            errors.push(FieldError::required(&path.child("type"), detail));
        } else if !COLUMN_TYPES.contains(&ty) {
            errors.push(FieldError::invalid(&path.child("type"), ty, detail));
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(&path.child("format"), format, detail));
        }
        let (json_path, path) = (text(column, "jsonPath"), path.child("JSONPath"));
        if json_path.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else {
            simple_path(json_path, &path, errors);
        }
    }
}

/// Answers whether it is one.
fn simple_path(json_path: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let simple = json_path.starts_with('.');
    if !simple {
        errors.push(FieldError::invalid(path, json_path, "must be a simple json path starting with ."));
    }
    simple
}

pub(super) fn selectable_fields(
    fields: &[Value],
    schema: &StructuralSchema,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut seen = BTreeSet::new();
    for (index, selectable) in fields.iter().enumerate() {
        let (json_path, path) = (text(selectable, "jsonPath"), path.index(index).child("jsonPath"));
        if json_path.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let (found, leaf) = match field_path::resolve(json_path, schema, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(&path, json_path, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if found.as_str().split(['.', '[']).next() == Some("metadata") {
            errors.push(FieldError::invalid(&path, json_path, "must not point to fields in metadata"));
        }
        if !matches!(leaf.ty, Some(Type::String | Type::Boolean | Type::Integer)) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&path, json_path, detail));
        }
        if !seen.insert(found.to_string()) {
            errors.push(FieldError::duplicate(&path, json_path));
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS {
        errors.push(FieldError::too_many(path, seen.len(), MAX_SELECTABLE_FIELDS));
    }
}

pub(super) fn subresources(subresources: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(scale) = some(subresources, "scale") else { return };
    for (name, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (value, path) = (text(scale, name), path.child("scale").child(name));
        if value.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if simple_path(value, &path, errors) && !is_under(value, under) {
            errors.push(FieldError::invalid(&path, value, format!("should be a json path under {under}")));
        }
    }
    let (value, path) = (text(scale, "labelSelectorPath"), path.child("scale").child("labelSelectorPath"));
    if !value.is_empty()
        && simple_path(value, &path, errors)
        && !is_under(value, ".spec")
        && !is_under(value, ".status")
    {
        let detail = "should be a json path under either .spec or .status";
        errors.push(FieldError::invalid(&path, value, detail));
    }
}

fn is_under(json_path: &str, root: &str) -> bool {
    json_path.strip_prefix(root).is_some_and(|rest| rest.starts_with('.'))
}
