//! Schedules in cron's notation, and the times they mean. Pure.

use jiff::{Span, Timestamp, civil, tz::TimeZone};

/// The years looked ahead for the next time; February 29 on a given weekday comes within 28 years, but nobody
/// waits for that.
const HORIZON_YEARS: i16 = 8;

/// A parsed schedule: which minutes it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    // Whether day of month and day of week were given: if both, either matches.
    days_given: bool,
    weekdays_given: bool,
    // `@every`: seconds from one time to the next.
    every: Option<i64>,
}

/// Why a schedule cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields, nor a known name.
    #[error("expected exactly 5 fields, found {0}: {1}")]
    Fields(usize, String),
    /// A field is not a list of numbers, ranges and steps within its limits.
    #[error("invalid {0}: {1:?}")]
    Field(&'static str, String),
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Parses five fields, `@hourly` and its like, or `@every 1h30m`.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let expanded = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(interval) = expanded.strip_prefix("@every ") {
            let seconds = parse_interval(interval.trim());
            let seconds = seconds.ok_or_else(|| ScheduleError::Field("interval", interval.to_owned()))?;
            return Ok(Self {
                minutes: 0,
                hours: 0,
                days: 0,
                months: 0,
                weekdays: 0,
                days_given: false,
                weekdays_given: false,
                every: Some(seconds.max(1)),
            });
        }
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(ScheduleError::Fields(fields.len(), text.to_owned()));
        };
        let given = |field: &str| !field.starts_with(['*', '?']);
        let weekdays = parse_field("day of week", weekday, 0, 7, &WEEKDAYS)?;
        Ok(Self {
            minutes: parse_field("minute", minute, 0, 59, &[])?,
            hours: parse_field("hour", hour, 0, 23, &[])?,
            days: parse_field("day of month", day, 1, 31, &[])?,
            months: parse_field("month", month, 1, 12, &MONTHS)?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
            days_given: given(day),
            weekdays_given: given(weekday),
            every: None,
        })
    }

    /// The first time after `after`, by the clocks of a time zone; `None` when there is none in sight.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if let Some(seconds) = self.every {
            return after.checked_add(jiff::SignedDuration::from_secs(seconds)).ok();
        }
        let local = after.to_zoned(zone.clone()).datetime();
        let mut minute = local.date().to_datetime(civil::time(local.hour(), local.minute(), 0, 0));
        let last_year = minute.year().saturating_add(HORIZON_YEARS);
        loop {
            minute = self.next_local(minute.checked_add(Span::new().minutes(1)).ok()?, last_year)?;
            // A time that the clocks skip is taken an hour later, as cron does; one that they repeat, the first
            // time only.
            let found = zone.to_ambiguous_timestamp(minute).compatible().ok()?;
            if found > after {
                return Some(found);
            }
        }
    }

    /// The first named minute at or after a local time.
    fn next_local(&self, from: civil::DateTime, last_year: i16) -> Option<civil::DateTime> {
        let mut at = from;
        while at.year() <= last_year {
            let midnight = |date: civil::Date| date.to_datetime(civil::time(0, 0, 0, 0));
            if !has(self.months, at.month()) {
                at = midnight(at.date().first_of_month().checked_add(Span::new().months(1)).ok()?);
            } else if !self.matches_day(at.date()) {
                at = midnight(at.date().tomorrow().ok()?);
            } else if !has(self.hours, at.hour()) {
                let hour = at.date().to_datetime(civil::time(at.hour(), 0, 0, 0));
                at = hour.checked_add(Span::new().hours(1)).ok()?;
            } else if !has(self.minutes, at.minute()) {
                at = at.checked_add(Span::new().minutes(1)).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }

    fn matches_day(&self, date: civil::Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.days_given && self.weekdays_given { day || weekday } else { day && weekday }
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set & (1u64 << number) != 0)
}

fn parse_field(
    name: &'static str,
    text: &str,
    min: u32,
    max: u32,
    names: &[&str],
) -> Result<u64, ScheduleError> {
    let mut set = 0u64;
    for part in text.split(',') {
        set |=
            parse_part(part, min, max, names).ok_or_else(|| ScheduleError::Field(name, part.to_owned()))?;
    }
    Ok(set)
}

fn parse_part(part: &str, min: u32, max: u32, names: &[&str]) -> Option<u64> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| *step > 0)?),
        None => (part, 1),
    };
    let number = |text: &str| -> Option<u32> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        // Months are counted from one, weekdays from zero.
        named
            .and_then(|position| u32::try_from(position).ok())
            .map(|position| position + min)
            .or_else(|| text.parse().ok())
    };
    let (first, last) = match range {
        "*" | "?" => (min, if max == 7 { 6 } else { max }),
        _ => match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            // A start with a step goes on to the end.
            None if part.contains('/') => (number(range)?, max),
            None => (number(range)?, number(range)?),
        },
    };
    if first < min || last > max || first > last {
        return None;
    }
    let stepped = (first..=last).step_by(usize::try_from(step).ok()?);
    Some(stepped.fold(0, |set, number| set | (1u64 << number)))
}

