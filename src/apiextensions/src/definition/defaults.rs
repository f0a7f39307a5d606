//! Defaults are valid themselves, and hold no field that pruning would drop.

use std::sync::Arc;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::{Map, Value, json};

use crate::object_meta::{self, ObjectMeta};
use crate::pruning::META_FIELDS;
use crate::rules::{Rules, has_rules};
use crate::schema::StructuralSchema;
use crate::{pruning, validation};

pub(super) fn validate(
    schema: &StructuralSchema,
    path: &Path,
    object_meta: &ObjectMeta,
    errors: &mut ErrorList,
) {
    let mut check = Check { object_meta, errors, steps: Vec::new(), budget: cel::Budget::default() };
    check.schema(schema, &Place { whole: schema, root: true, in_meta: false }, path);
}

/// A step from a whole object to a value within it.
enum Step<'a> {
    Field(&'a str),
    Item,
}

struct Check<'a, 'b> {
    object_meta: &'b ObjectMeta,
    errors: &'b mut ErrorList,
    /// From the innermost whole object.
    steps: Vec<Step<'a>>,
    /// For the rules of all defaults together.
    budget: cel::Budget,
}

#[derive(Clone, Copy)]
struct Place<'a> {
    /// The schema of the innermost whole object.
    whole: &'a StructuralSchema,
    root: bool,
    /// Within `apiVersion`, `kind` or `metadata` of that object.
    in_meta: bool,
}

impl<'a> Check<'a, '_> {
    fn schema(&mut self, schema: &'a StructuralSchema, place: &Place<'a>, path: &Path) {
        let mut place = *place;
        let outer = if schema.embedded {
            place = Place { whole: schema, root: place.root, in_meta: false };
            Some(std::mem::take(&mut self.steps))
        } else {
            None
        };
        if let Some(default) = &schema.default {
            let path = path.child("default");
            let wrong = if place.in_meta {
                self.in_meta(schema, &place, default, &path)
            } else {
                self.plain(schema, place.root, default, &path)
            };
            self.errors.extend(wrong);
        }
        // Below additionalProperties there is nothing to default.
        let below = Place { root: false, ..place };
        if let Some(items) = &schema.items {
            self.steps.push(Step::Item);
            self.schema(items, &below, &path.child("items"));
            self.steps.pop();
        }
        let whole = place.root || schema.embedded;
        for (name, property) in &schema.properties {
            let in_meta = place.in_meta || (whole && META_FIELDS.contains(&name.as_ref()));
            self.steps.push(Step::Field(name));
            self.schema(property, &Place { in_meta, ..below }, &path.child("properties").key(name));
            self.steps.pop();
        }
        if let Some(outer) = outer {
            self.steps = outer;
        }
    }

    fn plain(&mut self, schema: &StructuralSchema, root: bool, default: &Value, path: &Path) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut object = default.clone();
        let whole = root || schema.embedded;
        pruning::prune(schema, &mut object, whole);
        if object != *default {
            errors.push(FieldError::invalid(path, default.clone(), "must not have unknown fields"));
        }
        match object_meta::coerce(schema, &mut object, self.object_meta) {
            Err(err) => errors.push(FieldError { field: below(path, &err.field), ..err }),
            Ok(_) => {
                let wrong = object_meta::validate(schema, default, path, whole, self.object_meta);
                if wrong.is_empty() {
                    errors.extend(self.valid(schema, root, default, path));
                } else {
                    errors.extend(wrong);
                }
            }
        }
        errors
    }

    /// What is wrong with a default as a value, by its schema and then by the schema's rules.
    fn valid(&mut self, schema: &StructuralSchema, root: bool, default: &Value, path: &Path) -> ErrorList {
        let mut errors = validation::validate(schema, default, path);
        if !errors.is_empty() || !has_rules(schema) {
            return errors;
        }
        let Some(rules) = Rules::new(Arc::new(schema.clone()), root || schema.embedded) else {
            return errors;
        };
        // A default may be there already, or come new.
        for old in [Some(default), None] {
            if errors.is_empty() {
                errors = rules.validate(default, old, path, &mut self.budget, false);
            }
        }
        errors
    }

    /// A default within metadata is looked at as part of an object that has nothing else.
    fn in_meta(
        &mut self,
        schema: &StructuralSchema,
        place: &Place<'a>,
        default: &Value,
        path: &Path,
    ) -> ErrorList {
        let mut object = default.clone();
        for step in self.steps.iter().rev() {
            object = match step {
                Step::Field(name) => Value::Object(Map::from_iter([((*name).to_owned(), object)])),
                Step::Item => Value::Array(vec![object]),
            };
        }
        if let Value::Object(map) = &mut object {
            map.entry("apiVersion").or_insert_with(|| json!("validation/v1"));
            map.entry("kind").or_insert_with(|| json!("Validation"));
        }
        let invalid = |why: String| {
            let detail = format!("must result in valid metadata: {why}");
            vec![FieldError::invalid(path, default.clone(), detail)]
        };
        if let Err(err) = object_meta::coerce(place.whole, &mut object, self.object_meta) {
            return invalid(err.to_string());
        }
        let root = Path::default();
        let wrong = object_meta::validate(place.whole, &object, &root, true, self.object_meta);
        match wrong.as_slice() {
            [] => self.valid(schema, false, default, path),
            [one] => invalid(one.to_string()),
            many => {
                let all: Vec<String> = many.iter().map(ToString::to_string).collect();
                invalid(format!("[{}]", all.join(", ")))
            }
        }
    }
}

fn below(path: &Path, field: &str) -> String {
    if field.is_empty() { path.to_string() } else { path.child(field).to_string() }
}
