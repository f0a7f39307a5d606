//! Exponential back-off of restarts and pulls. Pure: the caller brings the clock.

use std::collections::HashMap;
use std::time::Duration;

/// The first pause after a failure.
const FIRST: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);
/// After this long without a failure the next one counts as the first: twice the longest pause.
const RESET: Duration = Duration::from_secs(600);

/// Pauses by key. Times are durations since a fixed start.
#[derive(Debug, Default)]
pub struct Backoff {
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    pause: Duration,
    updated: Duration,
}

impl Backoff {
    /// How much of the pause since the failure at `failed` is left; the whole pause comes along for messages.
    pub fn remaining(&self, key: &str, failed: Duration, now: Duration) -> Option<Remaining> {
        let entry = self.entries.get(key).filter(|entry| !entry.is_expired(now))?;
        let until = failed.saturating_add(entry.pause);
        (now < until).then(|| Remaining { pause: entry.pause, left: until.saturating_sub(now) })
    }

    /// Notes one more failure at `now`: the pause begins or doubles.
    pub fn next(&mut self, key: &str, now: Duration) {
        let pause = match self.entries.get(key).filter(|entry| !entry.is_expired(now)) {
            Some(entry) => entry.pause.saturating_mul(2).min(LONGEST),
            None => FIRST,
        };
        self.entries.insert(key.to_owned(), Entry { pause, updated: now });
    }

    /// Forgets a key.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// Forgets every key that begins with `prefix`.
    pub fn forget(&mut self, prefix: &str) {
        self.entries.retain(|key, _| !key.starts_with(prefix));
    }
}

/// What is left of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// The whole pause.
    pub pause: Duration,
    /// What is left.
    pub left: Duration,
}

impl Entry {
    fn is_expired(&self, now: Duration) -> bool {
        now.saturating_sub(self.updated) > RESET
    }
}

/// A duration as messages show it: `10s`, `1m20s`, `5m0s`, `1.234s`, `12ms`.
pub fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        let micros = duration.as_micros();
        return match micros {
            0 => "0s".to_owned(),
            1..1000 => format!("{micros}µs"),
            _ => format!("{}ms", duration.as_millis()),
        };
    }
    let millis = duration.subsec_millis();
    let rest = if millis == 0 {
        format!("{}s", seconds % 60)
    } else {
        let text = format!("{:.3}", (seconds % 60) as f64 + f64::from(millis) / 1000.0);
        format!("{}s", text.trim_end_matches('0'))
    };
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.remaining("a", seconds(0), seconds(0)), None);
        let mut pauses = Vec::new();
        for n in 0..7 {
            let now = seconds(n * 100);
            backoff.next("a", now);
            pauses.push(backoff.remaining("a", now, now).unwrap().pause.as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_start_over() {
        let mut backoff = Backoff::default();
        backoff.next("a", seconds(0));
        backoff.next("a", seconds(1));
        backoff.next("a", seconds(700));
        assert_eq!(backoff.remaining("a", seconds(700), seconds(703)).unwrap().left, seconds(7));
    }

    #[test]
    fn durations_read_as_in_go() {
        assert_eq!(show(seconds(10)), "10s");
        assert_eq!(show(seconds(80)), "1m20s");
        assert_eq!(show(seconds(300)), "5m0s");
        assert_eq!(show(Duration::from_millis(1234)), "1.234s");
        assert_eq!(show(Duration::from_millis(250)), "250ms");
    }
}
