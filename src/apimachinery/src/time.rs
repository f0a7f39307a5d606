//! Times as the API writes them and as people read them.

use jiff::{SignedDuration, Timestamp};

/// `metav1.Time`: RFC 3339 in UTC, whole seconds.
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: RFC 3339 in UTC with six digits of fraction.
pub fn rfc3339_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Milliseconds since 1970 as RFC 3339 in UTC with three digits of fraction; None beyond the years that can be written.
pub fn rfc3339_millis(millis: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
    Some(format!("{at:.3}"))
}

/// Reads an RFC 3339 time.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A duration as `kubectl get` shows ages: `38s`, `5m3s`, `17m`, `3h12m`, `2d5h`, `14d`, `1y40d`.
pub fn human_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let minutes = seconds / 60;
    if minutes < 10 {
        let rest = seconds % 60;
        return if rest == 0 { format!("{minutes}m") } else { format!("{minutes}m{rest}s") };
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = seconds / 3600;
    if hours < 8 {
        let rest = minutes % 60;
        return if rest == 0 { format!("{hours}h") } else { format!("{hours}h{rest}m") };
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if hours < 24 * 8 {
        let rest = hours % 24;
        return if rest == 0 { format!("{days}d") } else { format!("{days}d{rest}h") };
    }
    if hours < 24 * 365 * 2 {
        return format!("{days}d");
    }
    let years = days / 365;
    if hours < 24 * 365 * 8 {
        let rest = days % 365;
        return if rest == 0 { format!("{years}y") } else { format!("{years}y{rest}d") };
    }
    format!("{years}y")
}

/// The age of a time stamp as `kubectl get` shows it; `<unknown>` where there is none.
pub fn age(since: Option<&str>, now: Timestamp) -> String {
    match since.and_then(parse) {
        Some(at) => human_duration(now.duration_since(at)),
        None => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_shows_them() {
        let shown = |seconds| human_duration(SignedDuration::from_secs(seconds));
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(119), "119s");
        assert_eq!(shown(120), "2m");
        assert_eq!(shown(303), "5m3s");
        assert_eq!(shown(600), "10m");
        assert_eq!(shown(3 * 3600), "3h");
        assert_eq!(shown(3 * 3600 + 60), "3h1m");
        assert_eq!(shown(47 * 3600), "47h");
        assert_eq!(shown(49 * 3600), "2d1h");
        assert_eq!(shown(30 * 86400), "30d");
        assert_eq!(shown(3 * 365 * 86400 + 86400), "3y1d");
        assert_eq!(shown(-10), "<invalid>");
    }

    #[test]
    fn times_are_written_in_utc() {
        let at = parse("2026-01-02T05:04:05.1234567+02:00").unwrap();
        assert_eq!(rfc3339(at), "2026-01-02T03:04:05Z");
        assert_eq!(rfc3339_micro(at), "2026-01-02T03:04:05.123456Z");
        assert_eq!(rfc3339_millis(1_767_323_045_120).unwrap(), "2026-01-02T03:04:05.120Z");
        assert_eq!(rfc3339_millis(u64::MAX), None);
    }
}
