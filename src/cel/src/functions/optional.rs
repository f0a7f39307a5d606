//! Optional values: `optional.of`, `orValue`, `hasValue` and their kin.

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("optional.of", "optional_of", "(A) -> optional(A)", |args, _| match args {
        [value] => Ok(Value::some(value.clone())),
        _ => no_overload(),
    }),
    ("optional.ofNonZeroValue", "optional_ofNonZeroValue", "(A) -> optional(A)", |args, _| match args {
        [value] if value.is_zero() => Ok(Value::Optional(None)),
        [value] => Ok(Value::some(value.clone())),
        _ => no_overload(),
    }),
    ("optional.none", "optional_none", "() -> optional(A)", |_, _| Ok(Value::Optional(None))),
    ("value", "optional_value", "optional(A).() -> A", |args, _| match args {
        [Value::Optional(Some(value))] => Ok((**value).clone()),
        [Value::Optional(None)] => Err(EvaluationError::new("optional.none() dereference")),
        _ => no_overload(),
    }),
    ("hasValue", "optional_hasValue", "optional(A).() -> bool", |args, _| match args {
        [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
        _ => no_overload(),
    }),
    ("or", "optional_or_optional", "optional(A).(optional(A)) -> optional(A)", |args, _| match args {
        [Value::Optional(None), other] => Ok(other.clone()),
        [value @ Value::Optional(_), _] => Ok(value.clone()),
        _ => no_overload(),
    }),
    ("orValue", "optional_orValue_value", "optional(A).(A) -> A", |args, _| match args {
        [Value::Optional(None), other] => Ok(other.clone()),
        [Value::Optional(Some(value)), _] => Ok((**value).clone()),
        _ => no_overload(),
    }),
    ("first", "list_first", "list(A).() -> optional(A)", |args, _| match args {
        [Value::List(list)] => optional(list.get(0)),
        _ => no_overload(),
    }),
    ("last", "list_last", "list(A).() -> optional(A)", |args, _| match args {
        [Value::List(list)] => optional(list.len().checked_sub(1).and_then(|last| list.get(last))),
        _ => no_overload(),
    }),
    ("optional.unwrap", "optional_unwrap", "(list(optional(A))) -> list(A)", unwrap),
    ("unwrapOpt", "optional_unwrapOpt", "list(optional(A)).() -> list(A)", unwrap),
];

fn optional(value: Option<Answer<'_>>) -> Answer<'_> {
    Ok(value.transpose()?.map_or(Value::Optional(None), Value::some))
}

/// The values of those that have one.
fn unwrap<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    context.copy(list.len())?;
    let mut values = Vec::with_capacity(list.len());
    for item in list.iter() {
        match item? {
            Value::Optional(Some(value)) => values.push((*value).clone()),
            Value::Optional(None) => {}
            _ => return no_overload(),
        }
    }
    Ok(Value::list(values))
}
