//! Lists: Kubernetes' (`isSorted`, `sum`, `min`, `max`, `indexOf`), cel-go's `ext.Lists` (version 3) and `ext.Sets`.

use std::cmp::Ordering;

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::time::Duration;
use crate::value::{List, Value};

/// Rows for each type that has an order.
macro_rules! ordered {
    ([$($row:expr,)*] $($of:literal)*) => {
        &[
            $($row,)*
            $(
                ("isSorted", concat!("list_", $of, "_is_sorted_bool"), concat!("list(", $of, ").() -> bool"), is_sorted),
                ("min", concat!("list_", $of, "_min_", $of), concat!("list(", $of, ").() -> ", $of), min),
                ("max", concat!("list_", $of, "_max_", $of), concat!("list(", $of, ").() -> ", $of), max),
                ("sort", concat!("list_", $of, "_sort"), concat!("list(", $of, ").() -> list(", $of, ")"), sort),
                (
                    "@sortByAssociatedKeys",
                    concat!("list_", $of, "_sortByAssociatedKeys"),
                    concat!("list(A).(list(", $of, ")) -> list(A)"),
                    sort_by,
                ),
            )*
        ]
    };
}

pub(super) const ROWS: &[Row] = ordered! {
    [
        ("sum", "list_int_sum_int", "list(int).() -> int", |args, context| sum(args, Value::Int(0), context)),
        ("sum", "list_uint_sum_uint", "list(uint).() -> uint", |args, context| sum(args, Value::Uint(0), context)),
        ("sum", "list_double_sum_double", "list(double).() -> double", |args, context| {
            sum(args, Value::Double(0.0), context)
        }),
        ("sum", "list_duration_sum_duration", "list(duration).() -> duration", |args, context| {
            sum(args, Value::Duration(Duration::from_nanos(0)), context)
        }),
        ("indexOf", "list_a_index_of_int", "list(A).(A) -> int", |args, context| {
            position(args, context, |found, _| found.is_none())
        }),
        ("lastIndexOf", "list_a_last_index_of_int", "list(A).(A) -> int", |args, context| {
            position(args, context, |_, _| true)
        }),
        ("slice", "list_slice", "list(A).(int, int) -> list(A)", slice),
        ("flatten", "list_flatten", "list(list(A)).() -> list(A)", flatten),
        ("flatten", "list_flatten_int", "list(dyn).(int) -> list(dyn)", flatten),
        ("distinct", "list_distinct", "list(A).() -> list(A)", distinct),
        ("reverse", "list_reverse", "list(A).() -> list(A)", reverse),
        ("lists.range", "lists_range", "(int) -> list(int)", range),
        ("sets.contains", "list_sets_contains_list", "(list(A), list(A)) -> bool", |args, context| {
            let [Value::List(a), Value::List(b)] = args else { return no_overload() };
            Ok(Value::Bool(contains(a, b, context)?))
        }),
        ("sets.equivalent", "list_sets_equivalent_list", "(list(A), list(A)) -> bool", |args, context| {
            let [Value::List(a), Value::List(b)] = args else { return no_overload() };
            Ok(Value::Bool(contains(a, b, context)? && contains(b, a, context)?))
        }),
        ("sets.intersects", "list_sets_intersects_list", "(list(A), list(A)) -> bool", |args, context| {
            let [Value::List(a), Value::List(b)] = args else { return no_overload() };
            for item in a.iter() {
                if holds(b, &item?, context)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }),
    ]
    "int" "uint" "double" "bool" "duration" "timestamp" "string" "bytes"
};

/// All items, with their number counted as copied.
fn items<'a>(list: &List<'a>, context: &mut Context<'_, 'a>) -> Result<Vec<Value<'a>>, EvaluationError> {
    context.copy(list.len())?;
    list.iter().collect()
}

fn is_sorted<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut before: Option<Value<'a>> = None;
    for item in list.iter() {
        let item = item?;
        if let Some(before) = &before {
            match before.compare(&item) {
                Some(Ordering::Greater) => return Ok(Value::Bool(false)),
                Some(_) => {}
                None => return no_overload(),
            }
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn min<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    extreme(args, "min", Ordering::Less)
}

fn max<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    extreme(args, "max", Ordering::Greater)
}

fn extreme<'a>(args: &[Value<'a>], name: &str, better: Ordering) -> Answer<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        let item = item?;
        let replaces = match &best {
            None => true,
            Some(best) => match item.compare(best) {
                Some(order) => order == better,
                None => return no_overload(),
            },
        };
        if replaces {
            best = Some(item);
        }
    }
    best.ok_or_else(|| EvaluationError::new(format!("{name} called on empty list")))
}

