//! Timestamps and durations: arithmetic and parts.

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::time::{Civil, Duration, Timestamp, parse_offset};
use crate::value::Value;

/// Parts of a timestamp, each in UTC and in a time zone, and the other rows.
macro_rules! rows {
    ($($name:literal, $id:literal, $read:expr;)* [$($row:expr,)*]) => {
        &[
            $(
                ($name, concat!("timestamp_to_", $id), "timestamp.() -> int", |args, _| part(args, $read)),
                ($name, concat!("timestamp_to_", $id, "_with_tz"), "timestamp.(string) -> int", |args, _| {
                    part(args, $read)
                }),
            )*
            $($row,)*
        ]
    };
}

const HOUR: i64 = 3_600_000_000_000;

pub(super) const ROWS: &[Row] = rows! {
    "getFullYear", "year", |civil, _| civil.year;
    "getMonth", "month", |civil, _| civil.month - 1;
    "getDayOfYear", "day_of_year", |civil, _| civil.day_of_year;
    "getDayOfMonth", "day_of_month", |civil, _| civil.day - 1;
    "getDate", "day_of_month_1_based", |civil, _| civil.day;
    "getDayOfWeek", "day_of_week", |civil, _| civil.day_of_week;
    "getHours", "hours", |civil, _| civil.hour;
    "getMinutes", "minutes", |civil, _| civil.minute;
    "getSeconds", "seconds_tz", |civil, _| civil.second;
    "getMilliseconds", "milliseconds", |_, at| i64::from(at.nanos() / 1_000_000);
    [
    ("getHours", "duration_to_hours", "duration.() -> int", |args, _| whole(args, HOUR)),
    ("getMinutes", "duration_to_minutes", "duration.() -> int", |args, _| whole(args, HOUR / 60)),
    ("getSeconds", "duration_to_seconds", "duration.() -> int", |args, _| whole(args, HOUR / 3_600)),
    ("getMilliseconds", "duration_to_milliseconds", "duration.() -> int", |args, _| whole(args, HOUR / 3_600_000)),
    ]
};

fn part<'a>(args: &[Value<'a>], read: fn(Civil, Timestamp) -> i64) -> Answer<'a> {
    let (at, offset) = match args {
        [Value::Timestamp(at)] => (*at, 0),
        [Value::Timestamp(at), Value::String(zone)] => (*at, offset(*at, zone)?),
        _ => return no_overload(),
    };
    Ok(Value::Int(read(at.civil(offset), at)))
}

/// The offset of a zone (`Europe/Berlin`, `+02:00`, `UTC`) from UTC at a time, in seconds.
fn offset(at: Timestamp, zone: &str) -> Result<i64, EvaluationError> {
    if zone.is_empty() || zone == "UTC" {
        return Ok(0);
    }
    if zone.contains(':') {
        return parse_offset(zone)
            .ok_or_else(|| EvaluationError::new(format!("invalid timezone offset {zone}")));
    }
    let unknown = || EvaluationError::new(format!("unknown time zone {zone}"));
    let zone = jiff::tz::TimeZone::get(zone).map_err(|_| unknown())?;
    // The last day of year 9999 is beyond jiff's range; its offset is that of the day before.
    let clamped = at.seconds().clamp(jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let at = jiff::Timestamp::from_second(clamped).map_err(|_| unknown())?;
    Ok(i64::from(zone.to_offset(at).seconds()))
}

fn whole<'a>(args: &[Value<'a>], unit: i64) -> Answer<'a> {
    match args {
        [Value::Duration(duration)] => Ok(Value::Int(duration.nanos() / unit)),
        _ => no_overload(),
    }
}

fn time_overflow() -> EvaluationError {
    EvaluationError::new("timestamp overflow")
}

fn duration_overflow() -> EvaluationError {
    EvaluationError::new("duration overflow")
}

pub(super) fn add<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Duration(a), Value::Duration(b)] => a
            .nanos()
            .checked_add(b.nanos())
            .map(|nanos| Value::Duration(Duration::from_nanos(nanos)))
            .ok_or_else(duration_overflow),
        [Value::Timestamp(at), Value::Duration(by)] | [Value::Duration(by), Value::Timestamp(at)] => {
            at.plus(*by).map(Value::Timestamp).ok_or_else(time_overflow)
        }
        _ => no_overload(),
    }
}

pub(super) fn subtract<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    match args {
        [Value::Duration(a), Value::Duration(b)] => a
            .nanos()
            .checked_sub(b.nanos())
            .map(|nanos| Value::Duration(Duration::from_nanos(nanos)))
            .ok_or_else(duration_overflow),
        [Value::Timestamp(at), Value::Duration(by)] => by
            .nanos()
            .checked_neg()
            .and_then(|nanos| at.plus(Duration::from_nanos(nanos)))
            .map(Value::Timestamp)
            .ok_or_else(time_overflow),
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            a.since(*b).map(Value::Duration).ok_or_else(duration_overflow)
        }
        _ => no_overload(),
    }
}
