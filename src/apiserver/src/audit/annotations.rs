//! What parts of the server note about a request for its audit event.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Notes are short and few; what is beyond these bounds is a mistake of a webhook or policy, and dropped.
const MAX_COUNT: usize = 64;
const MAX_BYTES: usize = 10 * 1024;

/// The `annotations` of a request's audit event (`audit.k8s.io/v1`), collected while it is answered.
///
/// Nothing is kept when the request is not audited, so that noting costs nothing then.
#[derive(Debug, Default)]
pub struct Annotations {
    notes: Option<Mutex<BTreeMap<String, String>>>,
}

impl Annotations {
    /// For a request that is audited.
    pub fn kept() -> Self {
        Self { notes: Some(Mutex::default()) }
    }

    /// Whether anybody is going to read them: what is expensive to word need not be worded otherwise.
    pub fn are_kept(&self) -> bool {
        self.notes.is_some()
    }

    /// Notes a value under a key such as `authorization.k8s.io/decision`. The first value of a key stays;
    /// returns whether this one did.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) -> bool {
        let Some(notes) = &self.notes else { return false };
        let (key, value) = (key.into(), value.into());
        let mut notes = notes.lock();
        if notes.contains_key(&key) || notes.len() >= MAX_COUNT || value.len() > MAX_BYTES {
            tracing::warn!(key, "an audit annotation is dropped: there is one, or it is too large");
            return false;
        }
        notes.insert(key, value);
        true
    }

    /// All that were noted so far.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.notes.as_ref().map(|notes| notes.lock().clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_key_stays_and_nothing_is_kept_for_nobody() {
        let kept = Annotations::kept();
        assert!(kept.add("a", "1"));
        assert!(!kept.add("a", "2"));
        assert!(!kept.add("b", "x".repeat(MAX_BYTES + 1)));
        assert_eq!(kept.all(), BTreeMap::from([("a".to_owned(), "1".to_owned())]));
        let nobody = Annotations::default();
        assert!(!nobody.add("a", "1"));
        assert!(nobody.all().is_empty());
    }
}
