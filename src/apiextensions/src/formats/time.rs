//! Dates, times and durations.

use jiff::civil::Date;

/// `full-date` of RFC 3339.
pub(super) fn is_date(text: &str) -> bool {
    let form = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    text.len() == 10 && form && text.parse::<Date>().is_ok()
}

/// `date-time` of RFC 3339.
pub(super) fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else { return false };
    let number =
        |at: usize| time.get(at..at + 2).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let clock =
        [(0, "23"), (3, "59"), (6, "59")].into_iter().all(|(at, max)| number(at).is_some_and(|n| n <= max));
    let colons = [2, 5].into_iter().all(|at| time.as_bytes().get(at) == Some(&b':'));
    if !(is_date(date) && clock && colons) {
        return false;
    }
    let rest = time.get(8..).unwrap_or_default();
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let offset = |zone: &str| {
        zone.len() == 6
            && zone.bytes().enumerate().all(|(at, byte)| match at {
                0 => matches!(byte, b'+' | b'-'),
                3 => byte == b':',
                _ => byte.is_ascii_digit(),
            })
    };
    matches!(zone, "z" | "Z") || offset(zone)
}

/// A duration in nanoseconds, as Go's `time.ParseDuration` takes it (`1h30m`) or with words (`3 days`).
pub fn parse_duration(text: &str) -> Option<i64> {
    go_duration(text).or_else(|| worded_duration(text))
}

const UNITS: [(&[&str], i64); 8] = [
    (&["ns", "nano"], 1),
    (&["us", "µs", "μs", "micro"], 1_000),
    (&["ms", "milli"], 1_000_000),
    (&["s", "sec"], 1_000_000_000),
    (&["m", "min"], 60 * 1_000_000_000),
    (&["h", "hr", "hour"], 3_600 * 1_000_000_000),
    (&["d", "day"], 24 * 3_600 * 1_000_000_000),
    (&["w", "wk", "week"], 7 * 24 * 3_600 * 1_000_000_000),
];

fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(end)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        // Go knows no unit longer than an hour.
        let scale = UNITS.iter().take(6).find_map(|(names, scale)| {
            let short = if names.contains(&"µs") { names.get(..3)? } else { names.get(..1)? };
            short.contains(&unit).then_some(i128::from(*scale))
        })?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        // More digits than nanoseconds have do not count.
        let fraction = fraction.get(..fraction.len().min(18))?;
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let base = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        total = total.checked_add(whole.checked_mul(scale)?.checked_add(part * scale / base)?)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn worded_duration(text: &str) -> Option<i64> {
    let mut rest = text.trim_start();
    let (mut total, mut known) = (0_i64, false);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(end)?;
        let factor: i64 = number.parse().ok()?;
        let after = after.trim_start();
        let end = after.find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ')).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        if unit.is_empty() {
            return None;
        }
        let unit = unit.to_lowercase();
        for (names, scale) in UNITS {
            let (last, others) = names.split_last()?;
            // The longest name may go on: `days`, `milliseconds`.
            if unit.starts_with(last) || others.contains(&unit.as_str()) {
                known = true;
                total = total.checked_add(factor.checked_mul(scale)?)?;
            }
        }
        rest = after.trim_start();
    }
    known.then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_lengths() {
        for (text, seconds) in [
            ("1h30m", 5_400.0),
            ("-1.5s", -1.5),
            ("2 days", 172_800.0),
            ("1ms500us", 0.001_5),
            ("3 min", 180.0),
        ] {
            assert_eq!(parse_duration(text), Some((seconds * 1e9) as i64), "{text}");
        }
        assert_eq!(parse_duration("9999999999h"), None);
    }
}
