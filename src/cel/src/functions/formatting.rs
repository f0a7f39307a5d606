//! `'%s has %d'.format([...])` (cel-go's `ext/formatting.go`, in English).

use super::conversions::double;
use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[("format", "string_format", "string.(list(dyn)) -> string", format)];

/// Digits after the point where none are asked for.
const PRECISION: usize = 6;

/// Most digits after the point: each takes memory that the format's cost does not tell of.
const MAX_PRECISION: usize = 1_000;

fn format<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::String(format), Value::List(values)] = args else { return no_overload() };
    let mut out = String::new();
    let mut rest = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut precision = PRECISION;
        if rest.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse().ok().filter(|digits| *digits <= MAX_PRECISION).ok_or_else(|| {
                fault(format!("could not parse formatting clause: error while parsing precision: {digits:?}"))
            })?;
        }
        let Some(clause) = rest.next() else {
            return Err(fault("unexpected end of string".to_owned()));
        };
        let Some(value) = values.get(next) else { return Err(fault(format!("index {next} out of range"))) };
        next += 1;
        let start = out.len();
        write(clause, precision, &value?, &mut out, context)?;
        context.allocate(out.len() - start)?;
    }
    context.allocate(format.len())?;
    Ok(Value::String(Text::from(out)))
}

fn fault(message: String) -> EvaluationError {
    EvaluationError::new(message)
}

fn wrong(what: &str, value: &Value<'_>) -> EvaluationError {
    fault(format!("error during formatting: {what}, was given {}", value.type_name()))
}

fn write<'a>(
    clause: char,
    precision: usize,
    value: &Value<'a>,
    out: &mut String,
    context: &mut Context<'_, 'a>,
) -> Result<(), EvaluationError> {
    let text = match (clause, value) {
        ('s', value) => return string(value, out, context),
        ('d', Value::Int(value)) => value.to_string(),
        ('d', Value::Uint(value)) => value.to_string(),
        ('d', value) => return Err(wrong("decimal clause can only be used on integers", value)),
        ('f', value) => match number(value) {
            Some(number) => fixed(number, precision),
            None => return Err(wrong("fixed-point clause can only be used on doubles", value)),
        },
        ('e', value) => match number(value) {
            Some(number) => scientific(number, precision),
            None => return Err(wrong("scientific clause can only be used on doubles", value)),
        },
        ('b', Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('b', value) => return Err(wrong("only integers and bools can be formatted as binary", value)),
        ('x' | 'X', value) => {
            let hex = match value {
                Value::Int(value) => signed(*value, |value| format!("{value:x}")),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                value => {
                    let what = "only integers, byte buffers, and strings can be formatted as hex";
                    return Err(wrong(what, value));
                }
            };
            if clause == 'X' { hex.to_ascii_uppercase() } else { hex }
        }
        ('o', Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('o', value) => return Err(wrong("octal clause can only be used on integers", value)),
        (clause, _) => {
            let message =
                format!("could not parse formatting clause: unrecognized formatting clause \"{clause}\"");
            return Err(fault(message));
        }
    };
    out.push_str(&text);
    Ok(())
}

fn signed(value: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", digits(value.unsigned_abs()))
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn not_finite(value: f64) -> Option<String> {
    if value.is_nan() {
        return Some("NaN".to_owned());
    }
    value.is_infinite().then(|| if value > 0.0 { "∞" } else { "-∞" }.to_owned())
}

/// Groups of thousands have commas, as English has them.
fn fixed(value: f64, precision: usize) -> String {
    if let Some(text) = not_finite(value) {
        return text;
    }
    let plain = format!("{value:.precision$}");
    let (sign, plain) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let mut out = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn scientific(value: f64, precision: usize) -> String {
    if let Some(text) = not_finite(value) {
        return text;
    }
    let plain = format!("{value:.precision$e}");
    let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(("", exponent), |rest| ("⁻", rest));
    let raised: String = format!("{digits:0>2}")
        .chars()
        .filter_map(|digit| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit.to_digit(10)? as usize))
        .collect();
    format!("{mantissa}\u{202f}×\u{202f}10{sign}{raised}")
}

/// `%s`: any value that has a text.
fn string<'a>(
    value: &Value<'a>,
    out: &mut String,
    context: &mut Context<'_, 'a>,
) -> Result<(), EvaluationError> {
    context.meter.work(1)?;
    match value {
        Value::List(_) | Value::Map(_) => literal(value, out, context)?,
        Value::Double(value) => out.push_str(&double(*value)),
        Value::String(text) | Value::Type(text) => out.push_str(text),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Bytes(_)
        | Value::Timestamp(_)
        | Value::Duration(_) => out.push_str(&value.to_string()),
        value => {
            let what = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                        durations, and timestamps";
            return Err(wrong(what, value));
        }
    }
    // What grows within a list is counted as it grows.
    context.allocate(out.len() / 64)
}

/// A value within a list or a map, as an expression would write it.
fn literal<'a>(
    value: &Value<'a>,
    out: &mut String,
    context: &mut Context<'_, 'a>,
) -> Result<(), EvaluationError> {
    context.meter.work(1)?;
    match value {
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                literal(&item?, out, context)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                literal(&key.to_value(), out, context)?;
                out.push(':');
                literal(&value?, out, context)?;
            }
            out.push('}');
        }
        Value::String(text) => {
            context.allocate(text.len())?;
            out.push_str(&format!("{:?}", &**text));
        }
        Value::Bytes(bytes) => {
            context.allocate(bytes.len())?;
            out.push_str(&format!("b{:?}", String::from_utf8_lossy(bytes)));
        }
        Value::Timestamp(at) => out.push_str(&format!("timestamp(\"{at}\")")),
        Value::Duration(span) => out.push_str(&format!("duration(\"{span}\")")),
        Value::Double(value) if value.is_finite() => out.push_str(&format!("{value:.PRECISION$}")),
        Value::Double(value) => out.push_str(&format!("\"{}\"", double(*value))),
        other => return string(other, out, context),
    }
    Ok(())
}
