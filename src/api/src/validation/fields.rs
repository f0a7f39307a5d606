//! Rules of single fields: enumerations, ranges, ports, addresses, immutability.

use super::Errors;
use crate::value::{field, int, same, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation;
use serde_json::Value;

/// A text that must not be empty. Answers whether it is there.
pub fn required_text(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let there = !text(object, name).is_empty();
    if !there {
        errors.required(&path.child(name), "");
    }
    there
}

/// A text that, where it is there, has one of the known values.
pub fn one_of(object: &Value, name: &str, path: &Path, known: &[&str], errors: &mut ErrorList) {
    if let Some(value) = field(object, name).as_str()
        && !known.contains(&value)
    {
        errors.not_supported(&path.child(name), value, known);
    }
}

/// A text that must be there and have one of the known values.
pub fn required_one_of(object: &Value, name: &str, path: &Path, known: &[&str], errors: &mut ErrorList) {
    if required_text(object, name, path, errors) {
        one_of(object, name, path, known, errors);
    }
}

/// A text that, where it is there, has a form.
pub fn text_form(
    object: &Value,
    name: &str,
    path: &Path,
    form: fn(&str) -> Vec<String>,
    errors: &mut ErrorList,
) {
    let value = text(object, name);
    if !value.is_empty() {
        errors.check(path, name, value, form(value));
    }
}

/// A number that, where it is there, is zero or above.
pub fn non_negative(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(value) = int(object, name)
        && value < 0
    {
        errors.invalid(&path.child(name), value, "must be greater than or equal to 0");
    }
}

/// A number that, where it is there, is above zero.
pub fn positive(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(value) = int(object, name)
        && value <= 0
    {
        errors.invalid(&path.child(name), value, "must be greater than zero");
    }
}

/// A number that, where it is there, is within bounds.
pub fn range(object: &Value, name: &str, path: &Path, low: i64, high: i64, errors: &mut ErrorList) {
    if let Some(value) = int(object, name)
        && !(low..=high).contains(&value)
    {
        errors.invalid(&path.child(name), value, format!("must be between {low} and {high}, inclusive"));
    }
}

/// A field that must not change. An absent one is the same as an empty one.
pub fn immutable(object: &Value, old: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let (new, old) = (field(object, name), field(old, name));
    if !same(new, old) {
        errors.invalid(&path.child(name), new.clone(), "field is immutable");
    }
}

/// Whether two objects are the same but for some of their fields.
pub fn mutable_only(object: &Value, old: &Value, mutable: &[&str]) -> bool {
    let names =
        |v: &Value| -> Vec<String> { v.as_object().map(|m| m.keys().cloned().collect()).unwrap_or_default() };
    names(object)
        .iter()
        .chain(names(old).iter())
        .filter(|name| !mutable.contains(&name.as_str()))
        .all(|name| same(field(object, name), field(old, name)))
}

/// A port's number or name.
pub fn port_or_name(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    match field(object, name) {
        Value::String(port) => errors.check(path, name, port, validation::port_name(port)),
        port => {
            let number = port.as_i64().unwrap_or(0);
            for message in validation::port_number(number) {
                errors.invalid(&path.child(name), number, message);
            }
        }
    }
}

/// An IP address in a text field that is there.
pub fn check_ip(value: &str, path: &Path, errors: &mut ErrorList) {
    errors.check_at(path, value, super::strict_ip(value));
}

/// The number in a percentage such as `25%`.
pub fn percent_of(value: &Value) -> Option<i64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// A field that, where it is there, is a number that is not negative or a percentage.
pub fn int_or_percent(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let value = field(object, name);
    match value {
        Value::Null => {}
        Value::String(_) if percent_of(value).is_none() => errors.invalid(
            &path.child(name),
            value.clone(),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        Value::String(_) => {}
        _ => non_negative(object, name, path, errors),
    }
}
