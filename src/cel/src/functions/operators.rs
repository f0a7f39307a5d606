//! Arithmetic, logic, indexing, membership and sizes.

use std::sync::Arc;

use super::{Row, no_overload};
use crate::decl::ListKind;
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::value::{Entries, Items, Key, List, Map, Text, Value};

pub(super) const ROWS: &[Row] = &[
    // Logic and choice: the evaluator runs them itself, these declare their types.
    ("_&&_", "logical_and", "(bool, bool) -> bool", unreachable_call),
    ("_||_", "logical_or", "(bool, bool) -> bool", unreachable_call),
    ("_?_:_", "conditional", "(bool, A, A) -> A", unreachable_call),
    ("_==_", "equals", "(A, A) -> bool", unreachable_call),
    ("_!=_", "not_equals", "(A, A) -> bool", unreachable_call),
    ("!_", "logical_not", "(bool) -> bool", not),
    ("@not_strictly_false", "not_strictly_false", "(bool) -> bool", unreachable_call),
    ("_[_]", "index_list", "(list(A), int) -> A", index),
    ("_[_]", "index_map", "(map(A, B), A) -> B", index),
    ("_[_]", "optional_list_index_value", "(optional(list(A)), int) -> optional(A)", optional_index),
    ("_[_]", "optional_map_index_value", "(optional(map(A, B)), A) -> optional(B)", optional_index),
    ("_[?_]", "list_optindex_optional_int", "(list(A), int) -> optional(A)", optional_index),
    (
        "_[?_]",
        "optional_list_optindex_optional_int",
        "(optional(list(A)), int) -> optional(A)",
        optional_index,
    ),
    ("_[?_]", "map_optindex_optional_value", "(map(A, B), A) -> optional(B)", optional_index),
    (
        "_[?_]",
        "optional_map_optindex_optional_value",
        "(optional(map(A, B)), A) -> optional(B)",
        optional_index,
    ),
    ("@in", "in_list", "(A, list(A)) -> bool", in_list),
    ("@in", "in_map", "(A, map(A, B)) -> bool", in_map),
    ("_+_", "add_bytes", "(bytes, bytes) -> bytes", add_bytes),
    ("_+_", "add_double", "(double, double) -> double", |args, _| doubles(args, |a, b| a + b)),
    ("_+_", "add_duration_duration", "(duration, duration) -> duration", super::times::add),
    ("_+_", "add_duration_timestamp", "(duration, timestamp) -> timestamp", super::times::add),
    ("_+_", "add_timestamp_duration", "(timestamp, duration) -> timestamp", super::times::add),
    ("_+_", "add_int64", "(int, int) -> int", |args, _| ints(args, i64::checked_add)),
    ("_+_", "add_list", "(list(A), list(A)) -> list(A)", add_lists),
    ("_+_", "add_string", "(string, string) -> string", add_strings),
    ("_+_", "add_uint64", "(uint, uint) -> uint", |args, _| uints(args, u64::checked_add)),
    ("_-_", "subtract_double", "(double, double) -> double", |args, _| doubles(args, |a, b| a - b)),
    ("_-_", "subtract_duration_duration", "(duration, duration) -> duration", super::times::subtract),
    ("_-_", "subtract_int64", "(int, int) -> int", |args, _| ints(args, i64::checked_sub)),
    ("_-_", "subtract_timestamp_duration", "(timestamp, duration) -> timestamp", super::times::subtract),
    ("_-_", "subtract_timestamp_timestamp", "(timestamp, timestamp) -> duration", super::times::subtract),
    ("_-_", "subtract_uint64", "(uint, uint) -> uint", |args, _| uints(args, u64::checked_sub)),
    ("_*_", "multiply_double", "(double, double) -> double", |args, _| doubles(args, |a, b| a * b)),
    ("_*_", "multiply_int64", "(int, int) -> int", |args, _| ints(args, i64::checked_mul)),
    ("_*_", "multiply_uint64", "(uint, uint) -> uint", |args, _| uints(args, u64::checked_mul)),
    ("_/_", "divide_double", "(double, double) -> double", |args, _| doubles(args, |a, b| a / b)),
    ("_/_", "divide_int64", "(int, int) -> int", |args, _| {
        divide(args, "division", i64::checked_div, u64::checked_div)
    }),
    ("_/_", "divide_uint64", "(uint, uint) -> uint", |args, _| {
        divide(args, "division", i64::checked_div, u64::checked_div)
    }),
    ("_%_", "modulo_int64", "(int, int) -> int", |args, _| {
        divide(args, "modulus", i64::checked_rem, u64::checked_rem)
    }),
    ("_%_", "modulo_uint64", "(uint, uint) -> uint", |args, _| {
        divide(args, "modulus", i64::checked_rem, u64::checked_rem)
    }),
    ("-_", "negate_int64", "(int) -> int", negate),
    ("-_", "negate_double", "(double) -> double", negate),
    ("size", "size_bytes", "(bytes) -> int", size),
    ("size", "bytes_size", "bytes.() -> int", size),
    ("size", "size_list", "(list(A)) -> int", size),
    ("size", "list_size", "list(A).() -> int", size),
    ("size", "size_map", "(map(A, B)) -> int", size),
    ("size", "map_size", "map(A, B).() -> int", size),
    ("size", "size_string", "(string) -> int", size),
    ("size", "string_size", "string.() -> int", size),
    ("cel.@mapInsert", "@cel_map_insert_key_value", "(map(A, B), A, B) -> map(A, B)", unreachable_call),
    ("cel.@mapInsert", "@cel_map_insert_map", "(map(A, B), map(A, B)) -> map(A, B)", unreachable_call),
];

