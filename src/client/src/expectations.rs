//! What a controller has done that its cache does not show yet.
//!
//! A controller that creates five pods and looks at its cache at once sees none of them and would create five
//! more. So it notes what it expects, and acts again only when the watch has delivered all of it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ObjectKey;

/// Expectations older than this no longer hold a controller up; upstream's value. An event that was lost must
/// not stop a controller for ever.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Expected creations (counted) and deletions (by uid) per controlling object.
#[derive(Default)]
pub struct Expectations {
    entries: Mutex<HashMap<ObjectKey, Entry>>,
}

struct Entry {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// No expectations: everything is satisfied.
    pub fn new() -> Self {
        Self::default()
    }

    /// `count` creations will be seen for `key`.
    pub fn expect_creations(&self, key: &ObjectKey, count: usize) {
        self.change(key, |entry| entry.creations += count);
    }

    /// The objects with these uids will be seen to go.
    pub fn expect_deletions(&self, key: &ObjectKey, uids: impl IntoIterator<Item = String>) {
        self.change(key, |entry| entry.deletions.extend(uids));
    }

    /// A creation was seen, or has failed and will not be.
    pub fn creation_observed(&self, key: &ObjectKey) {
        if let Some(entry) = self.entries.lock().get_mut(key) {
            entry.creations = entry.creations.saturating_sub(1);
        }
    }

    /// A deletion was seen, or has failed and will not be.
    pub fn deletion_observed(&self, key: &ObjectKey, uid: &str) {
        if let Some(entry) = self.entries.lock().get_mut(key) {
            entry.deletions.remove(uid);
        }
    }

    /// Whether nothing is outstanding for `key`, or it has been outstanding for too long.
    pub fn satisfied(&self, key: &ObjectKey) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get(key) else { return true };
        if entry.creations == 0 && entry.deletions.is_empty() {
            entries.remove(key);
            return true;
        }
        entry.since.elapsed() > TIMEOUT
    }

    /// Drops what is known about `key`; for controlling objects that are gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.entries.lock().remove(key);
    }

    fn change(&self, key: &ObjectKey, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries.lock();
        let fresh = || Entry { creations: 0, deletions: HashSet::new(), since: Instant::now() };
        let entry = entries.entry(key.clone()).or_insert_with(fresh);
        entry.since = Instant::now();
        change(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn creations_and_deletions_must_all_be_seen() {
        let expectations = Expectations::new();
        let key = ObjectKey::new("ns", "rs");
        assert!(expectations.satisfied(&key));
        expectations.expect_creations(&key, 2);
        expectations.expect_deletions(&key, ["u1".to_owned()]);
        expectations.creation_observed(&key);
        expectations.creation_observed(&key);
        assert!(!expectations.satisfied(&key));
        expectations.deletion_observed(&key, "u1");
        expectations.deletion_observed(&key, "u1");
        assert!(expectations.satisfied(&key));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_event_holds_up_for_five_minutes_only() {
        let expectations = Expectations::new();
        let key = ObjectKey::new("ns", "rs");
        expectations.expect_creations(&key, 1);
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(!expectations.satisfied(&key));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(expectations.satisfied(&key));
    }
}
