//! The rules by which a schema is structural: every field has a type outside of `allOf`, `anyOf`, `oneOf` and `not`,
//! which only restrict values (KEP-1152).

use apimachinery::field::{ErrorList, FieldError, Path};

use crate::pattern;
use crate::schema::{Additional, StructuralSchema, Type, ValueValidation};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural, sorted by its text.
pub fn validate(schema: &StructuralSchema, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    invariants(schema, Level::Root, path, &mut errors);
    completeness(schema, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn invariants(schema: &StructuralSchema, level: Level, path: &Path, errors: &mut ErrorList) {
    match &schema.items {
        Some(items) => invariants(items, Level::Item, &path.child("items"), errors),
        None if schema.ty == Some(Type::Array) => {
            errors.push(FieldError::required(&path.child("items"), "must be specified"));
        }
        None => {}
    }
    let properties = path.child("properties");
    for (name, property) in &schema.properties {
        invariants(property, Level::Field, &properties.key(name), errors);
    }
    if schema.additional != Additional::Unset && level == Level::Root {
        errors
            .push(FieldError::forbidden(&path.child("additionalProperties"), "must not be used at the root"));
    }
    if let Some(additional) = schema.additional_schema() {
        invariants(additional, Level::Field, &path.child("additionalProperties"), errors);
    }
    if schema.int_or_string {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        for (set, keyword) in [
            (schema.preserve_unknown, "x-kubernetes-preserve-unknown-fields"),
            (schema.embedded, "x-kubernetes-embedded-resource"),
        ] {
            if set {
                errors.push(FieldError::invalid(&path.child(keyword), true, detail));
            }
        }
    }
    if let Some(validation) = &schema.validation {
        value_validation(validation, Skip::of(validation), path, errors);
    }
    type_rules(schema, level, path, errors);
    meta_rules(schema, level, path, errors);
}

fn type_rules(schema: &StructuralSchema, level: Level, path: &Path, errors: &mut ErrorList) {
    let at = path.child("type");
    match schema.ty {
        None if schema.embedded => {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(FieldError::required(&at, detail));
        }
        Some(ty) if schema.embedded && ty != Type::Object => {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(FieldError::invalid(&at, ty.name(), detail));
        }
        None if !schema.int_or_string && !schema.preserve_unknown => {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            errors.push(FieldError::required(&at, detail));
        }
        _ => {}
    }
    if schema.embedded && schema.additional != Additional::Unset {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
    }
    if let Some(ty) = schema.ty.filter(|ty| level == Level::Root && *ty != Type::Object) {
        errors.push(FieldError::invalid(&at, ty.name(), "must be object at the root"));
    }
    if schema.embedded && !schema.preserve_unknown && schema.properties.is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), detail));
    }
}

/// `apiVersion`, `kind` and `metadata` of whole objects are what they are everywhere.
fn meta_rules(schema: &StructuralSchema, level: Level, path: &Path, errors: &mut ErrorList) {
    let whole = level == Level::Root || schema.embedded;
    let properties = path.child("properties");
    for name in ["kind", "apiVersion"] {
        let Some(property) = schema.property(name).filter(|_| whole) else { continue };
        if property.ty != Some(Type::String) {
            let ty = property.ty.map(Type::name).unwrap_or_default();
            errors.push(FieldError::invalid(&properties.key(name).child("type"), ty, "must be string"));
        }
    }
    let Some(metadata) = schema.property("metadata") else { return };
    let path = properties.key("metadata");
    if whole && metadata.ty != Some(Type::Object) {
        let ty = metadata.ty.map(Type::name).unwrap_or_default();
        errors.push(FieldError::invalid(&path.child("type"), ty, "must be object"));
    }
    if level == Level::Root && !only_names(metadata) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

fn only_names(metadata: &StructuralSchema) -> bool {
    let names = metadata.properties.iter().all(|(name, _)| matches!(name.as_ref(), "name" | "generateName"));
    let rest = StructuralSchema { ty: None, default: None, properties: Box::default(), ..metadata.clone() };
    names && rest == StructuralSchema::default()
}

/// The one place below a junctor where a type may stand: the two of `x-kubernetes-int-or-string`.
#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

impl Skip {
    fn of(validation: &ValueValidation) -> Self {
        let first = validation.all_of.first().and_then(|schema| schema.validation.as_ref());
        Self {
            any_of: is_int_or_string(&validation.any_of),
            first_all_of: first.is_some_and(|validation| is_int_or_string(&validation.any_of)),
        }
    }
}

fn is_int_or_string(any_of: &[StructuralSchema]) -> bool {
    matches!(any_of, [int, string] if int.is_only(Type::Integer) && string.is_only(Type::String))
}

fn value_validation(validation: &ValueValidation, skip: Skip, path: &Path, errors: &mut ErrorList) {
    let all = |schemas: &[StructuralSchema], keyword: &str, errors: &mut ErrorList| {
        let path = path.child(keyword);
        for (index, schema) in schemas.iter().enumerate() {
            nested(schema, Skip::default(), &path.index(index), errors);
        }
    };
    if !skip.any_of {
        all(&validation.any_of, "anyOf", errors);
    }
    for (index, schema) in validation.all_of.iter().enumerate() {
        let skip = Skip { any_of: skip.first_all_of && index == 0, first_all_of: false };
        nested(schema, skip, &path.child("allOf").index(index), errors);
    }
    all(&validation.one_of, "oneOf", errors);
    if let Some(not) = &validation.not {
        nested(not, Skip::default(), &path.child("not"), errors);
    }
    if let Some(pattern) = &validation.pattern
        && let Err(why) = pattern::compile(&pattern.text)
    {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern.text.as_ref(), detail));
    }
}

