//! `int()`, `string()`, `timestamp()` and the other conversions; `type()` and `dyn()`.

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::time::{Duration, Timestamp};
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[
    ("bool", "bool_to_bool", "(bool) -> bool", to_bool),
    ("bool", "string_to_bool", "(string) -> bool", to_bool),
    ("bytes", "bytes_to_bytes", "(bytes) -> bytes", to_bytes),
    ("bytes", "string_to_bytes", "(string) -> bytes", to_bytes),
    ("double", "double_to_double", "(double) -> double", to_double),
    ("double", "int64_to_double", "(int) -> double", to_double),
    ("double", "string_to_double", "(string) -> double", to_double),
    ("double", "uint64_to_double", "(uint) -> double", to_double),
    ("duration", "duration_to_duration", "(duration) -> duration", to_duration),
    ("duration", "int64_to_duration", "(int) -> duration", to_duration),
    ("duration", "string_to_duration", "(string) -> duration", to_duration),
    ("dyn", "to_dyn", "(A) -> dyn", |args, _| args.first().cloned().map_or_else(no_overload, Ok)),
    ("int", "int64_to_int64", "(int) -> int", to_int),
    ("int", "double_to_int64", "(double) -> int", to_int),
    ("int", "duration_to_int64", "(duration) -> int", to_int),
    ("int", "string_to_int64", "(string) -> int", to_int),
    ("int", "timestamp_to_int64", "(timestamp) -> int", to_int),
    ("int", "uint64_to_int64", "(uint) -> int", to_int),
    ("string", "string_to_string", "(string) -> string", to_string),
    ("string", "bool_to_string", "(bool) -> string", to_string),
    ("string", "bytes_to_string", "(bytes) -> string", to_string),
    ("string", "double_to_string", "(double) -> string", to_string),
    ("string", "duration_to_string", "(duration) -> string", to_string),
    ("string", "int64_to_string", "(int) -> string", to_string),
    ("string", "timestamp_to_string", "(timestamp) -> string", to_string),
    ("string", "uint64_to_string", "(uint) -> string", to_string),
    ("timestamp", "timestamp_to_timestamp", "(timestamp) -> timestamp", to_timestamp),
    ("timestamp", "int64_to_timestamp", "(int) -> timestamp", to_timestamp),
    ("timestamp", "string_to_timestamp", "(string) -> timestamp", to_timestamp),
    ("type", "type", "(A) -> type(A)", |args, _| match args {
        [value] => Ok(Value::Type(Text::from(value.type_name().to_owned()))),
        _ => no_overload(),
    }),
    ("uint", "uint64_to_uint64", "(uint) -> uint", to_uint),
    ("uint", "double_to_uint64", "(double) -> uint", to_uint),
    ("uint", "int64_to_uint64", "(int) -> uint", to_uint),
    ("uint", "string_to_uint64", "(string) -> uint", to_uint),
];

fn to_bool<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(*value)),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => Err(unconvertible("string", "bool")),
        },
        _ => no_overload(),
    }
}

fn unconvertible(from: &str, to: &str) -> EvaluationError {
    EvaluationError::new(format!("type conversion error from '{from}' to '{to}'"))
}

fn unparsable(function: &str, text: &str) -> EvaluationError {
    EvaluationError::new(format!("strconv.{function}: parsing {text:?}: invalid syntax"))
}

fn to_bytes<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Bytes(value)] => Ok(Value::Bytes(value.clone())),
        [Value::String(text)] => {
            context.allocate(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        _ => no_overload(),
    }
}

fn to_double<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    Ok(Value::Double(match args {
        [Value::Double(value)] => *value,
        [Value::Int(value)] => *value as f64,
        [Value::Uint(value)] => *value as f64,
        [Value::String(text)] => match text.parse::<f64>() {
            Ok(value) => value,
            Err(_) => return Err(unparsable("ParseFloat", text)),
        },
        _ => return no_overload(),
    }))
}

fn to_int<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let overflow = || EvaluationError::new("integer overflow");
    Ok(Value::Int(match args {
        [Value::Int(value)] => *value,
        [Value::Uint(value)] => i64::try_from(*value).map_err(|_| overflow())?,
        // The bounds themselves are out: a double of that size stands for many numbers.
        [Value::Double(value)] if *value > i64::MIN as f64 && *value < i64::MAX as f64 => *value as i64,
        [Value::Double(_)] => return Err(overflow()),
        [Value::Timestamp(value)] => value.seconds(),
        [Value::Duration(value)] => value.nanos(),
        [Value::String(text)] => text.parse().map_err(|_| unparsable("ParseInt", text))?,
        _ => return no_overload(),
    }))
}

fn to_uint<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let overflow = || EvaluationError::new("unsigned integer overflow");
    Ok(Value::Uint(match args {
        [Value::Uint(value)] => *value,
        [Value::Int(value)] => u64::try_from(*value).map_err(|_| overflow())?,
        [Value::Double(value)] if *value >= 0.0 && *value < u64::MAX as f64 => *value as u64,
        [Value::Double(_)] => return Err(overflow()),
        [Value::String(text)] => text.parse().map_err(|_| unparsable("ParseUint", text))?,
        _ => return no_overload(),
    }))
}

fn to_string<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::String(text)] => Ok(Value::String(text.clone())),
        [Value::Bytes(bytes)] => {
            context.allocate(bytes.len())?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Value::string(text)),
                Err(_) => Err(EvaluationError::new("invalid UTF-8 in bytes, cannot convert to string")),
            }
        }
        [Value::Double(value)] => Ok(Value::String(Text::from(double(*value)))),
        [
            value @ (Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Timestamp(_)
            | Value::Duration(_)),
        ] => Ok(Value::String(Text::from(value.to_string()))),
        _ => no_overload(),
    }
}

/// A double as Go's `%g` writes it: the shortest digits, with an exponent below -4 and from 21 on.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if value != 0.0 && !(-4..21).contains(&exponent) {
        let mantissa = scientific.split_once('e').map_or("", |(mantissa, _)| mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

fn to_duration<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Duration(value)] => Ok(Value::Duration(*value)),
        [Value::Int(nanos)] => Ok(Value::Duration(Duration::from_nanos(*nanos))),
        [Value::String(text)] => match Duration::parse(text) {
            Some(value) => Ok(Value::Duration(value)),
            None => Err(EvaluationError::new(format!("time: invalid duration {:?}", &**text))),
        },
        _ => no_overload(),
    }
}

fn to_timestamp<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Timestamp(value)] => Ok(Value::Timestamp(*value)),
        [Value::Int(seconds)] => Timestamp::new(*seconds, 0)
            .map(Value::Timestamp)
            .ok_or(EvaluationError::new("timestamp overflow")),
        [Value::String(text)] => match Timestamp::parse(text) {
            Some(value) => Ok(Value::Timestamp(value)),
            None => Err(EvaluationError::new(format!(
                "parsing time {:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {:?}",
                &**text, &**text
            ))),
        },
        _ => no_overload(),
    }
}
