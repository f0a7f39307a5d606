//! Equality and order of values, numbers of all kinds compared by value.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::{Entries, List, Map, Opaque, Value};
use crate::decl::{DeclKind, ListKind};
use crate::error::EvaluationError;
use crate::meter::Meter;

impl Value<'_> {
    /// Whether both are equal; values of different types are not. Each item that is looked at counts as work.
    pub(crate) fn equals(&self, other: &Value<'_>, meter: &mut Meter) -> Result<bool, EvaluationError> {
        Ok(match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b)) => **a == **b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => **a == **b,
            (Value::Optional(a), Value::Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b, meter)?,
                _ => false,
            },
            (Value::List(a), Value::List(b)) => lists(a, b, meter)?,
            (Value::Map(a), Value::Map(b)) => maps(a, b, meter)?,
            (Value::Opaque(a), Value::Opaque(b)) => opaques(a, b),
            _ => self.compare_numbers(other) == Some(Ordering::Equal),
        })
    }

    /// The order of two values; `None` where there is none.
    pub(crate) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            _ => self.compare_numbers(other),
        }
    }

    /// Whether it is a number.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Uint(_) | Value::Double(_))
    }

    fn compare_numbers(&self, other: &Value<'_>) -> Option<Ordering> {
        let whole = |value: &Value<'_>| match value {
            Value::Int(value) => Some(i128::from(*value)),
            Value::Uint(value) => Some(i128::from(*value)),
            _ => None,
        };
        match (self, other) {
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Double(a), b) => with_whole(*a, whole(b)?),
            (a, Value::Double(b)) => with_whole(*b, whole(a)?).map(Ordering::reverse),
            (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
        }
    }
}

/// Compares exactly: a double beyond 2^53 is not rounded to meet the whole number.
fn with_whole(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // All whole numbers here are below 2^64, where doubles of that size have no fraction to lose.
    if double >= 18_446_744_073_709_551_616.0 {
        return Some(Ordering::Greater);
    }
    if double <= -9_223_372_036_854_775_809.0 {
        return Some(Ordering::Less);
    }
    let floor = double.floor();
    Some((floor as i128).cmp(&whole).then(if double > floor { Ordering::Greater } else { Ordering::Equal }))
}

fn lists(a: &List<'_>, b: &List<'_>, meter: &mut Meter) -> Result<bool, EvaluationError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match a.kind() {
        ListKind::Atomic => {
            for (x, y) in a.iter().zip(b.iter()) {
                meter.work(1)?;
                if !x?.equals(&y?, meter)? {
                    return Ok(false);
                }
            }
        }
        ListKind::Set => {
            let mut known = HashSet::with_capacity(a.len());
            for item in a.iter() {
                known.insert(identity(&item?, &[], meter)?);
            }
            for item in b.iter() {
                if !known.contains(&identity(&item?, &[], meter)?) {
                    return Ok(false);
                }
            }
        }
        ListKind::Map(keys) => {
            let mut known = HashMap::with_capacity(a.len());
            for item in a.iter() {
                let item = item?;
                known.insert(identity(&item, keys, meter)?, item);
            }
            for item in b.iter() {
                let item = item?;
                match known.get(&identity(&item, keys, meter)?) {
                    Some(same) if same.equals(&item, meter)? => {}
                    _ => return Ok(false),
                }
            }
        }
    }
    Ok(true)
}

/// What tells an item of a set, or of a list with map keys, apart from the others.
pub(crate) fn identity(
    item: &Value<'_>,
    keys: &[String],
    meter: &mut Meter,
) -> Result<String, EvaluationError> {
    meter.work(1)?;
    let scalar = |value: &Value<'_>| match value {
        Value::Map(_) | Value::List(_) => value.to_json().map(|json| json.to_string()),
        // The length keeps two keys from running into each other.
        other => {
            let text = other.to_string();
            let kind = if other.is_number() { "number" } else { other.type_name() };
            Ok(format!("{kind}:{}:{text}", text.len()))
        }
    };
    if keys.is_empty() {
        return scalar(item);
    }
    let Value::Map(map) = item else { return scalar(item) };
    let mut identity = String::new();
    for key in keys {
        let name = crate::escape::escape(key).unwrap_or_else(|| key.clone());
        match map.field(&name).or_else(|| map.field(key)) {
            Some(value) => identity.push_str(&scalar(&value?)?),
            None => identity.push('-'),
        }
        identity.push('/');
    }
    Ok(identity)
}

fn maps(a: &Map<'_>, b: &Map<'_>, meter: &mut Meter) -> Result<bool, EvaluationError> {
    // Objects also hold fields that their type does not show: those are compared as plain JSON.
    if let (Entries::Json(x), Entries::Json(y), DeclKind::Object(of)) = (&a.entries, &b.entries, &a.decl.kind)
    {
        if x.len() != y.len() {
            return Ok(false);
        }
        let shown: HashSet<&str> = of.fields.values().map(|field| field.name.as_str()).collect();
        for (name, value) in x.iter().filter(|(name, _)| !shown.contains(name.as_str())) {
            meter.work(1)?;
            let dynamic = crate::decl::Decl::dynamic();
            let Some(other) = y.get(name) else { return Ok(false) };
            if !Value::from_json(value, dynamic)?.equals(&Value::from_json(other, dynamic)?, meter)? {
                return Ok(false);
            }
        }
    } else if a.len() != b.len() {
        return Ok(false);
    }
    for (key, value) in a.iter() {
        meter.work(1)?;
        let Some(other) = b.get(&key) else { return Ok(false) };
        if !value?.equals(&other?, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn opaques(a: &Opaque, b: &Opaque) -> bool {
    match (a, b) {
        (Opaque::Url(a), Opaque::Url(b)) => a == b,
        (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
        (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
        (Opaque::Cidr(a), Opaque::Cidr(b)) => a == b,
        (Opaque::Semver(a), Opaque::Semver(b)) => a == b,
        (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
        (Opaque::Check(a), Opaque::Check(b)) => a == b,
        (Opaque::Decision(a), Opaque::Decision(b)) => a == b,
        _ => false,
    }
}