/// Below a junctor, all but what restricts values is forbidden.
fn nested(schema: &StructuralSchema, skip: Skip, path: &Path, errors: &mut ErrorList) {
    if let Some(validation) = &schema.validation {
        value_validation(validation, skip, path, errors);
    }
    if let Some(items) = &schema.items {
        nested(items, Skip::default(), &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        nested(property, Skip::default(), &path.child("properties").key(name), errors);
    }
    for (set, keyword, wanted) in [
        (schema.ty.is_some(), "type", "must be empty to be structural"),
        (
            schema.additional != Additional::Unset,
            "additionalProperties",
            "must be undefined to be structural",
        ),
        (schema.default.is_some(), "default", "must be undefined to be structural"),
        (schema.titled, "title", "must be empty to be structural"),
        (schema.described, "description", "must be empty to be structural"),
        (schema.nullable, "nullable", "must be false to be structural"),
        (schema.preserve_unknown, "x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        (schema.embedded, "x-kubernetes-embedded-resource", "must be false to be structural"),
        (schema.int_or_string, "x-kubernetes-int-or-string", "must be false to be structural"),
        (!schema.list_map_keys.is_empty(), "x-kubernetes-list-map-keys", "must be empty to be structural"),
        (schema.list_type.is_some(), "x-kubernetes-list-type", "must be undefined to be structural"),
        (schema.map_type.is_some(), "x-kubernetes-map-type", "must be undefined to be structural"),
        (!schema.rules.is_empty(), "x-kubernetes-validations", "must be empty to be structural"),
    ] {
        if set {
            errors.push(FieldError::forbidden(&path.child(keyword), wanted));
        }
    }
    if schema.property("metadata").is_some() {
        let path = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(&path, "must not be specified in a nested context"));
    }
}

/// What the root's junctors restrict has to be there outside of them too. (Those below the root are not looked at.)
fn completeness(schema: &StructuralSchema, path: &Path, errors: &mut ErrorList) {
    if let Some(validation) = &schema.validation {
        complete_junctors(validation, schema, path, path, errors);
    }
}

/// `at` is where the junctors stand, `path` where the schema does that they restrict.
fn complete_junctors(
    validation: &ValueValidation,
    schema: &StructuralSchema,
    at: &Path,
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(not) = &validation.not {
        complete(not, Some(schema), &at.child("not"), path, errors);
    }
    for (keyword, junctors) in
        [("allOf", &validation.all_of), ("anyOf", &validation.any_of), ("oneOf", &validation.one_of)]
    {
        for (index, junctor) in junctors.iter().enumerate() {
            complete(junctor, Some(schema), &at.child(keyword).index(index), path, errors);
        }
    }
}

fn complete(
    nested: &StructuralSchema,
    schema: Option<&StructuralSchema>,
    at: &Path,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(schema) = schema else {
        errors.push(FieldError::required(path, format!("because it is defined in {at}")));
        return;
    };
    if let Some(validation) = &nested.validation {
        complete_junctors(validation, schema, at, path, errors);
    }
    if let Some(items) = &nested.items {
        complete(items, schema.items.as_deref(), &at.child("items"), &path.child("items"), errors);
    }
    for (name, property) in &nested.properties {
        let below = |path: &Path| path.child("properties").key(name);
        complete(property, schema.property(name), &below(at), &below(path), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn errors(schema: Value) -> Vec<String> {
        let schema = StructuralSchema::parse(&schema).unwrap();
        validate(&schema, &Path::new("s")).iter().map(ToString::to_string).collect()
    }

    /// Of a schema with one property.
    fn of(x: Value) -> Vec<String> {
        errors(json!({"type": "object", "properties": {"x": x}}))
    }

    #[test]
    fn what_is_not_structural_is_told() {
        const X: &str = "s.properties[x]";
        for (schema, wanted) in [
            (json!({}), format!("{X}.type: Required value: must not be empty for specified object fields")),
            (json!({"type": "array"}), format!("{X}.items: Required value: must be specified")),
            (
                json!({"type": "array", "items": {}}),
                format!("{X}.items.type: Required value: must not be empty for specified array items"),
            ),
            (
                json!({"type": "string", "allOf": [{"type": "string"}]}),
                format!("{X}.allOf[0].type: Forbidden: must be empty to be structural"),
            ),
            (
                json!({"type": "string", "not": {"default": "a"}}),
                format!("{X}.not.default: Forbidden: must be undefined to be structural"),
            ),
            (
                json!({"type": "string", "anyOf": [{"description": "a"}]}),
                format!("{X}.anyOf[0].description: Forbidden: must be empty to be structural"),
            ),
            (
                json!({"type": "string", "oneOf": [{"x-kubernetes-validations": [{"rule": "true"}]}]}),
                format!("{X}.oneOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural"),
            ),
            (
                json!({"type": "object", "not": {"properties": {"metadata": {}}}, "properties": {"metadata": {"type": "object"}}}),
                format!("{X}.not.properties[metadata]: Forbidden: must not be specified in a nested context"),
            ),
            (
                json!({"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
                format!("{X}.type: Required value: must be object if x-kubernetes-embedded-resource is true"),
            ),
            (
                json!({"type": "object", "x-kubernetes-embedded-resource": true}),
                format!(
                    "{X}.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
                ),
            ),
            (
                json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}),
                format!(
                    "{X}.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"
                ),
            ),
        ] {
            assert_eq!(of(schema.clone()), [wanted], "{schema}");
        }
        let wrong = of(json!({"type": "string", "pattern": "("}));
        assert!(wrong[0].starts_with("s.properties[x].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: "), "{wrong:?}");
    }

    #[test]
    fn the_root_has_rules_of_its_own() {
        assert_eq!(
            errors(json!({"type": "object", "anyOf": [{"properties": {"a": {"minLength": 1}}}]})),
            ["s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]"]
        );
        assert_eq!(errors(json!({})), ["s.type: Required value: must not be empty at the root"]);
        assert_eq!(
            errors(json!({"type": "array", "items": {"type": "string"}})),
            ["s.type: Invalid value: \"array\": must be object at the root"]
        );
        assert_eq!(
            errors(json!({"type": "object", "additionalProperties": true})),
            ["s.additionalProperties: Forbidden: must not be used at the root"]
        );
        assert_eq!(
            errors(json!({"type": "object", "properties": {"kind": {"type": "integer"}, "metadata": {
                "type": "object", "properties": {"name": {"type": "string"}, "labels": {"type": "object"}}}}})),
            [
                "s.properties[kind].type: Invalid value: \"integer\": must be string",
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
            ]
        );
    }

    #[test]
    fn structural_schemas_are_let_pass() {
        for schema in [
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "a"}]}),
            json!({"x-kubernetes-preserve-unknown-fields": true}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"required": ["a"], "properties": {"a": {"minLength": 1}}}]}),
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}}}}}),
        ] {
            assert_eq!(of(schema.clone()), Vec::<String>::new(), "{schema}");
        }
        assert_eq!(
            errors(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {
                "name": {"type": "string", "maxLength": 5}}}}})),
            Vec::<String>::new()
        );
    }
}