fn sum<'a>(args: &[Value<'a>], zero: Value<'a>, context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut total = zero;
    for item in list.iter() {
        total = match (&total, &item?) {
            (Value::Int(a), Value::Int(b)) => {
                Value::Int(a.checked_add(*b).ok_or(EvaluationError::new("integer overflow"))?)
            }
            (Value::Uint(a), Value::Uint(b)) => {
                Value::Uint(a.checked_add(*b).ok_or(EvaluationError::new("unsigned integer overflow"))?)
            }
            (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
            (a @ Value::Duration(_), b @ Value::Duration(_)) => {
                super::times::add(&[a.clone(), b.clone()], context)?
            }
            _ => return no_overload(),
        };
    }
    Ok(total)
}

fn position<'a>(
    args: &[Value<'a>],
    context: &mut Context<'_, 'a>,
    takes: fn(Option<usize>, usize) -> bool,
) -> Answer<'a> {
    let [Value::List(list), value] = args else { return no_overload() };
    let mut found = None;
    for (index, item) in list.iter().enumerate() {
        if takes(found, index) && item?.equals(value, &mut context.meter)? {
            found = Some(index);
        }
    }
    Ok(Value::Int(found.map_or(-1, |index| index as i64)))
}

fn slice<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = args else { return no_overload() };
    let fault = |why: String| Err(EvaluationError::new(format!("cannot slice({start}, {end}), {why}")));
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return fault("negative indexes not supported".to_owned());
    };
    if from > to {
        return fault("start index must be less than or equal to end index".to_owned());
    }
    if list.len() < to {
        return fault(format!("list is length {}", list.len()));
    }
    context.copy(to - from)?;
    let items: Result<Vec<_>, _> = (from..to).filter_map(|index| list.get(index)).collect();
    Ok(Value::list(items?))
}

fn flatten<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    fn walk<'a>(
        list: &List<'a>,
        depth: i64,
        out: &mut Vec<Value<'a>>,
        context: &mut Context<'_, 'a>,
    ) -> Result<(), EvaluationError> {
        for item in list.iter() {
            context.copy(1)?;
            match item? {
                Value::List(nested) if depth > 0 => walk(&nested, depth - 1, out, context)?,
                item => out.push(item),
            }
        }
        Ok(())
    }
    let (list, depth) = match args {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        _ => return no_overload(),
    };
    if depth < 0 {
        return Err(EvaluationError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    walk(list, depth, &mut out, context)?;
    Ok(Value::list(out))
}

fn sort<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let keys = items(list, context)?;
    sorted(keys.clone(), keys)
}

fn sort_by<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list), Value::List(keys)] = args else { return no_overload() };
    let (list, keys) = (items(list, context)?, items(keys, context)?);
    sorted(list, keys)
}

fn sorted<'a>(list: Vec<Value<'a>>, keys: Vec<Value<'a>>) -> Answer<'a> {
    let Some(first) = keys.first() else { return Ok(Value::list(list)) };
    if keys.iter().any(|key| key.type_name() != first.type_name()) {
        return Err(EvaluationError::new("list elements must have the same type"));
    }
    if first.compare(first).is_none() && !first.is_number() {
        return Err(EvaluationError::new("list elements must be comparable"));
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(list).collect();
    // Doubles that are no numbers have no order: they are equal to all, which a stable sort bears.
    pairs.sort_by(|(a, _), (b, _)| match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        _ => a.compare(b).unwrap_or(Ordering::Equal),
    });
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

fn distinct<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in list.iter() {
        let item = item?;
        let mut known = false;
        for other in &kept {
            context.meter.work(1)?;
            if item.equals(other, &mut context.meter)? {
                known = true;
                break;
            }
        }
        if !known {
            context.copy(1)?;
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn reverse<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::List(list)] = args else { return no_overload() };
    let mut items = items(list, context)?;
    items.reverse();
    Ok(Value::list(items))
}

fn range<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::Int(size)] = args else { return no_overload() };
    let Ok(count) = usize::try_from(*size) else {
        return Err(EvaluationError::new(format!("lists.range: size must be non-negative, got {size}")));
    };
    context.copy(count)?;
    Ok(Value::list((0..*size).map(Value::Int).collect()))
}

fn holds<'a>(
    list: &List<'a>,
    value: &Value<'a>,
    context: &mut Context<'_, 'a>,
) -> Result<bool, EvaluationError> {
    for item in list.iter() {
        context.meter.work(1)?;
        if item?.equals(value, &mut context.meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether all of `b` is in `a`.
fn contains<'a>(a: &List<'a>, b: &List<'a>, context: &mut Context<'_, 'a>) -> Result<bool, EvaluationError> {
    for item in b.iter() {
        if !holds(a, &item?, context)? {
            return Ok(false);
        }
    }
    Ok(true)
}
