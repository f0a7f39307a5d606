//! `allOf`, `anyOf`, `oneOf` and `not`.

use serde_json::Value;

use super::walk::{Found, Walk};
use crate::schema::{StructuralSchema, ValueValidation};

pub(super) fn validate(
    walk: &mut Walk<'_>,
    validation: &ValueValidation,
    value: &Value,
    old: Option<&Value>,
    found: &mut Found,
) {
    if !validation.any_of.is_empty() {
        any_of(walk, &validation.any_of, value, old, found);
    }
    if !validation.one_of.is_empty() {
        one_of(walk, &validation.one_of, value, old, found);
    }
    if !validation.all_of.is_empty() {
        all_of(walk, &validation.all_of, value, old, found);
    }
    if let Some(not) = &validation.not
        && walk.value(not, value, old).errors.is_empty()
    {
        found.errors.push(walk.whole("must not validate the schema (not)"));
    }
}

fn any_of(
    walk: &mut Walk<'_>,
    schemas: &[StructuralSchema],
    value: &Value,
    old: Option<&Value>,
    found: &mut Found,
) {
    let mut best: Option<Found> = None;
    for schema in schemas {
        let result = walk.value(schema, value, old);
        if result.errors.is_empty() {
            return found.merge(result);
        }
        if best.as_ref().is_none_or(|best| result.matches > best.matches) {
            best = Some(result);
        }
    }
    found.errors.push(walk.whole("must validate at least one schema (anyOf)"));
    found.merge(best.unwrap_or_default());
}

fn one_of(
    walk: &mut Walk<'_>,
    schemas: &[StructuralSchema],
    value: &Value,
    old: Option<&Value>,
    found: &mut Found,
) {
    let mut best: Option<Found> = None;
    let (mut first, mut valid) = (None, 0);
    for schema in schemas {
        let result = walk.value(schema, value, old);
        if result.errors.is_empty() {
            valid += 1;
            first.get_or_insert(result);
        } else if valid == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
            best = Some(result);
        }
    }
    match (valid, first) {
        (1, Some(first)) => found.merge(first),
        (0, _) => {
            found.errors.push(walk.whole("must validate one and only one schema (oneOf). Found none valid"));
            found.merge(best.unwrap_or_default());
        }
        (valid, _) => {
            let what =
                format!("must validate one and only one schema (oneOf). Found {valid} valid alternatives");
            found.errors.push(walk.whole(&what));
        }
    }
}

fn all_of(
    walk: &mut Walk<'_>,
    schemas: &[StructuralSchema],
    value: &Value,
    old: Option<&Value>,
    found: &mut Found,
) {
    let mut valid = 0;
    for schema in schemas {
        let result = walk.value(schema, value, old);
        valid += usize::from(result.errors.is_empty());
        found.merge(result);
    }
    if valid < schemas.len() {
        let none = if valid == 0 { ". None validated" } else { "" };
        found.errors.push(walk.whole(&format!("must validate all the schemas (allOf){none}")));
    }
}