/// For operators that the evaluator runs: the plan never calls them.
fn unreachable_call<'a>(_: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    no_overload()
}

pub(crate) fn not<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => no_overload(),
    }
}

fn ints<'a>(args: &[Value<'a>], operation: fn(i64, i64) -> Option<i64>) -> Answer<'a> {
    let [Value::Int(a), Value::Int(b)] = args else { return no_overload() };
    operation(*a, *b).map(Value::Int).ok_or(EvaluationError::new("integer overflow"))
}

fn uints<'a>(args: &[Value<'a>], operation: fn(u64, u64) -> Option<u64>) -> Answer<'a> {
    let [Value::Uint(a), Value::Uint(b)] = args else { return no_overload() };
    operation(*a, *b).map(Value::Uint).ok_or(EvaluationError::new("unsigned integer overflow"))
}

fn doubles<'a>(args: &[Value<'a>], operation: fn(f64, f64) -> f64) -> Answer<'a> {
    let [Value::Double(a), Value::Double(b)] = args else { return no_overload() };
    Ok(Value::Double(operation(*a, *b)))
}

fn divide<'a>(
    args: &[Value<'a>],
    name: &str,
    int: fn(i64, i64) -> Option<i64>,
    uint: fn(u64, u64) -> Option<u64>,
) -> Answer<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvaluationError::new(format!("{name} by zero")))
        }
        [Value::Int(_), _] => ints(args, int),
        _ => uints(args, uint),
    }
}

fn negate<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Int(value)] => {
            value.checked_neg().map(Value::Int).ok_or(EvaluationError::new("integer overflow"))
        }
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => no_overload(),
    }
}

fn size<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            Ok(Value::Int(value.size().and_then(|size| i64::try_from(size).ok()).unwrap_or(i64::MAX)))
        }
        _ => no_overload(),
    }
}

fn add_strings<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::String(a), Value::String(b)] = args else { return no_overload() };
    context.allocate(a.len() + b.len())?;
    Ok(Value::String(Text::from([&**a, &**b].concat())))
}

fn add_bytes<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::Bytes(a), Value::Bytes(b)] = args else { return no_overload() };
    context.allocate(a.len() + b.len())?;
    Ok(Value::Bytes([&**a, &**b].concat().into()))
}

