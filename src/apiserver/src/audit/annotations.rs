//! What parts of the server note about a request for its audit events.

use apimachinery::meta;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Notes are short and few; what is beyond these bounds is a mistake of a webhook or policy, and dropped.
const MAX_COUNT: usize = 64;
const MAX_BYTES: usize = 10 * 1024;

/// The `annotations` of a request's audit events (`audit.k8s.io/v1`), collected while it is answered. Clones share
/// what is noted.
///
/// Nothing is kept when the request is not audited, so that noting costs nothing then.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    noted: Option<Arc<Mutex<Noted>>>,
}

/// What was noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
}

impl Annotations {
    /// For a request that is audited.
    pub fn kept() -> Self {
        Self { noted: Some(Arc::default()) }
    }

    /// Whether anybody is going to read them: what is expensive to word need not be worded otherwise.
    pub fn are_kept(&self) -> bool {
        self.noted.is_some()
    }

    /// Notes a value under a key such as `authorization.k8s.io/decision`. The first value of a key stays;
    /// returns whether this one did.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) -> bool {
        let Some(noted) = &self.noted else { return false };
        let (key, value) = (key.into(), value.into());
        let mut noted = noted.lock();
        let notes = &mut noted.annotations;
        if notes.contains_key(&key) || notes.len() >= MAX_COUNT || value.len() > MAX_BYTES {
            tracing::warn!(key, "an audit annotation is dropped: there is one, or it is too large");
            return false;
        }
        notes.insert(key, value);
        true
    }

    /// All that were added so far.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.noted().annotations
    }

    /// Notes which object a request is about, as far as its path does not tell.
    pub(crate) fn about(&self, object: &Value) {
        let Some(noted) = &self.noted else { return };
        let mut noted = noted.lock();
        meta::namespace(object).clone_into(&mut noted.namespace);
        meta::name(object).clone_into(&mut noted.name);
        meta::uid(object).clone_into(&mut noted.uid);
        meta::resource_version(object).clone_into(&mut noted.resource_version);
    }

    pub(super) fn noted(&self) -> Noted {
        self.noted.as_ref().map(|noted| noted.lock().clone()).unwrap_or_default()
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
        assert_eq!(kept.clone().all(), BTreeMap::from([("a".to_owned(), "1".to_owned())]));
        let nobody = Annotations::default();
        assert!(!nobody.add("a", "1"));
        assert!(nobody.all().is_empty());
    }
}
