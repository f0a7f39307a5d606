//! What the server counts (names as CoreDNS' where it has them), and whether it is ready.

use crate::http::Ready;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted and told.
#[derive(Debug, Default)]
pub struct Health {
    /// Set when everything of the cluster has been seen.
    pub ready: Ready,
    requests: AtomicU64,
    failures: AtomicU64,
    cache_hits: AtomicU64,
    forwarded: AtomicU64,
}

impl Health {
    /// A question came.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A question could not be answered.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer came from the cache.
    pub fn count_cache_hit(&self) {
        self.cache_hits.fetch_add(1, Ordering::Relaxed);
    }

    /// An upstream server was asked.
    pub fn count_forwarded(&self) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        [
            ("coredns_dns_requests_total", &self.requests, "Questions that came."),
            ("coredns_dns_failures_total", &self.failures, "Questions that could not be answered."),
            ("coredns_cache_hits_total", &self.cache_hits, "Answers out of the cache."),
            ("coredns_forward_requests_total", &self.forwarded, "Questions to upstream servers."),
        ]
        .iter()
        .map(|(name, value, help)| {
            format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {}\n", value.load(Ordering::Relaxed))
        })
        .collect()
    }
}
