//! Whether a cache has caught up with what one has written oneself.
//!
//! A controller that acts on a state older than its own last write would act twice, and its next write would be
//! a conflict. It can simply wait: the write's event is on its way and brings the key back.

use std::collections::HashMap;

use kube::Resource;
use parking_lot::Mutex;

use crate::ObjectKey;

/// The newest versions that were written, by key.
#[derive(Default)]
pub struct OwnWrites {
    latest: Mutex<HashMap<ObjectKey, u64>>,
}

impl OwnWrites {
    /// Nothing was written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// This is what the server answered to a write.
    pub fn note<K: Resource>(&self, written: &K) {
        if let Some(version) = version(written) {
            let mut latest = self.latest.lock();
            let known = latest.entry(ObjectKey::of(written)).or_insert(0);
            *known = version.max(*known);
        }
    }

    /// Whether an object from a cache is older than what was written.
    ///
    /// Versions are compared as numbers, which clients may do (KEP-5504).
    pub fn is_behind<K: Resource>(&self, cached: &K) -> bool {
        let key = ObjectKey::of(cached);
        let mut latest = self.latest.lock();
        let Some(written) = latest.get(&key) else { return false };
        let behind = version(cached).is_some_and(|version| version < *written);
        if !behind {
            latest.remove(&key);
        }
        behind
    }

    /// The object is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.latest.lock().remove(key);
    }
}

fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    #[test]
    fn a_cache_is_behind_until_it_shows_the_last_write() {
        let pod = |version: &str| Pod {
            metadata: ObjectMeta {
                name: Some("p".into()),
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        };
        let writes = OwnWrites::new();
        assert!(!writes.is_behind(&pod("5")));
        writes.note(&pod("10"));
        assert!(writes.is_behind(&pod("9")));
        assert!(!writes.is_behind(&pod("11")));
        assert!(!writes.is_behind(&pod("9")), "once caught up it is forgotten");
        writes.note(&pod("opaque"));
        assert!(!writes.is_behind(&pod("1")));
    }
}
