//! A queue of keys to work on: each at most once at a time, with delays and back-off.
//!
//! Guarantees: a key added while it is queued is queued once; a key added while it is being processed is queued
//! again when that is done; so no two workers hold one key, and no addition is lost.
//!
//! There is no task behind the queue. Whoever waits in [`WorkQueue::get`] also waits for the earliest delay, so
//! an idle queue costs nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

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
    // Queued or wanted again: what a call to `add` need not add.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    delayed_until: HashMap<T, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<T, u32>,
    bucket: Bucket,
    closed: bool,
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
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeMap::new(),
            delayed_until: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            bucket: Bucket { tokens: BUCKET_BURST, at: None },
            closed: false,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), wake: Notify::new() }) }
    }

    /// Queues a key, unless it is queued already.
    pub fn add(&self, key: T) {
        self.shared.state.lock().add(key);
        self.shared.wake.notify_one();
    }

    /// Queues a key after a delay. Of several delays for a key the shortest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        {
            let mut state = self.shared.state.lock();
            if delay.is_zero() {
                state.add(key);
            } else {
                state.delay(key, Instant::now() + delay);
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
                state.promote(Instant::now());
                if let Some(key) = state.take() {
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
        state.processing.remove(key);
        if state.dirty.contains(key) {
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

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        if !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return;
        }
        self.ready.push_back(key);
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
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
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