fn parse_interval(text: &str) -> Option<i64> {
    let mut seconds = 0i64;
    let mut digits = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let unit = match character {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(digits.parse::<i64>().ok()?.checked_mul(unit)?)?;
        digits.clear();
    }
    (digits.is_empty() && seconds > 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str, zone: &str) -> String {
        let zone = if zone == "UTC" { TimeZone::UTC } else { TimeZone::posix(zone).unwrap() };
        let found = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &zone);
        found.map_or_else(|| "never".to_owned(), |found| found.to_string())
    }

    #[test]
    fn next_times_follow_the_fields() {
        for (schedule, after, expected) in [
            ("*/15 * * * *", "2024-05-01T10:07:30Z", "2024-05-01T10:15:00Z"),
            ("0 * * * *", "2024-05-01T10:00:00Z", "2024-05-01T11:00:00Z"),
            ("30 4 1 * *", "2024-05-02T00:00:00Z", "2024-06-01T04:30:00Z"),
            ("0 0 * * MON-FRI", "2024-05-03T12:00:00Z", "2024-05-06T00:00:00Z"),
            ("0 0 * * 7", "2024-05-03T12:00:00Z", "2024-05-05T00:00:00Z"),
            ("0 0 13 * 5", "2024-05-01T00:00:00Z", "2024-05-03T00:00:00Z"),
            ("0 0 29 feb *", "2024-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 31 2 *", "2024-03-01T00:00:00Z", "never"),
            ("5/20 8-9 * * *", "2024-05-01T08:46:00Z", "2024-05-01T09:05:00Z"),
            ("@daily", "2024-05-01T10:00:00Z", "2024-05-02T00:00:00Z"),
            ("@every 1h30m", "2024-05-01T10:00:00Z", "2024-05-01T11:30:00Z"),
        ] {
            assert_eq!(next(schedule, after, "UTC"), expected, "{schedule}");
        }
    }

    #[test]
    fn skipped_local_times_run_late_and_repeated_ones_once() {
        // Central Europe: clocks go from 2:00 to 3:00 on March 31, and from 3:00 back to 2:00 on October 27.
        let zone = "CET-1CEST,M3.5.0,M10.5.0/3";
        assert_eq!(next("30 2 * * *", "2024-03-30T12:00:00Z", zone), "2024-03-31T01:30:00Z");
        assert_eq!(next("30 2 * * *", "2024-10-26T12:00:00Z", zone), "2024-10-27T00:30:00Z");
        assert_eq!(next("30 2 * * *", "2024-10-27T00:30:00Z", zone), "2024-10-28T01:30:00Z");
    }

    #[test]
    fn nonsense_is_refused() {
        for schedule in
            ["", "* * * *", "60 * * * *", "* 24 * * *", "*/0 * * * *", "5-1 * * * *", "x * * * *", "@every x"]
        {
            assert!(Schedule::parse(schedule).is_err(), "{schedule:?}");
        }
    }
}
