//! A queue of keys to work on: each at most once at a time, with delays and back-off.
//!
//! Guarantees: a key added while it is queued is queued once; a key added while it is being processed is queued
//! again when that is done; so no two workers hold one key, and no addition is lost.
//!
//! There is no task behind the queue. Whoever waits in [`WorkQueue::get`] also waits for the earliest delay, so
//! an idle queue costs nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::metrics::queues::{self, Look, PROCESS, QueueMetrics};

/// First delay of a failing key (client-go's default controller rate limiter).
const BASE_DELAY: Duration = Duration::from_millis(5);
/// Longest delay of a failing key: a bit under 17 minutes (client-go's value).
const MAX_DELAY: Duration = Duration::from_secs(1000);
/// Retries per second of all keys together once the burst is used up (client-go's value).
const BUCKET_RATE: f64 = 10.0;
/// Retries that may happen at once (client-go's value).
const BUCKET_BURST: f64 = 100.0;

/// A deduplicating queue; clones share it.
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    // Queued or wanted again, and since when: what a call to `add` need not add.
    dirty: HashMap<T, Instant>,
    // In work, and since when.
    processing: HashMap<T, Instant>,
    delayed: BTreeMap<(Instant, u64), T>,
    delayed_until: HashMap<T, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<T, u32>,
    bucket: Bucket,
    closed: bool,
    metrics: Option<Arc<QueueMetrics>>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T: Clone + Eq + Hash> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::with(None)
    }

    fn with(metrics: Option<Arc<QueueMetrics>>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            delayed: BTreeMap::new(),
            delayed_until: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            bucket: Bucket { tokens: BUCKET_BURST, at: None },
            closed: false,
            metrics,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), wake: Notify::new() }) }
    }

    /// Queues a key, unless it is queued already.
    pub fn add(&self, key: T) {
        self.shared.state.lock().add(key, Instant::now());
        self.shared.wake.notify_one();
    }

    /// Queues a key after a delay. Of several delays for a key the shortest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        {
            let (mut state, now) = (self.shared.state.lock(), Instant::now());
            if let Some(metrics) = &state.metrics {
                metrics.retries.fetch_add(1, Ordering::Relaxed);
            }
            if delay.is_zero() {
                state.add(key, now);
            } else {
                state.delay(key, now + delay);
            }
        }
        self.shared.wake.notify_one();
    }

    /// Queues a key that failed, after a delay that doubles with each failure until [`WorkQueue::forget`].
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let exponential =
                BASE_DELAY.saturating_mul(2u32.saturating_pow((*failures).min(31))).min(MAX_DELAY);
            *failures = failures.saturating_add(1);
            exponential.max(state.bucket.reserve(Instant::now()))
        };
        self.add_after(key, delay);
    }

    /// Ends the series of failures of a key.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often a key has failed since it was last forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key; the caller must say [`WorkQueue::done`] with it. `None` once the queue is closed.
    ///
    /// Cancel safe: a key is taken only when it is returned.
    pub async fn get(&self) -> Option<T> {
        loop {
            let mut notified = std::pin::pin!(self.shared.wake.notified());
            notified.as_mut().enable();
            let next_delay = {
                let mut state = self.shared.state.lock();
                if state.closed {
                    return None;
                }
                let now = Instant::now();
                state.promote(now);
                if let Some(key) = state.take(now) {
                    let more = !state.ready.is_empty();
                    drop(state);
                    if more {
                        // Several additions may have become one notification.
                        self.shared.wake.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match next_delay {
                Some(at) => {
                    tokio::select! {
                        () = &mut notified => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => notified.await,
            }
        }
    }

    /// The key has been processed; if it was added meanwhile it is queued now.
    pub fn done(&self, key: &T) {
        let mut state = self.shared.state.lock();
        let since = state.processing.remove(key);
        if let (Some(metrics), Some(since)) = (&state.metrics, since) {
            metrics.worked.observe(since.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// Keys ready to be worked on (without those delayed or in work).
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: every [`WorkQueue::get`] returns `None` from now on.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_waiters();
        self.shared.wake.notify_one();
    }
}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> WorkQueue<T> {
    /// An empty queue that `workqueue_*` tells of under a name.
    pub fn named(name: &'static str) -> Self {
        let metrics = PROCESS.named(name);
        let queue = Self::with(Some(Arc::clone(&metrics)));
        let shared: Arc<dyn Look> = queue.shared.clone();
        metrics.watch(Arc::downgrade(&shared));
        queue
    }
}

impl<T: Send + Sync> Look for Shared<T> {
    fn look(&self, now: Instant) -> queues::State {
        let state = self.state.lock();
        let running = |since: &Instant| now.saturating_duration_since(*since).as_secs_f64();
        queues::State {
            depth: state.ready.len(),
            unfinished_seconds: state.processing.values().map(running).sum(),
            longest_seconds: state.processing.values().map(running).fold(0.0, f64::max),
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T, now: Instant) {
        if self.dirty.contains_key(&key) {
            return;
        }
        if let Some(metrics) = &self.metrics {
            metrics.adds.fetch_add(1, Ordering::Relaxed);
        }
        self.dirty.insert(key.clone(), now);
        if !self.processing.contains_key(&key) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: T, at: Instant) {
        if let Some(known) = self.delayed_until.get(&key) {
            if known.0 <= at {
                return;
            }
            self.delayed.remove(&known.clone());
        }
        self.sequence += 1;
        let slot = (at, self.sequence);
        self.delayed_until.insert(key.clone(), slot);
        self.delayed.insert(slot, key);
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            self.delayed_until.remove(&key);
            self.add(key, now);
        }
    }

    fn take(&mut self, now: Instant) -> Option<T> {
        let key = self.ready.pop_front()?;
        if let (Some(since), Some(metrics)) = (self.dirty.remove(&key), &self.metrics) {
            metrics.queued.observe((now - since).as_secs_f64());
        }
        self.processing.insert(key.clone(), now);
        Some(key)
    }
}

/// A token bucket that hands out waiting times.
struct Bucket {
    tokens: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn reserve(&mut self, now: Instant) -> Duration {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * BUCKET_RATE).min(BUCKET_BURST) - 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / BUCKET_RATE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_worked_on_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.get().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_in_work_comes_again_after_done() {
        let queue = WorkQueue::new();
        queue.add(1);
        assert_eq!(queue.get().await, Some(1));
        queue.add(1);
        assert!(queue.is_empty());
        queue.done(&1);
        assert_eq!(queue.get().await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_delay_counts_and_time_passes_in_get() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("slow", Duration::from_secs(60));
        queue.add_after("slow", Duration::from_secs(5));
        queue.add_after("slow", Duration::from_secs(30));
        assert_eq!(queue.get().await, Some("slow"));
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&"slow");
        assert!(tokio::time::timeout(Duration::from_secs(120), queue.get()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_exponentially_until_forgotten() {
        let queue = WorkQueue::new();
        let mut waits = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            queue.add_rate_limited("x");
            assert_eq!(queue.get().await, Some("x"));
            queue.done(&"x");
            waits.push(start.elapsed().as_millis());
        }
        assert_eq!(waits, [5, 10, 20, 40, 80]);
        assert_eq!(queue.failures(&"x"), 5);
        queue.forget(&"x");
        assert_eq!(queue.failures(&"x"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_retries_is_held_to_the_bucket_rate() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        for key in 0..120 {
            queue.add_rate_limited(key);
        }
        for _ in 0..120 {
            let key = queue.get().await.unwrap();
            queue.done(&key);
        }
        // 100 at once, 20 more at ten per second.
        assert!((1.9..2.2).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn every_waiting_worker_wakes_when_several_keys_arrive() {
        let queue = WorkQueue::new();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        for key in 0..4 {
            queue.add(key);
        }
        let mut seen = Vec::new();
        for worker in workers {
            seen.push(worker.await.unwrap().unwrap());
        }
        seen.sort();
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_named_queue_does_is_told() {
        let queue = WorkQueue::named("test-queue");
        for key in ["a", "b", "a"] {
            queue.add(key);
        }
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(queue.get().await, Some("a"));
        tokio::time::advance(second * 2).await;
        queue.done(&"a");
        queue.add_rate_limited("a");
        assert_eq!(queue.get().await, Some("b"));
        tokio::time::advance(second * 5).await;
        let told = |line: &str| {
            let mut out = String::new();
            crate::metrics::write(&mut out).unwrap();
            let line = format!("{line} ");
            let found = out.lines().find_map(|told| told.strip_prefix(&line)).map(str::to_owned);
            found.unwrap_or_else(|| panic!("no {line}in {out}"))
        };
        let of = |metric: &str| told(&format!("workqueue_{metric}{{name=\"test-queue\"}}"));
        // The retry is ready as soon as somebody looks for work.
        assert_eq!(
            (of("adds_total"), of("depth"), of("retries_total")),
            ("2".into(), "0".into(), "1".into())
        );
        assert_eq!(of("unfinished_work_seconds"), "5");
        assert_eq!(of("longest_running_processor_seconds"), "5");
        assert_eq!(of("queue_duration_seconds_sum"), "4");
        assert_eq!(of("work_duration_seconds_sum"), "2");
        assert_eq!(told("workqueue_work_duration_seconds_bucket{name=\"test-queue\",le=\"1\"}"), "0");
        assert_eq!(told("workqueue_work_duration_seconds_bucket{name=\"test-queue\",le=\"10\"}"), "1");
        let again = WorkQueue::named("test-queue");
        again.add("c");
        assert_eq!((of("adds_total"), of("depth")), ("3".into(), "1".into()), "the next one counts on");
        drop((queue, again));
        assert_eq!((of("adds_total"), of("unfinished_work_seconds")), ("3".into(), "0".into()));
    }

    #[tokio::test]
    async fn closing_ends_all_waits() {
        let queue = WorkQueue::<u8>::new();
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { queue.get().await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert_eq!(waiter.await.unwrap(), None);
        assert_eq!(queue.get().await, None);
    }
}
