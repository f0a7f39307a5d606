//! How long the store takes for writes. Reads are answered from memory and not measured: that would cost more than
//! they do.

use apimachinery::metrics::{Histogram, head};
use async_trait::async_trait;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use storage::{
    Authors, Encoded, List, ListOptions, Object, Storage, StorageError, Watch, WatchFrom, resource_prefix,
};
use tokio::time::Instant;

/// Upper bounds of upstream's `etcd_request_duration_seconds`.
const DURATION_SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
const OPERATIONS: [&str; 3] = ["create", "update", "delete"];

type ByResource = BTreeMap<String, Arc<Histogram>>;

/// Durations by operation and resource.
#[derive(Default)]
pub(crate) struct StorageMetrics {
    durations: [RwLock<ByResource>; OPERATIONS.len()],
}

impl StorageMetrics {
    fn observe(&self, operation: usize, key: &str, took: Duration) {
        let (Some(durations), Ok(prefix)) = (self.durations.get(operation), resource_prefix(key)) else {
            return;
        };
        if let Some(known) = durations.read().get(prefix) {
            return known.observe(took.as_secs_f64());
        }
        let mut durations = durations.write();
        let new = || Arc::new(Histogram::new(DURATION_SECONDS));
        durations.entry(prefix.to_owned()).or_insert_with(new).observe(took.as_secs_f64());
    }

    /// Writes the durations.
    pub(crate) fn write(&self, out: &mut String) -> std::fmt::Result {
        const NAME: &str = "etcd_request_duration_seconds";
        head(out, NAME, "histogram", "Time that the store took for writes.")?;
        for (operation, durations) in OPERATIONS.iter().zip(&self.durations) {
            for (prefix, histogram) in &*durations.read() {
                let mut labels = String::new();
                let mut segments = prefix.split('/').skip(2);
                let group = segments.next().filter(|group| *group != "core").unwrap_or("");
                let resource = segments.next().unwrap_or("");
                write!(labels, "group=\"{group}\",operation=\"{operation}\",resource=\"{resource}\"")?;
                histogram.write(out, NAME, &labels)?;
            }
        }
        Ok(())
    }
}

/// A store whose writes are measured.
pub(crate) struct Metered {
    inner: Arc<dyn Storage>,
    metrics: Arc<StorageMetrics>,
}

impl Metered {
    /// Measures the writes of a store.
    pub(crate) fn new(inner: Arc<dyn Storage>, metrics: Arc<StorageMetrics>) -> Self {
        Self { inner, metrics }
    }

    async fn measured<T>(&self, operation: usize, key: &str, work: impl Future<Output = T> + Send) -> T {
        let began = Instant::now();
        let done = work.await;
        self.metrics.observe(operation, key, began.elapsed());
        done
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StorageError>> + Send + 'a>>;

#[async_trait]
impl Storage for Metered {
    async fn create(&self, key: &str, object: Encoded) -> Result<Arc<Object>, StorageError> {
        self.measured(0, key, self.inner.create(key, object)).await
    }

    async fn update(&self, key: &str, expected: u64, object: Encoded) -> Result<Arc<Object>, StorageError> {
        self.measured(1, key, self.inner.update(key, expected, object)).await
    }

    async fn delete(&self, key: &str, expected_revision: u64) -> Result<Arc<Object>, StorageError> {
        self.measured(2, key, self.inner.delete(key, expected_revision)).await
    }

    // Those that follow are handed on without a future of their own.

    fn get<'a, 'b, 'c>(&'a self, key: &'b str) -> Answer<'c, Option<Arc<Object>>>
    where
        'a: 'c,
        'b: 'c,
    {
        self.inner.get(key)
    }

    fn list<'a, 'b, 'c>(&'a self, prefix: &'b str, options: ListOptions) -> Answer<'c, List>
    where
        'a: 'c,
        'b: 'c,
    {
        self.inner.list(prefix, options)
    }

    fn watch<'a, 'b, 'c>(&'a self, prefix: &'b str, from: WatchFrom) -> Answer<'c, Watch>
    where
        'a: 'c,
        'b: 'c,
    {
        self.inner.watch(prefix, from)
    }

    fn count<'a, 'b, 'c>(&'a self, prefix: &'b str) -> Answer<'c, u64>
    where
        'a: 'c,
        'b: 'c,
    {
        self.inner.count(prefix)
    }

    fn authors<'a, 'b, 'c>(
        &'a self,
        prefix: &'b str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Answer<'c, Authors>
    where
        'a: 'c,
        'b: 'c,
    {
        self.inner.authors(prefix, after, up_to, limit)
    }

    fn recent(&self, key: &str) -> Result<Option<Arc<Object>>, StorageError> {
        self.inner.recent(key)
    }

    fn revision(&self) -> u64 {
        self.inner.revision()
    }

    fn compacted_revision(&self) -> u64 {
        self.inner.compacted_revision()
    }

    async fn is_stale(&self, key: &str) -> bool {
        self.inner.is_stale(key).await
    }

    async fn compact(&self, revision: u64) -> Result<(), StorageError> {
        self.inner.compact(revision).await
    }
}
