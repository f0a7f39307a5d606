//! `quantity('1.5Gi')` and its arithmetic.

use std::sync::Arc;

use apimachinery::quantity::{Format, Quantity};

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::value::{Opaque, Value};

pub(super) const ROWS: &[Row] = &[
    ("quantity", "string_to_quantity", "(string) -> kubernetes.Quantity", |args, _| match args {
        [Value::String(text)] => match text.parse() {
            Ok(quantity) => Ok(wrap(quantity)),
            Err(error) => Err(EvaluationError::new(format!("{error}"))),
        },
        _ => no_overload(),
    }),
    ("isQuantity", "is_quantity_string", "(string) -> bool", |args, _| match args {
        [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
        _ => no_overload(),
    }),
    ("sign", "quantity_sign", "kubernetes.Quantity.() -> int", |args, _| {
        one(args, |quantity| Ok(Value::Int(i64::from(quantity.sign()))))
    }),
    ("isInteger", "quantity_is_integer", "kubernetes.Quantity.() -> bool", |args, _| {
        one(args, |quantity| Ok(Value::Bool(integer(quantity).is_some())))
    }),
    ("asInteger", "quantity_get_int", "kubernetes.Quantity.() -> int", |args, _| {
        one(args, |quantity| {
            integer(quantity).map(Value::Int).ok_or(EvaluationError::new("cannot convert value to integer"))
        })
    }),
    ("asApproximateFloat", "quantity_get_float", "kubernetes.Quantity.() -> double", |args, _| {
        one(args, |quantity| Ok(Value::Double(quantity.as_approximate_float())))
    }),
    ("add", "quantity_add", "kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity", |args, _| {
        two(args, |a, b| wrap(*a + *b))
    }),
    ("add", "quantity_add_int", "kubernetes.Quantity.(int) -> kubernetes.Quantity", |args, _| {
        with_int(args, |a, b| wrap(*a + b))
    }),
    ("sub", "quantity_sub", "kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity", |args, _| {
        two(args, |a, b| wrap(*a - *b))
    }),
    ("sub", "quantity_sub_int", "kubernetes.Quantity.(int) -> kubernetes.Quantity", |args, _| {
        with_int(args, |a, b| wrap(*a - b))
    }),
    (
        "isLessThan",
        "quantity_is_less_than",
        "kubernetes.Quantity.(kubernetes.Quantity) -> bool",
        |args, _| two(args, |a, b| Value::Bool(a < b)),
    ),
    (
        "isGreaterThan",
        "quantity_is_greater_than",
        "kubernetes.Quantity.(kubernetes.Quantity) -> bool",
        |args, _| two(args, |a, b| Value::Bool(a > b)),
    ),
    ("compareTo", "quantity_compare_to", "kubernetes.Quantity.(kubernetes.Quantity) -> int", |args, _| {
        two(args, |a, b| Value::Int(a.cmp(b) as i64))
    }),
];

fn wrap<'a>(quantity: Quantity) -> Value<'a> {
    Value::Opaque(Opaque::Quantity(Arc::new(quantity)))
}

/// The value in units, if it is whole and 64 bits hold it.
fn integer(quantity: &Quantity) -> Option<i64> {
    let value = quantity.value();
    (Quantity::from_units(value, Format::DecimalSi) == *quantity).then_some(value)
}

fn one<'a>(args: &[Value<'a>], of: fn(&Quantity) -> Answer<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Quantity(quantity))] => of(quantity),
        _ => no_overload(),
    }
}

fn two<'a>(args: &[Value<'a>], of: fn(&Quantity, &Quantity) -> Value<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Quantity(a)), Value::Opaque(Opaque::Quantity(b))] => Ok(of(a, b)),
        _ => no_overload(),
    }
}

fn with_int<'a>(args: &[Value<'a>], of: fn(&Quantity, Quantity) -> Value<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Quantity(a)), Value::Int(b)] => {
            Ok(of(a, Quantity::from_units(*b, Format::DecimalSi)))
        }
        _ => no_overload(),
    }
}
