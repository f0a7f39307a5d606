//! `math.*` (cel-go's `ext.Math`).

use std::cmp::Ordering;

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::value::Value;

/// `greatest` and `least` of one, two, or a list of numbers; the macro makes a list of more.
macro_rules! rows {
    ([$($row:expr,)*] $($name:literal, $better:expr;)*) => {
        &[
            $($row,)*
            $(
                (concat!("math.", $name), concat!("math_", $name, "_one"), "(dyn) -> dyn", |args, _| {
                    extreme(args, $better)
                }),
                (concat!("math.", $name), concat!("math_", $name, "_two"), "(dyn, dyn) -> dyn", |args, _| {
                    extreme(args, $better)
                }),
            )*
        ]
    };
}

pub(super) const ROWS: &[Row] = rows! {
    [
        ("math.ceil", "math_ceil_double", "(double) -> double", |args, _| double(args, f64::ceil)),
        ("math.floor", "math_floor_double", "(double) -> double", |args, _| double(args, f64::floor)),
        ("math.round", "math_round_double", "(double) -> double", |args, _| double(args, f64::round)),
        ("math.trunc", "math_trunc_double", "(double) -> double", |args, _| double(args, f64::trunc)),
        ("math.sqrt", "math_sqrt_double", "(double) -> double", |args, _| double(args, f64::sqrt)),
        ("math.isNaN", "math_isNaN_double", "(double) -> bool", |args, _| test(args, f64::is_nan)),
        ("math.isInf", "math_isInf_double", "(double) -> bool", |args, _| test(args, f64::is_infinite)),
        ("math.isFinite", "math_isFinite_double", "(double) -> bool", |args, _| test(args, f64::is_finite)),
        ("math.abs", "math_abs_int", "(int) -> int", |args, _| abs(args)),
        ("math.abs", "math_abs_uint", "(uint) -> uint", |args, _| abs(args)),
        ("math.abs", "math_abs_double", "(double) -> double", |args, _| abs(args)),
        ("math.sign", "math_sign_int", "(int) -> int", |args, _| sign(args)),
        ("math.sign", "math_sign_uint", "(uint) -> uint", |args, _| sign(args)),
        ("math.sign", "math_sign_double", "(double) -> double", |args, _| sign(args)),
        ("math.bitAnd", "math_bitAnd_int_int", "(int, int) -> int", |args, _| bits(args, |a, b| a & b)),
        ("math.bitAnd", "math_bitAnd_uint_uint", "(uint, uint) -> uint", |args, _| bits(args, |a, b| a & b)),
        ("math.bitOr", "math_bitOr_int_int", "(int, int) -> int", |args, _| bits(args, |a, b| a | b)),
        ("math.bitOr", "math_bitOr_uint_uint", "(uint, uint) -> uint", |args, _| bits(args, |a, b| a | b)),
        ("math.bitXor", "math_bitXor_int_int", "(int, int) -> int", |args, _| bits(args, |a, b| a ^ b)),
        ("math.bitXor", "math_bitXor_uint_uint", "(uint, uint) -> uint", |args, _| bits(args, |a, b| a ^ b)),
        ("math.bitNot", "math_bitNot_int_int", "(int) -> int", |args, _| not(args)),
        ("math.bitNot", "math_bitNot_uint_uint", "(uint) -> uint", |args, _| not(args)),
        ("math.bitShiftLeft", "math_bitShiftLeft_int_int", "(int, int) -> int", |args, _| shift(args, true)),
        ("math.bitShiftLeft", "math_bitShiftLeft_uint_int", "(uint, int) -> uint", |args, _| shift(args, true)),
        ("math.bitShiftRight", "math_bitShiftRight_int_int", "(int, int) -> int", |args, _| shift(args, false)),
        ("math.bitShiftRight", "math_bitShiftRight_uint_int", "(uint, int) -> uint", |args, _| shift(args, false)),
    ]
    "greatest", Ordering::Greater;
    "least", Ordering::Less;
};

fn extreme<'a>(args: &[Value<'a>], better: Ordering) -> Answer<'a> {
    let items: Vec<Value<'a>> = match args {
        [Value::List(list)] => list.iter().collect::<Result<_, _>>()?,
        args => args.to_vec(),
    };
    let mut best: Option<Value<'a>> = None;
    for item in items {
        if !item.is_number() {
            return no_overload();
        }
        if best.as_ref().is_none_or(|best| item.compare(best) == Some(better)) {
            best = Some(item);
        }
    }
    best.ok_or_else(|| EvaluationError::new("math.@max(list) argument must not be empty"))
}

fn double<'a>(args: &[Value<'a>], of: fn(f64) -> f64) -> Answer<'a> {
    match args {
        [Value::Double(value)] => Ok(Value::Double(of(*value))),
        _ => no_overload(),
    }
}

fn test<'a>(args: &[Value<'a>], of: fn(f64) -> bool) -> Answer<'a> {
    match args {
        [Value::Double(value)] => Ok(Value::Bool(of(*value))),
        _ => no_overload(),
    }
}

fn abs<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(value)] => {
            value.checked_abs().map(Value::Int).ok_or(EvaluationError::new("integer overflow"))
        }
        [Value::Uint(value)] => Ok(Value::Uint(*value)),
        [Value::Double(value)] => Ok(Value::Double(value.abs())),
        _ => no_overload(),
    }
}

fn sign<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(value)] => Ok(Value::Int(value.signum())),
        [Value::Uint(value)] => Ok(Value::Uint((*value).min(1))),
        [Value::Double(value)] if *value == 0.0 || value.is_nan() => Ok(Value::Double(*value)),
        [Value::Double(value)] => Ok(Value::Double(value.signum())),
        _ => no_overload(),
    }
}

fn bits<'a>(args: &[Value<'a>], of: fn(u64, u64) -> u64) -> Answer<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => {
            Ok(Value::Int(of(a.cast_unsigned(), b.cast_unsigned()).cast_signed()))
        }
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(of(*a, *b))),
        _ => no_overload(),
    }
}

fn not<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(value)] => Ok(Value::Int(!value)),
        [Value::Uint(value)] => Ok(Value::Uint(!value)),
        _ => no_overload(),
    }
}

/// Shifts without regard to the sign; all bits are gone beyond 63.
fn shift<'a>(args: &[Value<'a>], left: bool) -> Answer<'a> {
    let by = match args {
        [_, Value::Int(by)] => match u32::try_from(*by) {
            Ok(by) => by,
            Err(_) if *by < 0 => {
                let name = if left { "math.bitShiftLeft()" } else { "math.bitShiftRight()" };
                return Err(EvaluationError::new(format!("{name} negative offset: {by}")));
            }
            Err(_) => 64,
        },
        _ => return no_overload(),
    };
    let shifted = |value: u64| if left { value.checked_shl(by) } else { value.checked_shr(by) }.unwrap_or(0);
    match args {
        [Value::Int(value), _] => Ok(Value::Int(shifted(value.cast_unsigned()).cast_signed())),
        [Value::Uint(value), _] => Ok(Value::Uint(shifted(*value))),
        _ => no_overload(),
    }
}
