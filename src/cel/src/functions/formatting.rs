//! `'%s has %d'.format([...])` (cel-go's `ext/formatting.go`, in English).

use std::iter::Peekable;
use std::str::Chars;

use super::conversions::double;
use super::{Row, no_overload};
use crate::ast::{Expr, Item, Kind};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::types::Type;
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[("format", "string_format", "string.(list(dyn)) -> string", format)];

/// Digits after the point where none are asked for.
const PRECISION: usize = 6;

/// Most digits after the point: each takes memory that the format's cost does not tell of.
const MAX_PRECISION: usize = 1_000;

/// A piece of a format string.
enum Piece {
    Text(char),
    /// What `%` begins, or why that is nothing.
    Clause(Result<Clause, String>),
}

struct Clause {
    verb: char,
    /// Digits after the point.
    precision: usize,
}

const END: &str = "unexpected end of string";

fn piece(rest: &mut Peekable<Chars<'_>>) -> Option<Piece> {
    Some(match rest.next()? {
        '%' if rest.next_if_eq(&'%').is_some() => Piece::Text('%'),
        '%' => Piece::Clause(clause(rest)),
        other => Piece::Text(other),
    })
}

fn clause(rest: &mut Peekable<Chars<'_>>) -> Result<Clause, String> {
    let unparsed = |why: String| format!("could not parse formatting clause: {why}");
    let bad_precision = |why: &str| unparsed(format!("error while parsing precision: {why}"));
    let mut precision = PRECISION;
    if rest.next_if_eq(&'.').is_some() {
        let mut digits = String::new();
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if rest.peek().is_none() {
            return Err(bad_precision("could not find end of precision specifier"));
        }
        precision = digits.parse().ok().filter(|digits| *digits <= MAX_PRECISION).ok_or_else(|| {
            let why = if digits.is_empty() { "invalid syntax" } else { "value out of range" };
            bad_precision(&format!(
                "error while converting precision to integer: strconv.Atoi: parsing {digits:?}: {why}"
            ))
        })?;
    }
    match rest.next() {
        None => Err(END.to_owned()),
        Some(verb @ ('s' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o')) => Ok(Clause { verb, precision }),
        Some(other) => Err(unparsed(format!("unrecognized formatting clause \"{other}\""))),
    }
}

/// What is wrong with a call whose format and list of arguments stand in the expression: the place of it (`at`, or
/// the argument's) and the message. Arguments of type `dyn` are checked when they are there.
pub(crate) fn check(format: &str, args: &[Item], at: u32) -> Result<(), (u32, String)> {
    let mut rest = format.chars().peekable();
    let mut next = 0;
    while let Some(piece) = piece(&mut rest) {
        let Piece::Clause(clause) = piece else { continue };
        if matches!(&clause, Err(why) if why == END) {
            return Err((at, END.to_owned()));
        }
        let Some(arg) = args.get(next) else { return Err((at, out_of_range(next))) };
        next += 1;
        let verb = clause.map_err(|why| (at, why))?.verb;
        let misfit = match verb {
            's' => unprintable(&arg.value),
            _ => (!accepts(verb, &arg.value.of)).then_some(&arg.value),
        };
        if let Some(misfit) = misfit {
            return Err((misfit.at, misuse(verb, misfit.of.runtime_name())));
        }
    }
    if args.len() > next {
        let given = args.len();
        let message = format!("too many arguments supplied to string.format (expected {next}, got {given})");
        return Err((at, message));
    }
    Ok(())
}

/// The part of the expression that `%s` has no text for.
fn unprintable(expr: &Expr) -> Option<&Expr> {
    if !accepts('s', &expr.of) {
        return Some(expr);
    }
    match &expr.kind {
        Kind::List(items) => items.iter().find_map(|item| unprintable(&item.value)),
        Kind::Map(entries) => {
            entries.iter().find_map(|entry| unprintable(&entry.key).or_else(|| unprintable(&entry.value)))
        }
        _ => None,
    }
}

fn accepts(verb: char, of: &Type) -> bool {
    use Type::{Bool, Bytes, Double, Duration, Dyn, Error, Int, List, Map, Null, Param, Timestamp, Uint};
    match verb {
        _ if matches!(of, Dyn | Error | Param(_)) => true,
        's' => matches!(
            of,
            Null | Bool
                | Int
                | Uint
                | Double
                | Type::String
                | Bytes
                | Timestamp
                | Duration
                | List(_)
                | Map(_)
                | Type::Type(_)
        ),
        'd' | 'o' => matches!(of, Int | Uint),
        'b' => matches!(of, Int | Uint | Bool),
        'f' | 'e' => matches!(of, Double | Type::String),
        _ => matches!(of, Int | Uint | Type::String | Bytes),
    }
}

fn misuse(verb: char, given: &str) -> String {
    let rule = match verb {
        's' => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
             and timestamps"
        }
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        _ => "only integers, byte buffers, and strings can be formatted as hex",
    };
    format!("error during formatting: {rule}, was given {given}")
}

fn out_of_range(index: usize) -> String {
    format!("index {index} out of range")
}

fn format<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::String(format), Value::List(values)] = args else { return no_overload() };
    let mut out = String::new();
    let mut rest = format.chars().peekable();
    let mut next = 0;
    while let Some(piece) = piece(&mut rest) {
        let clause = match piece {
            Piece::Text(c) => {
                out.push(c);
                continue;
            }
            Piece::Clause(clause) => clause,
        };
        let Some(value) = values.get(next) else { return Err(EvaluationError::new(out_of_range(next))) };
        next += 1;
        let clause = clause.map_err(EvaluationError::new)?;
        let start = out.len();
        write(&clause, &value?, &mut out, context)?;
        context.allocate(out.len() - start)?;
    }
    context.allocate(format.len())?;
    Ok(Value::String(Text::from(out)))
}

fn wrong(verb: char, value: &Value<'_>) -> EvaluationError {
    EvaluationError::new(misuse(verb, value.type_name()))
}

fn write<'a>(
    &Clause { verb, precision }: &Clause,
    value: &Value<'a>,
    out: &mut String,
    context: &mut Context<'_, 'a>,
) -> Result<(), EvaluationError> {
    let text = match (verb, value) {
        ('s', value) => return string(value, out, context),
        ('d', Value::Int(value)) => value.to_string(),
        ('d', Value::Uint(value)) => value.to_string(),
        ('f', value) => fixed(number(value).ok_or_else(|| wrong(verb, value))?, precision),
        ('e', value) => scientific(number(value).ok_or_else(|| wrong(verb, value))?, precision),
        ('b', Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('o', Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('x' | 'X', value) => {
            let hex = match value {
                Value::Int(value) => signed(*value, |value| format!("{value:x}")),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                value => return Err(wrong(verb, value)),
            };
            if verb == 'X' { hex.to_ascii_uppercase() } else { hex }
        }
        (verb, value) => return Err(wrong(verb, value)),
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
        value => return Err(wrong('s', value)),
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
