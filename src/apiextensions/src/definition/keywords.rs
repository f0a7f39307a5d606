//! The rules of single keywords of an `openAPIV3Schema`, beyond those that make it structural.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::field_path;
use crate::json::{entries, field, is_true, is_zero, list, some, text, texts};
use crate::pruning::META_FIELDS;
use crate::schema::{StructuralSchema, Type};

/// Deepest nesting that is looked at: [`StructuralSchema::parse`] refuses what is deeper.
const MAX_DEPTH: usize = 100;

/// What is wrong with a schema's keywords. `parsed` is the schema as read, if it could be.
pub(super) fn validate(json: &Value, parsed: Option<&StructuralSchema>, path: &Path, errors: &mut ErrorList) {
    let place = Place { no_defaults: None, in_meta: false, root: true, depth: 0 };
    schema(json, parsed, path, &place, errors);
}

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    /// Why defaults are not allowed; None where they are.
    no_defaults: Option<String>,
    /// Within `metadata` or a sibling.
    in_meta: bool,
    root: bool,
    depth: usize,
}

impl Place {
    fn below(&self) -> Self {
        Self { root: false, depth: self.depth + 1, ..self.clone() }
    }
}

fn schema(
    json: &Value,
    parsed: Option<&StructuralSchema>,
    path: &Path,
    place: &Place,
    errors: &mut ErrorList,
) {
    if place.depth > MAX_DEPTH {
        return;
    }
    supported(json, path, place, errors);
    if is_true(json, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    parts(json, parsed, path, place, errors);
    if json.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(&path, false, "must be true or undefined"));
    }
    map_type(json, path, errors);
    list_type(json, path, errors);
    list_map_keys(json, path, errors);
    for (index, rule) in list(json, "x-kubernetes-validations").iter().enumerate() {
        let path = path.child("x-kubernetes-validations").index(index);
        self::rule(rule, parsed, &path, errors);
    }
}

/// Keywords that are not served at all.
fn supported(json: &Value, path: &Path, place: &Place, errors: &mut ErrorList) {
    let ty = text(json, "type");
    if !ty.is_empty() && Type::of(ty).is_none() {
        let known: Vec<&str> = Type::ALL.into_iter().map(Type::name).collect();
        errors.push(FieldError::not_supported(&path.child("type"), ty, &known));
    }
    if some(json, "default").is_some()
        && let Some(why) = &place.no_defaults
    {
        errors.push(FieldError::forbidden(&path.child("default"), format!("must not be set {why}")));
    }
    for keyword in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let there = some(json, keyword)
            .is_some_and(|value| matches!(keyword, "additionalItems" | "$ref") || !is_zero(value));
        if there {
            errors.push(FieldError::forbidden(&path.child(keyword), format!("{keyword} is not supported")));
        }
    }
    if ty == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    }
    if field(json, "items").as_array().is_some_and(|items| !items.is_empty()) {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), detail));
    }
    if place.in_meta && is_true(json, "x-kubernetes-embedded-resource") {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.push(FieldError::forbidden(&path, "must not be used inside of resource meta"));
    }
}

fn parts(
    json: &Value,
    parsed: Option<&StructuralSchema>,
    path: &Path,
    place: &Place,
    errors: &mut ErrorList,
) {
    let properties = entries(json, "properties");
    if let Some(additional) = some(json, "additionalProperties") {
        let path = path.child("additionalProperties");
        if !properties.is_empty() && additional != &Value::Bool(true) {
            let detail = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(&path, detail));
        }
        if additional.is_object() {
            let mut place = place.below();
            if place.in_meta {
                // Which keys there are to default is only known of an object.
                place.no_defaults =
                    Some("inside additionalProperties applying to object metadata".to_owned());
            }
            let parsed = parsed.and_then(StructuralSchema::additional_schema);
            schema(additional, parsed, &path, &place, errors);
        }
    }
    let whole = place.root || is_true(json, "x-kubernetes-embedded-resource");
    for (name, property) in properties {
        let mut below = place.below();
        if whole && META_FIELDS.contains(&name) {
            below.in_meta = true;
            if place.root {
                below.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        let parsed = parsed.and_then(|parsed| parsed.property(name));
        schema(property, parsed, &path.child("properties").key(name), &below, errors);
    }
    if let Some(not) = some(json, "not") {
        schema(not, None, &path.child("not"), &place.below(), errors);
    }
    for keyword in ["allOf", "oneOf", "anyOf"] {
        for (index, junctor) in list(json, keyword).iter().enumerate() {
            schema(junctor, None, &path.child(keyword).index(index), &place.below(), errors);
        }
    }
    if let Some(items) = some(json, "items").filter(|items| items.is_object()) {
        let parsed = parsed.and_then(|parsed| parsed.items.as_deref());
        schema(items, parsed, &path.child("items"), &place.below(), errors);
    }
}

/// Tells if the schema has another type than a keyword of it needs.
fn needs_type(json: &Value, wanted: &str, keyword: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let ty = text(json, "type");
    let detail = format!("must be {wanted} if {keyword} is specified");
    if ty.is_empty() {
        errors.push(FieldError::required(&path.child("type"), detail));
    } else if ty != wanted {
        errors.push(FieldError::invalid(&path.child("type"), ty, detail));
    }
    ty == wanted
}

fn map_type(json: &Value, path: &Path, errors: &mut ErrorList) {
    const KEYWORD: &str = "x-kubernetes-map-type";
    let Some(map_type) = some(json, KEYWORD).and_then(Value::as_str) else { return };
    needs_type(json, "object", KEYWORD, path, errors);
    if !matches!(map_type, "atomic" | "granular") {
        errors.push(FieldError::not_supported(&path.child(KEYWORD), map_type, &["atomic", "granular"]));
    }
}

fn list_type(json: &Value, path: &Path, errors: &mut ErrorList) {
    const KEYWORD: &str = "x-kubernetes-list-type";
    let (keys, list_type) = (list(json, "x-kubernetes-list-map-keys"), text(json, KEYWORD));
    let items = field(json, "items");
    if some(json, KEYWORD).is_some() {
        if needs_type(json, "array", KEYWORD, path, errors) && list_type == "set" {
            set_items(items, &path.child("items"), errors);
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            let known = ["atomic", "set", "map"];
            errors.push(FieldError::not_supported(&path.child(KEYWORD), list_type, &known));
        }
    }
    if !keys.is_empty() && list_type != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match some(json, KEYWORD) {
            None => FieldError::required(&path.child(KEYWORD), detail),
            Some(_) => FieldError::invalid(&path.child(KEYWORD), list_type, detail),
        });
    }
    if list_type == "map" {
        map_items(json, items, path, errors);
    }
}

