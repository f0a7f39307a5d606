//! Quantities in JSON: texts or plain numbers.

use super::Errors;
use apimachinery::field::{ErrorList, Path};
use apimachinery::quantity::Quantity;
use serde_json::Value;
use std::borrow::Cow;

/// The text of a quantity.
pub fn quantity_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// A quantity, where the value is one.
pub fn quantity(value: &Value) -> Option<Quantity> {
    quantity_text(value).parse().ok()
}

/// A quantity that is zero or above.
pub fn non_negative_quantity(value: &Value, path: &Path, errors: &mut ErrorList) {
    if quantity(value).is_some_and(|q| q.sign() < 0) {
        errors.invalid(path, quantity_text(value).as_ref(), "must be greater than or equal to 0");
    }
}
