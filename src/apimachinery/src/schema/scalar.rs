//! Values without parts as Go's decoder takes them: checked, and brought to the form in which they are written.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use serde_json::Value;

use super::types::Scalar;
use crate::quantity::Quantity;
use crate::time;

/// Why a value is not of its scalar type.
pub(super) enum ScalarError {
    /// JSON of another type: what it is, and what Go calls the type that was wanted.
    Type { found: String, wanted: &'static str },
    /// Right JSON type, wrong content: Kubernetes' own message.
    Content(String),
}

/// Standard base64 as Go's `base64.StdEncoding`: padding required, trailing bits not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Checks a value and brings it to the form in which Kubernetes writes it.
pub(super) fn decode(scalar: Scalar, value: &mut Value) -> Result<(), ScalarError> {
    match scalar {
        Scalar::String => match value {
            Value::String(_) => Ok(()),
            _ => Err(wrong(value, "string")),
        },
        Scalar::Bool => match value {
            Value::Bool(_) => Ok(()),
            _ => Err(wrong(value, "bool")),
        },
        Scalar::Int32 => match value.as_i64() {
            Some(n) if i32::try_from(n).is_ok() => Ok(()),
            _ => Err(wrong_number(value, "int32")),
        },
        Scalar::Int64 => match value.as_i64() {
            Some(_) => Ok(()),
            None => Err(wrong_number(value, "int64")),
        },
        Scalar::Double => match value {
            Value::Number(_) => Ok(()),
            _ => Err(wrong(value, "float64")),
        },
        Scalar::Bytes => bytes(value),
        Scalar::Time => time_value(value, "2006-01-02T15:04:05Z07:00", 20, time::rfc3339),
        Scalar::MicroTime => time_value(value, "2006-01-02T15:04:05.000000Z07:00", 27, time::rfc3339_micro),
        Scalar::Quantity => quantity(value),
        Scalar::IntOrString => match value {
            Value::String(_) => Ok(()),
            _ => decode(Scalar::Int32, value),
        },
    }
}

/// Brings a value to the form in which Kubernetes writes it; one that is not of the type stays as it is.
pub(crate) fn canonical(scalar: Scalar, value: &mut Value) {
    if matches!(scalar, Scalar::Quantity | Scalar::Time | Scalar::MicroTime) {
        // What is wrong with the value is told when the whole object is decoded.
        let _ = decode(scalar, value);
    }
}

/// What Go makes of `null` where there is no "absent": in a list or a map.
pub(super) fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::String | Scalar::Bytes => Value::from(""),
        Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString => Value::from(0),
        Scalar::Bool => Value::from(false),
        Scalar::Quantity => Value::from("0"),
        Scalar::Time | Scalar::MicroTime => Value::Null,
    }
}

/// What Go's decoder calls a JSON value.
pub(super) fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong(value: &Value, wanted: &'static str) -> ScalarError {
    ScalarError::Type { found: found(value).to_owned(), wanted }
}

/// As [`wrong`]; a number that does not fit is quoted.
fn wrong_number(value: &Value, wanted: &'static str) -> ScalarError {
    match value {
        Value::Number(number) => ScalarError::Type { found: format!("number {number}"), wanted },
        _ => wrong(value, wanted),
    }
}

fn bytes(value: &mut Value) -> Result<(), ScalarError> {
    let Value::String(text) = value else { return Err(wrong(value, "[]uint8")) };
    // Go's decoder skips line ends; what it writes again has none.
    if text.contains(['\r', '\n']) {
        text.retain(|c| c != '\r' && c != '\n');
    }
    match BASE64.decode(text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(err) => {
            let at = match err {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    text.trim_end_matches('=').len() / 4 * 4
                }
            };
            Err(ScalarError::Content(format!("illegal base64 data at input byte {at}")))
        }
    }
}

fn quantity(value: &mut Value) -> Result<(), ScalarError> {
    let canonical = match value {
        Value::String(text) => parse_quantity(text.trim())?,
        Value::Number(number) => parse_quantity(&number.to_string())?,
        _ => return Err(ScalarError::Content(crate::quantity::QuantityError.to_string())),
    };
    if value.as_str() != Some(&canonical) {
        *value = Value::String(canonical);
    }
    Ok(())
}

fn parse_quantity(text: &str) -> Result<String, ScalarError> {
    let parsed: Result<Quantity, _> = text.parse();
    parsed.map(|quantity| quantity.to_string()).map_err(|err| ScalarError::Content(err.to_string()))
}

/// `canonical_len` is the length of what `write` gives: a text of that length that ends in `Z` and parses is
/// already in the form in which it would be written.
fn time_value(
    value: &mut Value,
    layout: &str,
    canonical_len: usize,
    write: fn(Timestamp) -> String,
) -> Result<(), ScalarError> {
    let Value::String(text) = value else { return Err(wrong(value, "string")) };
    if let Err(rest) = scan(text, layout.contains(".000000")) {
        let (at, element) = rest;
        let rest = text.get(at..).unwrap_or_default();
        let why = format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}");
        return Err(ScalarError::Content(why));
    }
    let Some(at) = time::parse(text) else {
        return Err(ScalarError::Content(format!("parsing time {text:?}: out of range")));
    };
    if text.len() != canonical_len || !text.ends_with('Z') {
        *text = write(at);
    }
    Ok(())
}

/// Compares a text with RFC 3339. On a mismatch: where it is, and the part of Go's layout that was expected.
fn scan(text: &str, micro: bool) -> Result<(), (usize, &'static str)> {
    const HEAD: [(usize, &str); 11] = [
        (4, "2006"),
        (0, "-"),
        (2, "01"),
        (0, "-"),
        (2, "02"),
        (0, "T"),
        (2, "15"),
        (0, ":"),
        (2, "04"),
        (0, ":"),
        (2, "05"),
    ];
    let bytes = text.as_bytes();
    let digits = |at: usize, count: usize| {
        bytes.get(at..at + count).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let mut at = 0;
    for (count, element) in HEAD {
        let matches = if count > 0 { digits(at, count) } else { text.get(at..=at) == Some(element) };
        if !matches {
            return Err((at, element));
        }
        at += count.max(1);
    }
    if bytes.get(at) == Some(&b'.') || bytes.get(at) == Some(&b',') {
        let fraction = bytes.iter().skip(at + 1).take_while(|b| b.is_ascii_digit()).count();
        if fraction == 0 || micro && fraction != 6 {
            return Err((at, if micro { ".000000" } else { "Z07:00" }));
        }
        at += 1 + fraction;
    } else if micro {
        return Err((at, ".000000"));
    }
    let zone = bytes.get(at..).unwrap_or_default();
    match zone {
        [b'Z'] => Ok(()),
        [b'+' | b'-', ..]
            if zone.len() == 6 && digits(at + 1, 2) && zone.get(3) == Some(&b':') && digits(at + 4, 2) =>
        {
            Ok(())
        }
        _ => Err((at, "Z07:00")),
    }
}