/// Items of a set are compared whole, so that they have to be owned whole.
fn set_items(items: &Value, path: &Path, errors: &mut ErrorList) {
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (keyword, right) = match text(items, "type") {
        "array" => {
            let list_type = text(items, "x-kubernetes-list-type");
            ("x-kubernetes-list-type", list_type.is_empty() || list_type == "atomic")
        }
        "object" => ("x-kubernetes-map-type", text(items, "x-kubernetes-map-type") == "atomic"),
        _ => return,
    };
    if !right {
        let value = some(items, keyword).cloned().unwrap_or_else(|| Value::from("null"));
        errors.push(FieldError::invalid(&path.child(keyword), value, detail));
    }
}

fn map_items(json: &Value, items: &Value, path: &Path, errors: &mut ErrorList) {
    let keys: Vec<&str> = texts(json, "x-kubernetes-list-map-keys").collect();
    let (keys_path, items_path) = (path.child("x-kubernetes-list-map-keys"), path.child("items"));
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&keys_path, detail));
    }
    if items.is_null() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        return errors.push(FieldError::required(&items_path, detail));
    }
    let ty = text(items, "type");
    if ty != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        return errors.push(FieldError::invalid(&items_path.child("type"), ty, detail));
    }
    let mut seen = BTreeSet::new();
    for key in &keys {
        match some(field(items, "properties"), key) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let path = items_path.child("properties").key(key).child("type");
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(&path, ty, detail));
            }
            Some(_) => {}
            None => {
                let detail = "entries must all be names of item properties";
                errors.push(FieldError::invalid(&keys_path, keys.clone(), detail));
            }
        }
        if !seen.insert(key) {
            let detail = "must not contain duplicate entries";
            errors.push(FieldError::invalid(&keys_path, keys.clone(), detail));
        }
    }
}

/// Keys of a map and items of sets and maps are always there.
fn list_map_keys(json: &Value, path: &Path, errors: &mut ErrorList) {
    let (list_type, items) = (text(json, "x-kubernetes-list-type"), field(json, "items"));
    if !items.is_object() || !matches!(list_type, "set" | "map") {
        return;
    }
    let path = path.child("items");
    if is_true(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(&path.child("nullable"), detail));
    }
    if list_type != "map" {
        return;
    }
    for key in texts(json, "x-kubernetes-list-map-keys") {
        let Some(property) = some(field(items, "properties"), key) else { continue };
        let path = path.child("properties").key(key);
        let required = texts(items, "required").any(|required| required == key);
        if !required && some(property, "default").is_none() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&path.child("default"), detail));
        }
        if is_true(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&path.child("nullable"), detail));
        }
    }
}

/// What can be told of a rule without compiling it.
fn rule(rule: &Value, parsed: Option<&StructuralSchema>, path: &Path, errors: &mut ErrorList) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
    if expression.is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        let detail = "message must be non-empty if specified";
        errors.push(FieldError::invalid(&path.child("message"), message, detail));
    } else if breaks(message.trim()) {
        let detail = "message must not contain line breaks";
        errors.push(FieldError::invalid(&path.child("message"), message, detail));
    } else if breaks(expression) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&path.child("message"), detail));
    }
    let message_expression = text(rule, "messageExpression");
    if !message_expression.is_empty() && message_expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), detail));
    }
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if let Some(reason) =
        some(rule, "reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason))
    {
        errors.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
    }
    let (field_path, path) = (text(rule, "fieldPath"), path.child("fieldPath"));
    if field_path.is_empty() {
        return;
    }
    let mut wrong = |detail: &str| errors.push(FieldError::invalid(&path, field_path, detail));
    if field_path.trim().is_empty() {
        wrong("fieldPath must be non-empty if specified");
    }
    if breaks(field_path) {
        wrong("fieldPath must not contain line breaks");
    }
    if parsed.is_some_and(|schema| field_path::resolve(field_path.trim(), schema, true).is_err()) {
        wrong("fieldPath must be a valid path");
    }
}
