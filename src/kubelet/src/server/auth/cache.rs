//! Answers of the API server, kept for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Entries at most: a flood of made-up tokens must not grow it without end.
const CAPACITY: usize = 4096;

/// A bounded map whose entries expire.
pub(super) struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let entries = self.0.lock();
        entries.get(key).filter(|(expires, _)| *expires > Instant::now()).map(|(_, value)| value.clone())
    }

    pub(super) fn insert(&self, key: K, value: V, ttl: Duration) {
        let now = Instant::now();
        let mut entries = self.0.lock();
        if entries.len() >= CAPACITY {
            entries.retain(|_, (expires, _)| *expires > now);
            if entries.len() >= CAPACITY {
                entries.clear();
            }
        }
        entries.insert(key, (now + ttl, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_expire_and_never_pass_the_bound() {
        let cache = Cache::new();
        cache.insert(0, "a", Duration::from_secs(1));
        assert_eq!(cache.get(&0), Some("a"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(cache.get(&0), None);
        for key in 0..3 * CAPACITY {
            cache.insert(key, "b", Duration::from_secs(60));
        }
        assert!(cache.0.lock().len() <= CAPACITY);
    }
}
