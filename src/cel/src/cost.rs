//! What calls cost at run time (`interpreter/runtimecost.go`, `pkg/cel/library/cost.go`).

use crate::value::{Opaque, Value};

/// Cost of walking a string, by character.
pub(crate) const TRAVERSAL: f64 = 0.1;

/// Cost of a regular expression, by character: an operator is taken to have four.
pub(crate) const REGEX: f64 = 0.25;

/// Cost of one authorization check: no more than two fit the limit of an expression.
pub(crate) const CHECK: u64 = 350_000;

/// Factor times size, rounded up.
pub(crate) fn scale(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn size(value: Option<&Value<'_>>) -> u64 {
    value.and_then(Value::size).unwrap_or(1)
}

/// `a == b`.
pub(crate) fn equality(a: &Value<'_>, b: &Value<'_>) -> u64 {
    if let Value::Opaque(_) = a {
        return 1;
    }
    scale(size(Some(a)).min(size(Some(b))), TRAVERSAL)
}

/// A search for a regular expression.
pub(crate) fn search(text: u64, pattern: u64) -> u64 {
    // One more than the length, so that an empty text with a costly expression is not free.
    scale(text.saturating_add(1), TRAVERSAL).saturating_mul(scale(pattern, REGEX))
}

/// Cost of walking all of a value.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * TRAVERSAL) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TRAVERSAL) as u64,
        Value::List(list) => list.iter().flatten().map(|item| traversal(&item)).fold(0, u64::saturating_add),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| {
                traversal(&key.to_value()).saturating_add(value.map_or(1, |value| traversal(&value)))
            })
            .fold(0, u64::saturating_add),
        _ => 1,
    }
}

/// Cost of a call that was made. `overload` is empty where it was only found at run time.
pub(crate) fn call_cost(
    function: &str,
    overload: &str,
    args: &[Value<'_>],
    result: Option<&Value<'_>>,
) -> u64 {
    let walk = |index: usize, times: f64| scale(size(args.get(index)), times * TRAVERSAL);
    match function {
        "check" => CHECK,
        "fieldSelector" | "labelSelector" => {
            // Each requirement has at least two characters, and costs a list and a struct.
            let length = size(args.get(1));
            10 + scale(length, TRAVERSAL) + scale(length, 0.5) * 50
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => walk(0, 1.0),
        "replace" | "split" => walk(0, 2.0),
        "join" => scale(size(result), 2.0 * TRAVERSAL),
        "find" | "findAll" => search(size(args.first()), size(args.get(1))),
        "ip" if overload == "cidr_ip" => 1,
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => walk(0, 1.0),
        "ip.isCanonical" => walk(0, 2.0),
        "containsIP" => walk(0, 2.0) + if overload == "cidr_contains_ip_string" { walk(1, 1.0) } else { 0 },
        "containsCIDR" => {
            walk(0, 2.0)
                + walk(0, 1.0)
                + 1
                + if overload == "cidr_contains_cidr_string" { walk(1, 1.0) } else { 0 }
        }
        "validate" => match args {
            [Value::Opaque(Opaque::Format(format)), text] => search(size(Some(text)), format.expression),
            _ => 1,
        },
        "slice" | "lists.range" | "reverse" => allocated(1.0, size(result)),
        "flatten" => match args {
            [list, Value::Int(depth)] => allocated(*depth as f64, size(Some(list))),
            _ => allocated(1.0, size(args.first())),
        },
        "distinct" | "sort" => compared(args.first()),
        "@sortByAssociatedKeys" => compared(args.get(1)),
        "sets.contains" | "sets.intersects" => 1 + size(args.first()).saturating_mul(size(args.get(1))),
        "sets.equivalent" => 1 + size(args.first()).saturating_mul(size(args.get(1))).saturating_mul(2),
        _ => overload_cost(overload, args),
    }
}

/// A call that makes a list.
fn allocated(factor: f64, size: u64) -> u64 {
    ((size as f64 * factor) as u64).saturating_add(11)
}

/// A list whose items are all compared with each other, as upstream reckons for the worst.
fn compared(list: Option<&Value<'_>>) -> u64 {
    let size = size(list);
    let factor = match list {
        Some(Value::List(list)) => match list.get(0) {
            Some(Ok(Value::String(_) | Value::Bytes(_))) => 2.0 + TRAVERSAL,
            _ => 2.0,
        },
        _ => 2.0,
    };
    allocated(factor, size.saturating_mul(size))
}

fn overload_cost(overload: &str, args: &[Value<'_>]) -> u64 {
    let [first, second] = [size(args.first()), size(args.get(1))];
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" => {
            scale(first, TRAVERSAL)
        }
        "in_list" => second,
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes" => scale(first.min(second), TRAVERSAL),
        "add_string" | "add_bytes" => scale(first.saturating_add(second), TRAVERSAL),
        "matches_string" => search(first, second),
        "contains_string" => scale(first, TRAVERSAL).saturating_mul(scale(second, TRAVERSAL)),
        _ => 1,
    }
}
