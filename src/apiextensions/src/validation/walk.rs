//! The walk over a value and its schema.

use std::fmt::Write;

use apimachinery::field::{ErrorList, ErrorType, FieldError, Path};
use serde_json::{Map, Value};

use super::correlate::{Items, equal};
use super::{composite, scalar};
use crate::schema::{Additional, StructuralSchema, ValueValidation};

/// What was found in a value.
#[derive(Default)]
pub(super) struct Found {
    pub(super) errors: ErrorList,
    /// How much was right: of the alternatives of an `anyOf` that all fail, the best is told.
    pub(super) matches: usize,
}

impl Found {
    pub(super) fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.matches += other.matches;
    }
}

/// Where the walk is.
pub(super) struct Walk<'a> {
    base: &'a Path,
    /// The names that lead from the base to the value, as messages tell them.
    path: String,
}

impl<'a> Walk<'a> {
    pub(super) fn new(base: &'a Path) -> Self {
        Self { base, path: String::new() }
    }

    /// As [`Walk::value`]; what is wrong is let pass if the value is as it was.
    pub(super) fn ratcheted(
        &mut self,
        schema: &StructuralSchema,
        value: &Value,
        old: Option<&Value>,
    ) -> Found {
        let mut found = self.value(schema, value, old);
        if !found.errors.is_empty() && old.is_some_and(|old| equal(schema, value, old)) {
            found.errors.clear();
        }
        found
    }

    /// What is wrong with a value. `old` is what the parts are compared with, if there was something.
    pub(super) fn value(&mut self, schema: &StructuralSchema, value: &Value, old: Option<&Value>) -> Found {
        let mut found = Found { errors: ErrorList::new(), matches: 1 };
        if let Some(error) = scalar::type_of(self, schema, value) {
            found.errors.push(error);
        } else {
            found.matches += 1;
        }
        let Some(validation) = &schema.validation else {
            self.parts(schema, None, value, old, &mut found);
            return found;
        };
        if !value.is_null() {
            composite::validate(self, validation, value, old, &mut found);
            scalar::validate(self, schema, validation, value, &mut found.errors);
        }
        if let Value::Array(items) = value {
            self.items(schema, items, old, &mut found);
            self.length(validation, items, &mut found.errors);
        }
        scalar::enumeration(self, validation, value, &mut found.errors);
        if let Value::Object(map) = value {
            self.object(schema, Some(validation), map, old, &mut found);
        }
        found
    }

    fn parts(
        &mut self,
        schema: &StructuralSchema,
        validation: Option<&ValueValidation>,
        value: &Value,
        old: Option<&Value>,
        found: &mut Found,
    ) {
        match value {
            Value::Array(items) => self.items(schema, items, old, found),
            Value::Object(map) => self.object(schema, validation, map, old, found),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn items(&mut self, schema: &StructuralSchema, items: &[Value], old: Option<&Value>, found: &mut Found) {
        let Some(item_schema) = &schema.items else { return };
        let old = old.map(|old| Items::of(schema, old));
        let before = self.path.len();
        for (index, item) in items.iter().enumerate() {
            // Writing to a String does not fail.
            let _ = write!(self.path, "[{index}]");
            let old = old.as_ref().and_then(|old| old.get(index, item));
            found.merge(self.ratcheted(item_schema, item, old));
            self.path.truncate(before);
        }
    }

    fn length(&self, validation: &ValueValidation, items: &[Value], errors: &mut ErrorList) {
        let size = items.len();
        if let Some(min) = validation.min_items.filter(|min| (size as i64) < *min) {
            errors.push(self.invalid(size, &format!("should have at least {min} items")));
        }
        if let Some(max) = validation.max_items.filter(|max| size as i64 > *max) {
            errors.push(FieldError::too_many(&self.field(), size, usize::try_from(max).unwrap_or(0)));
        }
    }

    fn object(
        &mut self,
        schema: &StructuralSchema,
        validation: Option<&ValueValidation>,
        map: &Map<String, Value>,
        old: Option<&Value>,
        found: &mut Found,
    ) {
        if let Some(validation) = validation {
            let size = map.len();
            if let Some(min) = validation.min_properties.filter(|min| (size as i64) < *min) {
                found.errors.push(self.invalid(size, &format!("should have at least {min} properties")));
                return;
            }
            if let Some(max) = validation.max_properties.filter(|max| size as i64 > *max) {
                let max = usize::try_from(max).unwrap_or(0);
                found.errors.push(FieldError::too_many(&self.field(), size, max));
                return;
            }
        }
        for (key, value) in map {
            let part = match (schema.property(key), &schema.additional) {
                (Some(property), _) => property,
                (None, Additional::Schema(additional)) => additional,
                (None, Additional::Allowed(false)) => {
                    let text = format!("{}.{key} in body is a forbidden property", self.path);
                    found.errors.push(FieldError::invalid(&self.field(), key.as_str(), text));
                    continue;
                }
                (None, _) => continue,
            };
            let before = self.enter(key);
            let old = old.and_then(|old| old.get(key));
            found.merge(self.ratcheted(part, value, old));
            self.path.truncate(before);
        }
        for name in validation.iter().flat_map(|validation| &validation.required) {
            if !map.contains_key(name.as_ref()) {
                let before = self.enter(name);
                found.errors.push(FieldError::required(&self.field(), ""));
                self.path.truncate(before);
            }
        }
    }

    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        before
    }

    /// The path of the value, as errors name it.
    pub(super) fn field(&self) -> Path {
        if self.path.is_empty() { self.base.clone() } else { self.base.child(&self.path) }
    }

    /// An error about the value: `spec.x in body should ...`.
    pub(super) fn invalid(&self, shown: impl Into<Value>, what: &str) -> FieldError {
        FieldError::invalid(&self.field(), shown, format!("{} in body {what}", self.path))
    }

    /// An error about the value's type or format.
    pub(super) fn wrong_type(&self, wanted: &str, found: &str) -> FieldError {
        let detail = format!("{} in body must be of type {wanted}: {}", self.path, Value::from(found));
        FieldError::type_invalid(&self.field(), found, detail)
    }

    /// An error about the value as a whole. Kubernetes does not say where it is but in its text.
    pub(super) fn whole(&self, what: &str) -> FieldError {
        let field = if self.base.as_str().is_empty() { "<nil>" } else { self.base.as_str() };
        FieldError {
            kind: ErrorType::Invalid,
            field: field.to_owned(),
            bad_value: Some(Value::from("")),
            detail: format!("{} {what}", Value::from(self.path.as_str())),
        }
    }
}
