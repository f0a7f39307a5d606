//! How often what failed was tried, and when it may be tried again.

use client::ObjectKey;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The longest wait between attempts.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Failures of all charts.
pub struct Attempts {
    /// Wait after the first failure, doubled after each.
    first: Duration,
    failed: Mutex<HashMap<ObjectKey, Failed>>,
}

struct Failed {
    /// The digest of what was tried.
    hash: String,
    count: u32,
    next: Instant,
}

impl Attempts {
    /// None yet.
    pub fn new(first: Duration) -> Self {
        Self { first, failed: Mutex::default() }
    }

    /// Counts a failure; answers how many there were of the same, and how long to wait.
    pub fn failed(&self, key: &ObjectKey, hash: &str) -> (u32, Duration) {
        let mut all = self.failed.lock();
        let before = all.get(key).filter(|before| before.hash == hash).map_or(0, |before| before.count);
        let wait = self.first.saturating_mul(1 << before.min(8)).min(MAX_WAIT);
        let count = before.saturating_add(1);
        all.insert(key.clone(), Failed { hash: hash.to_owned(), count, next: Instant::now() + wait });
        (count, wait)
    }

    /// How long to wait after the last failure of the same, if that is not over. Every status that is written is an event,
    /// which must not bring the next attempt sooner.
    pub fn wait(&self, key: &ObjectKey, hash: &str) -> Option<Duration> {
        let all = self.failed.lock();
        let next = all.get(key).filter(|failed| failed.hash == hash)?.next;
        Some(next.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// It was done, or is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.failed.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_bound_and_are_those_of_what_failed() {
        let (attempts, key) = (Attempts::new(Duration::from_secs(15)), ObjectKey::new("n", "web"));
        assert_eq!(attempts.wait(&key, "a"), None);
        assert_eq!(attempts.failed(&key, "a"), (1, Duration::from_secs(15)));
        assert_eq!(attempts.wait(&key, "a"), Some(Duration::from_secs(15)));
        assert_eq!(attempts.wait(&key, "b"), None);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(attempts.wait(&key, "a"), None);
        assert_eq!(attempts.failed(&key, "a"), (2, Duration::from_secs(30)));
        for count in 3..100 {
            assert_eq!(attempts.failed(&key, "a").0, count);
        }
        assert_eq!(attempts.wait(&key, "a"), Some(MAX_WAIT));
        assert_eq!(attempts.failed(&key, "b"), (1, Duration::from_secs(15)));
        attempts.forget(&key);
        assert_eq!(attempts.failed(&key, "b").0, 1);
    }
}
