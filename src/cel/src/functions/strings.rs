//! Strings of the standard library: `contains`, `startsWith`, `endsWith`, `matches`.

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("contains", "contains_string", "string.(string) -> bool", |args, _| test(args, |a, b| a.contains(b))),
    ("startsWith", "starts_with_string", "string.(string) -> bool", |args, _| {
        test(args, |a, b| a.starts_with(b))
    }),
    ("endsWith", "ends_with_string", "string.(string) -> bool", |args, _| test(args, |a, b| a.ends_with(b))),
    ("matches", "matches", "(string, string) -> bool", matches),
    ("matches", "matches_string", "string.(string) -> bool", matches),
];

fn test<'a>(args: &[Value<'a>], holds: fn(&str, &str) -> bool) -> Answer<'a> {
    match args {
        [Value::String(a), Value::String(b)] => Ok(Value::Bool(holds(a, b))),
        _ => no_overload(),
    }
}

fn matches<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::String(text), Value::String(pattern)] => {
            let pattern = crate::pattern::compile(pattern).map_err(EvaluationError::new)?;
            Ok(Value::Bool(pattern.is_match(text)))
        }
        _ => no_overload(),
    }
}
