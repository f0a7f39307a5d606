//! `<`, `<=`, `>`, `>=`.

use std::cmp::Ordering;

use super::{Row, no_overload};
use crate::error::Answer;
use crate::evaluate::Context;
use crate::value::Value;

/// The overloads of one operator: every pair of kinds that has an order, ids as cel-go has them.
macro_rules! rows {
    ($($function:literal, $id:literal, $run:ident;)*) => {
        &[$(
            ($function, concat!($id, "_bool"), "(bool, bool) -> bool", $run),
            ($function, concat!($id, "_int64"), "(int, int) -> bool", $run),
            ($function, concat!($id, "_int64_double"), "(int, double) -> bool", $run),
            ($function, concat!($id, "_int64_uint64"), "(int, uint) -> bool", $run),
            ($function, concat!($id, "_uint64"), "(uint, uint) -> bool", $run),
            ($function, concat!($id, "_uint64_double"), "(uint, double) -> bool", $run),
            ($function, concat!($id, "_uint64_int64"), "(uint, int) -> bool", $run),
            ($function, concat!($id, "_double"), "(double, double) -> bool", $run),
            ($function, concat!($id, "_double_int64"), "(double, int) -> bool", $run),
            ($function, concat!($id, "_double_uint64"), "(double, uint) -> bool", $run),
            ($function, concat!($id, "_string"), "(string, string) -> bool", $run),
            ($function, concat!($id, "_bytes"), "(bytes, bytes) -> bool", $run),
            ($function, concat!($id, "_timestamp"), "(timestamp, timestamp) -> bool", $run),
            ($function, concat!($id, "_duration"), "(duration, duration) -> bool", $run),
        )*]
    };
}

pub(super) const ROWS: &[Row] = rows! {
    "_<_", "less", less;
    "_<=_", "less_equals", less_equals;
    "_>_", "greater", greater;
    "_>=_", "greater_equals", greater_equals;
};

/// NaN has no order: every comparison with it is false.
fn compare<'a>(args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Answer<'a> {
    let [a, b] = args else { return no_overload() };
    match a.compare(b) {
        Some(order) => Ok(Value::Bool(holds(order))),
        None if a.is_number() && b.is_number() => Ok(Value::Bool(false)),
        None => no_overload(),
    }
}

fn less<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    compare(args, Ordering::is_lt)
}

fn less_equals<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    compare(args, Ordering::is_le)
}

fn greater<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    compare(args, Ordering::is_gt)
}

fn greater_equals<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    compare(args, Ordering::is_ge)
}
