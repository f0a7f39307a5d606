//! The form of a cron schedule: five fields or a name such as `@daily`, as `robfig/cron`'s standard parser reads
//! them.

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What is wrong with a schedule; `None` when nothing is.
pub fn problem(schedule: &str) -> Option<String> {
    if schedule.is_empty() {
        return Some("empty spec string".to_owned());
    }
    let rest = match schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) {
        Some(with_zone) => with_zone.split_once(' ').map_or("", |(_, rest)| rest).trim(),
        None => schedule,
    };
    if let Some(name) = rest.strip_prefix('@') {
        let known =
            matches!(name, "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly");
        let every = name.strip_prefix("every ").is_some_and(is_duration);
        return (!known && !every).then(|| format!("unrecognized descriptor: {rest}"));
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let &[minute, hour, day, month, weekday] = fields.as_slice() else {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    };
    [
        (minute, 0, 59, &[][..]),
        (hour, 0, 23, &[][..]),
        (day, 1, 31, &[][..]),
        (month, 1, 12, &MONTHS[..]),
        (weekday, 0, 6, &DAYS[..]),
    ]
    .into_iter()
    .flat_map(|(field, low, high, names)| {
        field.split(',').map(move |part| range_problem(part, low, high, names))
    })
    .flatten()
    .next()
}

fn is_duration(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    !text.is_empty() && text.starts_with(|c: char| c.is_ascii_digit()) && digits.len() < text.len()
}

/// One part of a field: `*`, `5`, `1-5`, `*/2`, `1-5/2`.
fn range_problem(part: &str, low: u32, high: u32, names: &[&str]) -> Option<String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if let Some(step) = step {
        match step.parse::<u32>() {
            Err(_) => return Some(format!("failed to parse int from {step}")),
            Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
            Ok(_) => {}
        }
    }
    if matches!(range, "*" | "?") {
        return None;
    }
    let number = |text: &str| -> Result<u32, String> {
        let lower = text.to_lowercase();
        if let Some(at) = names.iter().position(|name| *name == lower) {
            return Ok(u32::try_from(at).unwrap_or(0) + low);
        }
        text.parse().map_err(|_| format!("failed to parse int from {text}"))
    };
    let (start, end) = range.split_once('-').unwrap_or((range, range));
    match (number(start), number(end)) {
        (Err(why), _) | (_, Err(why)) => Some(why),
        (Ok(start), _) if start < low => {
            Some(format!("beginning of range ({start}) below minimum ({low}): {part}"))
        }
        (_, Ok(end)) if end > high => Some(format!("end of range ({end}) above maximum ({high}): {part}")),
        (Ok(start), Ok(end)) if start > end => {
            Some(format!("beginning of range ({start}) beyond end of range ({end}): {part}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_five_fields_or_a_name() {
        for good in ["* * * * *", "*/5 0-6 1,15 JAN-mar mon", "@daily", "@every 1h30m", "0 0 ? * *"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in
            ["", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "@never", "a * * * *", "5-1 * * * *"]
        {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
