//! Types, numbers, texts and enumerations.

use apimachinery::field::{ErrorList, FieldError};
use serde_json::{Number, Value};

use super::walk::Walk;
use crate::formats::Format;
use crate::schema::{StructuralSchema, Type, ValueValidation};

/// An error if the value is not of the schema's type.
pub(super) fn type_of(walk: &Walk<'_>, schema: &StructuralSchema, value: &Value) -> Option<FieldError> {
    if schema.ty.is_none() && !schema.int_or_string {
        return None;
    }
    let (found, format) = match value {
        Value::Null if schema.nullable => return None,
        Value::Null => return Some(walk.wrong_type(&wanted(schema), "null")),
        Value::Bool(_) => (Type::Boolean, ""),
        Value::Number(number) if is_float(number) => (Type::Number, "float64"),
        Value::Number(_) => (Type::Integer, "int64"),
        Value::String(_) => (Type::String, ""),
        Value::Array(_) => (Type::Array, ""),
        Value::Object(_) => (Type::Object, ""),
    };
    let fits = |ty: Type| match (ty, found) {
        (Type::Number, Type::Integer) => true,
        (Type::Integer, Type::Number) => is_whole(value),
        (wanted, found) => wanted == found,
    };
    let right = if schema.int_or_string {
        fits(Type::Integer) || fits(Type::String)
    } else {
        schema.ty.is_some_and(fits)
    };
    if right {
        return None;
    }
    // Where there is a format, it is told in place of the type, but for texts and lists.
    let written = schema.validation.as_ref().map_or("", |validation| &validation.format);
    if matches!(value, Value::String(_) | Value::Array(_)) || !has_format(schema, written) {
        return Some(walk.wrong_type(&wanted(schema), found.name()));
    }
    Some(walk.wrong_type(written, format))
}

fn wanted(schema: &StructuralSchema) -> String {
    if schema.int_or_string {
        return "integer,string".to_owned();
    }
    schema.ty.map(Type::name).unwrap_or_default().to_owned()
}

/// Whether the format is one that Kubernetes knows for the type; others are ignored.
fn has_format(schema: &StructuralSchema, format: &str) -> bool {
    match schema.ty {
        _ if schema.int_or_string => Format::of(format).is_some(),
        None | Some(Type::String) => Format::of(format).is_some(),
        Some(Type::Integer) => matches!(format, "int32" | "int64"),
        Some(Type::Number) => matches!(format, "float" | "double"),
        Some(Type::Array | Type::Boolean | Type::Object) => false,
    }
}

fn is_float(number: &Number) -> bool {
    // Go reads what does not fit into an int64 as a float64.
    number.as_i64().is_none()
}

fn is_whole(value: &Value) -> bool {
    /// Beyond, a float64 does not tell one integer from the next (2^53).
    const SAFE: f64 = 9_007_199_254_740_991.0;
    value.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() <= SAFE)
}

/// What is wrong with a text or a number.
pub(super) fn validate(
    walk: &Walk<'_>,
    schema: &StructuralSchema,
    validation: &ValueValidation,
    value: &Value,
    errors: &mut ErrorList,
) {
    match value {
        Value::String(text) => string(walk, schema, validation, text, errors),
        Value::Number(number) => numbers(walk, validation, number, errors),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
    }
}

fn string(
    walk: &Walk<'_>,
    schema: &StructuralSchema,
    validation: &ValueValidation,
    text: &str,
    errors: &mut ErrorList,
) {
    if validation.max_length.is_some() || validation.min_length.is_some() {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(max) = validation.max_length.filter(|max| length > *max) {
            errors.push(FieldError::too_long(&walk.field(), usize::try_from(max).unwrap_or(0)));
        }
        if let Some(min) = validation.min_length.filter(|min| length < *min) {
            errors.push(walk.invalid(text, &format!("should be at least {min} chars long")));
        }
    }
    if let Some(pattern) = &validation.pattern {
        match pattern.regex() {
            Some(regex) if regex.is_match(text) => {}
            Some(_) => errors.push(walk.invalid(text, &format!("should match '{}'", pattern.text))),
            None => {
                let what = format!("should match '{}, but pattern is invalid'", pattern.text);
                errors.push(walk.invalid(text, &what));
            }
        }
    }
    let textual = matches!(schema.ty, None | Some(Type::String)) || schema.int_or_string;
    if let Some(format) = Format::of(&validation.format).filter(|_| textual)
        && !format.matches(text)
    {
        errors.push(walk.wrong_type(&validation.format, text));
    }
}

fn numbers(walk: &Walk<'_>, validation: &ValueValidation, number: &Number, errors: &mut ErrorList) {
    if let Some(factor) = validation.multiple_of {
        let (multiple, told) = match number.as_i64() {
            Some(int) => (factor as i64 == 0 || int % (factor as i64) == 0, (factor as i64).to_string()),
            None => (is_multiple(number, factor), go_float(factor)),
        };
        if !multiple {
            errors.push(walk.invalid(number.clone(), &format!("should be a multiple of {told}")));
        }
    }
    let mut bound = |limit: f64, exclusive: bool, upper: bool| {
        // Integers are compared as integers, and the limit is told as one.
        let (order, told) = match number.as_i64() {
            Some(int) => (Some(int.cmp(&(limit as i64))), (limit as i64).to_string()),
            None => (number.as_f64().and_then(|float| float.partial_cmp(&limit)), go_float(limit)),
        };
        let beyond = order.is_some_and(|order| {
            (exclusive && order.is_eq()) || if upper { order.is_gt() } else { order.is_lt() }
        });
        if beyond {
            let what = match (upper, exclusive) {
                (true, true) => "less than",
                (true, false) => "less than or equal to",
                (false, true) => "greater than",
                (false, false) => "greater than or equal to",
            };
            errors.push(walk.invalid(number.clone(), &format!("should be {what} {told}")));
        }
    };
    if let Some(maximum) = validation.maximum {
        bound(maximum, validation.exclusive_maximum, true);
    }
    if let Some(minimum) = validation.minimum {
        bound(minimum, validation.exclusive_minimum, false);
    }
}

fn is_multiple(number: &Number, factor: f64) -> bool {
    let Some(number) = number.as_f64() else { return true };
    let times = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
    is_whole(&Value::from(times))
}

/// A float as Go's `%v` writes it: shortest digits, with an exponent below 1e-4 and from 1e21.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// An error if there are values to choose from and this is none of them.
pub(super) fn enumeration(
    walk: &Walk<'_>,
    validation: &ValueValidation,
    value: &Value,
    errors: &mut ErrorList,
) {
    if validation.values.is_empty() || validation.values.iter().any(|known| same(known, value)) {
        return;
    }
    let known: Vec<String> = validation
        .values
        .iter()
        .map(|known| known.as_str().map_or(known.to_string(), str::to_owned))
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let shown = if value.is_null() { Value::from("null") } else { value.clone() };
    errors.push(FieldError::not_supported(&walk.field(), shown, &known));
}

/// Whether a value is one of an enumeration; null never is.
fn same(known: &Value, value: &Value) -> bool {
    match (known, value) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Number(known), Value::Number(value)) => known == value || known.as_f64() == value.as_f64(),
        (known, value) => known == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_told_as_go_tells_them() {
        for (value, text) in
            [(0.5, "0.5"), (10.0, "10"), (1e21, "1e+21"), (0.000_01, "1e-05"), (-2.25, "-2.25")]
        {
            assert_eq!(go_float(value), text);
        }
    }
}
