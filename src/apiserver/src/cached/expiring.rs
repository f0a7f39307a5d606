//! Answers remembered for a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A map whose entries end. When it is full, what has ended goes; when nothing has, everything.
pub(crate) struct Expiring<K, V> {
    entries: Mutex<HashMap<K, (V, Instant)>>,
    capacity: usize,
}

impl<K: Eq + Hash, V: Clone> Expiring<K, V> {
    /// Holds at most so many entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: Mutex::default(), capacity }
    }

    /// What was put, unless it has ended.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock();
        entries.get(key).filter(|(_, until)| *until > Instant::now()).map(|(value, _)| value.clone())
    }

    /// Remembers a value for a time.
    pub(crate) fn put(&self, key: K, value: V, lifetime: Duration) {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= self.capacity {
            entries.retain(|_, (_, until)| *until > now);
            if entries.len() >= self.capacity {
                entries.clear();
            }
        }
        entries.insert(key, (value, now + lifetime));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_end_and_make_room() {
        let map = Expiring::new(2);
        map.put("a", 1, Duration::from_secs(1));
        map.put("b", 2, Duration::from_secs(9));
        assert_eq!((map.get(&"a"), map.get(&"b")), (Some(1), Some(2)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(map.get(&"a"), None);
        map.put("c", 3, Duration::from_secs(9));
        assert_eq!((map.get(&"b"), map.get(&"c")), (Some(2), Some(3)));
        map.put("d", 4, Duration::from_secs(9));
        assert_eq!((map.get(&"b"), map.get(&"d")), (None, Some(4)));
    }
}