/// Sets and lists with map keys merge; others are one after the other.
fn add_lists<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(a), Value::List(b)] = args else { return no_overload() };
    context.copy(a.len() + b.len())?;
    let mut items = a.iter().collect::<Result<Vec<_>, _>>()?;
    match a.kind() {
        ListKind::Atomic => {
            for item in b.iter() {
                items.push(item?);
            }
        }
        kind => {
            let keys: &[String] = if let ListKind::Map(keys) = kind { keys } else { &[] };
            let mut places = std::collections::HashMap::new();
            for (place, item) in items.iter().enumerate() {
                places.insert(crate::value::identity(item, keys, &mut context.meter)?, place);
            }
            for item in b.iter() {
                let item = item?;
                let identity = crate::value::identity(&item, keys, &mut context.meter)?;
                match places.get(&identity).and_then(|place| items.get_mut(*place)) {
                    Some(_) if keys.is_empty() => {}
                    Some(same) => *same = item,
                    None => {
                        places.insert(identity, items.len());
                        items.push(item);
                    }
                }
            }
        }
    }
    Ok(Value::List(List { items: Items::Shared(Arc::new(items)), decl: a.decl }))
}

/// `operand[index]`.
pub(crate) fn index<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::List(list), at] => match whole(at) {
            Some(at) => usize::try_from(at)
                .ok()
                .and_then(|at| list.get(at))
                .unwrap_or_else(|| Err(EvaluationError::new(format!("index out of bounds: {at}")))),
            None => Err(EvaluationError::new(format!("unsupported index type '{}' in list", at.type_name()))),
        },
        [Value::Map(map), key] => {
            let found = Key::of(key).and_then(|key| map.get(&key));
            found.unwrap_or_else(|| Err(EvaluationError::new(format!("no such key: {key}"))))
        }
        _ => no_overload(),
    }
}

/// An index may be any number that is whole.
fn whole(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        Value::Double(value) if value.fract() == 0.0 => Some(*value as i64),
        _ => None,
    }
}

/// `operand[?index]`, or an index into an optional value.
pub(crate) fn optional_index<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let [operand, at] = args else { return no_overload() };
    let item = match operand {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => item(inner, at),
        operand => item(operand, at),
    };
    match item {
        Some(item) => Ok(item.transpose()?.map_or(Value::Optional(None), Value::some)),
        None => no_overload(),
    }
}

/// The item that is there or not; `None` of what has no items.
fn item<'a>(operand: &Value<'a>, at: &Value<'a>) -> Option<Option<Answer<'a>>> {
    match operand {
        Value::List(list) => {
            Some(whole(at).and_then(|at| usize::try_from(at).ok()).and_then(|at| list.get(at)))
        }
        Value::Map(map) => Some(Key::of(at).and_then(|key| map.get(&key))),
        _ => None,
    }
}

fn in_list<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [value, Value::List(list)] = args else { return no_overload() };
    for item in list.iter() {
        if item?.equals(value, &mut context.meter)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn in_map<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let [value, Value::Map(map)] = args else { return no_overload() };
    Ok(Value::Bool(Key::of(value).is_some_and(|key| map.get(&key).is_some())))
}

/// Adds an entry, or those of a map, to a map; a key that is there already is an error.
pub(crate) fn insert<'a>(map: Value<'a>, rest: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let Value::Map(Map { entries: Entries::Shared(mut entries), decl }) = map else { return no_overload() };
    let mut add = |key: Option<Key<'a>>, value: Value<'a>| {
        let Some(key) = key else { return Err(EvaluationError::new("unsupported key type")) };
        if Arc::make_mut(&mut entries).insert(key.clone(), value).is_some() {
            let key = key.to_value();
            return Err(EvaluationError::new(format!("insert failed: key {key} already exists")));
        }
        Ok(())
    };
    match rest {
        [key, value] => add(Key::of(key), value.clone())?,
        [Value::Map(more)] => {
            context.copy(more.len())?;
            for (key, value) in more.iter() {
                add(Some(key), value?)?;
            }
        }
        _ => return no_overload(),
    }
    Ok(Value::Map(Map { entries: Entries::Shared(entries), decl }))
}
