//! How long a refused client is told to wait (`Retry-After`): it doubles while a level refuses many and shrinks by one
//! while it refuses few, as windows of TCP do the other way around.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go`.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Upstream's bounds, in seconds.
const SHORTEST: u64 = 1;
const LONGEST: u64 = 32;

/// What levels have refused of late.
pub(super) struct RetryAfter {
    began: Instant,
    levels: Mutex<HashMap<String, Refusals>>,
}

impl RetryAfter {
    /// Nothing was refused yet.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), levels: Mutex::default() }
    }

    /// Counts a refusal of a level. Returns the seconds that its client should wait.
    pub(super) fn refused(&self, level: &str) -> u64 {
        // What lies before the start must not look like the present second.
        let second = (self.began.elapsed() + Duration::from_secs(LONGEST)).as_secs();
        let mut levels = self.levels.lock();
        match levels.get_mut(level) {
            Some(refusals) => refusals.count(second),
            None => levels.entry(level.to_owned()).or_default().count(second),
        }
    }
}

/// The refusals of one level.
struct Refusals {
    /// Past seconds with refusals and how many, oldest first.
    history: VecDeque<(u64, u64)>,
    /// The present second and how many.
    current: (u64, u64),
    wait: u64,
    lengthened: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { history: VecDeque::new(), current: (0, 0), wait: SHORTEST, lengthened: 0 }
    }
}

impl Refusals {
    fn count(&mut self, second: u64) -> u64 {
        // Somebody else may have come from the next second already.
        if second <= self.current.0 {
            self.current.1 += 1;
            return self.wait;
        }
        self.history.push_back(std::mem::replace(&mut self.current, (second, 1)));
        while self.history.front().is_some_and(|(at, _)| second - at > LONGEST) {
            self.history.pop_front();
        }
        // The present second has only begun: what counts are the last ones before it.
        let recent = self.history.iter().filter(|(at, _)| second - at <= self.wait);
        let refused: u64 = recent.map(|(_, count)| count).sum();
        if second - self.lengthened >= self.wait && refused >= 3 * self.wait {
            self.wait = (self.wait * 2).min(LONGEST);
            self.lengthened = second;
        } else if refused < self.wait && self.wait > SHORTEST {
            self.wait -= 1;
        }
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn many(retry: &RetryAfter, count: usize) -> u64 {
        let mut told = 0;
        for _ in 0..count {
            told = retry.refused("l");
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_doubles_while_many_are_refused_and_shrinks_by_one_when_few_are() {
        let retry = RetryAfter::new();
        assert_eq!(many(&retry, 50).await, 1, "the first second tells nothing yet");
        let mut told = Vec::new();
        for _ in 0..70 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let now = many(&retry, 100).await;
            if told.last() != Some(&now) {
                told.push(now);
            }
        }
        assert_eq!(told, [2, 4, 8, 16, 32]);
        assert_eq!(retry.refused("other"), 1, "levels are apart");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(many(&retry, 1).await, 31);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(many(&retry, 1).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn one_spike_lengthens_once() {
        let retry = RetryAfter::new();
        many(&retry, 100).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(many(&retry, 1).await, 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(many(&retry, 1).await, 2);
    }
}
