//! What a schema is to CEL: types, and how large values can get. Parts without a type are not seen by rules.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Decl, DeclKind, Field, ListKind, ObjectType};
use serde_json::Value;

use crate::schema::{ListType, StructuralSchema, Type, ValueValidation};

/// The largest request. All limits follow from it where the schema sets none.
pub(crate) const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;
/// `"9999-12-31T23:59:59.999999999Z"`; durations are taken to be no longer.
const MAX_TIME_BYTES: u64 = 32;
/// `"2006-01-02"`.
const DATE_BYTES: u64 = 12;
/// `"0"`.
const MIN_DURATION_BYTES: u64 = 3;
/// `"2006-01-02T15:04:05"`.
const MIN_TIME_BYTES: u64 = 21;

/// What a schema is to CEL; None if rules cannot see it. `whole`: it is that of a whole object, so that rules see
/// `apiVersion`, `kind` and the names in `metadata` too. `name` is that of its type.
pub(crate) fn declare(schema: &StructuralSchema, whole: bool, name: &str) -> Option<Decl> {
    let validation = schema.validation.as_deref();
    let mut decl = if schema.int_or_string {
        let most = match validation.and_then(|validation| validation.max_length) {
            Some(max) => characters(max),
            None => MAX_REQUEST_BYTES - 2,
        };
        Decl { max_elements: most, min_serialized_size: 1, ..Decl::new(DeclKind::IntOrString) }
    } else {
        match schema.ty? {
            Type::Array => list(schema, validation, name)?,
            Type::Object => object(schema, validation, whole, name)?,
            Type::String => string(validation),
            Type::Boolean => Decl { min_serialized_size: 4, ..Decl::new(DeclKind::Bool) },
            Type::Number => Decl::new(DeclKind::Double),
            Type::Integer => Decl::new(DeclKind::Int),
        }
    };
    decl.nullable = schema.nullable;
    Some(decl)
}

fn list(schema: &StructuralSchema, validation: Option<&ValueValidation>, name: &str) -> Option<Decl> {
    let items = schema.items.as_deref()?;
    let items = declare(items, items.embedded, &format!("{name}.@idx"))?;
    let list = match schema.list_type {
        Some(ListType::Map) => ListKind::Map(schema.list_map_keys.iter().map(ToString::to_string).collect()),
        Some(ListType::Set) => ListKind::Set,
        Some(ListType::Atomic) | None => ListKind::Atomic,
    };
    let most = match validation.and_then(|validation| validation.max_items) {
        Some(max) => non_negative(max),
        None => (MAX_REQUEST_BYTES - 2) / (items.min_serialized_size + 1),
    };
    let kind = DeclKind::List { items: Arc::new(items), list };
    Some(Decl { max_elements: most, min_serialized_size: 2, ..Decl::new(kind) })
}

fn object(
    schema: &StructuralSchema,
    validation: Option<&ValueValidation>,
    whole: bool,
    name: &str,
) -> Option<Decl> {
    let schema = if whole { with_names(schema) } else { Cow::Borrowed(schema) };
    if let Some(values) = schema.additional_schema() {
        let values = declare(values, values.embedded, &format!("{name}.@elem"))?;
        let most = match validation.and_then(|validation| validation.max_properties) {
            Some(max) => non_negative(max),
            // Key, quotes, colon, comma and value.
            None => (MAX_REQUEST_BYTES - 2) / (values.min_serialized_size + 6),
        };
        let kind = DeclKind::Map { values: Arc::new(values) };
        return Some(Decl { max_elements: most, min_serialized_size: 2, ..Decl::new(kind) });
    }
    let mut fields = BTreeMap::new();
    let mut least = 2;
    for (property, of) in &schema.properties {
        let Some(decl) = declare(of, of.embedded, &format!("{name}.{property}")) else { continue };
        let required = validation.is_some_and(|validation| validation.requires(property));
        if required && of.default.is_none() {
            least += property.len() as u64 + decl.min_serialized_size + 4;
        }
        if let Some(escaped) = cel::escape(property) {
            fields.insert(escaped, Field { name: property.to_string(), decl: Arc::new(decl), required });
        }
    }
    let object = ObjectType { name: name.to_owned(), fields, open: false };
    Some(Decl { min_serialized_size: least, ..Decl::object(object) })
}

fn string(validation: Option<&ValueValidation>) -> Decl {
    let format = validation.map_or("", |validation| &validation.format);
    let max_length = validation.and_then(|validation| validation.max_length);
    let (kind, most, least) = match format {
        "byte" => (DeclKind::Bytes, max_length.map_or(MAX_REQUEST_BYTES - 2, non_negative), 2),
        "duration" => (DeclKind::Duration, MAX_TIME_BYTES, MIN_DURATION_BYTES),
        "date" => (DeclKind::Date, DATE_BYTES, DATE_BYTES),
        "date-time" => (DeclKind::Timestamp, MAX_TIME_BYTES, MIN_TIME_BYTES),
        _ => {
            let known = validation.map_or(&[][..], |validation| &validation.values);
            let most = match max_length {
                Some(max) => characters(max),
                None if known.is_empty() => MAX_REQUEST_BYTES - 2,
                None => known.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0) as u64,
            };
            (DeclKind::String, most, 2)
        }
    };
    Decl { max_elements: most, min_serialized_size: least, ..Decl::new(kind) }
}

/// A character may have four bytes.
fn characters(max_length: i64) -> u64 {
    non_negative(max_length).saturating_mul(4)
}

fn non_negative(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The schema of a whole object with what every object has.
fn with_names(schema: &StructuralSchema) -> Cow<'_, StructuralSchema> {
    let text = || StructuralSchema { ty: Some(Type::String), ..StructuralSchema::default() };
    let is_text = |schema: Option<&StructuralSchema>| schema.is_some_and(|it| it.ty == Some(Type::String));
    let metadata = schema.property("metadata");
    let named = metadata.is_some_and(|metadata| {
        metadata.ty == Some(Type::Object)
            && is_text(metadata.property("name"))
            && is_text(metadata.property("generateName"))
    });
    if named && is_text(schema.property("kind")) && is_text(schema.property("apiVersion")) {
        return Cow::Borrowed(schema);
    }
    let metadata = StructuralSchema {
        ty: Some(Type::Object),
        properties: [("generateName".into(), text()), ("name".into(), text())].into(),
        ..StructuralSchema::default()
    };
    let mut properties: BTreeMap<Box<str>, StructuralSchema> = schema.properties.iter().cloned().collect();
    properties.insert("apiVersion".into(), text());
    properties.insert("kind".into(), text());
    properties.insert("metadata".into(), metadata);
    Cow::Owned(StructuralSchema {
        ty: schema.ty,
        additional: schema.additional.clone(),
        validation: schema.validation.clone(),
        properties: properties.into_iter().collect(),
        ..StructuralSchema::default()
    })
}
