//! `workqueue_*`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use apimachinery::metrics::{Histogram, head};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Upstream's bounds: ten nanoseconds to ten seconds.
const SECONDS: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];

/// The queues of this process.
pub(crate) static PROCESS: Queues = Queues::new();

/// Queues by their names.
pub(crate) struct Queues {
    all: Mutex<BTreeMap<&'static str, Arc<QueueMetrics>>>,
}

/// What is counted of the queues of one name. It outlives them: the next leader's queue counts on.
pub(crate) struct QueueMetrics {
    pub(crate) adds: AtomicU64,
    pub(crate) retries: AtomicU64,
    /// How long keys were ready before they were worked on.
    pub(crate) queued: Histogram,
    /// How long they were worked on.
    pub(crate) worked: Histogram,
    queues: Mutex<Vec<Weak<dyn Look>>>,
}

/// How a queue is now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// Keys that are ready.
    pub(crate) depth: usize,
    /// How long all keys that are in work have been so, together.
    pub(crate) unfinished_seconds: f64,
    /// How long the one has that began first.
    pub(crate) longest_seconds: f64,
}

/// A queue, looked at when metrics are written.
pub(crate) trait Look: Send + Sync {
    /// How it is at a time.
    fn look(&self, now: Instant) -> State;
}

impl Queues {
    const fn new() -> Self {
        Self { all: Mutex::new(BTreeMap::new()) }
    }

    /// The metrics of queues of a name.
    pub(crate) fn named(&self, name: &'static str) -> Arc<QueueMetrics> {
        let mut all = self.all.lock();
        let new = || {
            Arc::new(QueueMetrics {
                adds: AtomicU64::new(0),
                retries: AtomicU64::new(0),
                queued: Histogram::new(SECONDS),
                worked: Histogram::new(SECONDS),
                queues: Mutex::default(),
            })
        };
        Arc::clone(all.entry(name).or_insert_with(new))
    }

    /// Writes the metrics of all queues.
    pub(crate) fn write(&self, out: &mut String) -> fmt::Result {
        let all: Vec<_> = self.all.lock().iter().map(|(name, queue)| (*name, Arc::clone(queue))).collect();
        let now = Instant::now();
        let states: Vec<State> = all.iter().map(|(_, queue)| queue.state(now)).collect();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        head(out, "workqueue_adds_total", "counter", "Keys that were added to a queue.")?;
        for (name, queue) in &all {
            writeln!(out, "workqueue_adds_total{{name=\"{name}\"}} {}", count(&queue.adds))?;
        }
        head(out, "workqueue_depth", "gauge", "Keys that wait in a queue.")?;
        for ((name, _), state) in all.iter().zip(&states) {
            writeln!(out, "workqueue_depth{{name=\"{name}\"}} {}", state.depth)?;
        }
        let longest = "workqueue_longest_running_processor_seconds";
        head(out, longest, "gauge", "How long the key has been in work that has been so for longest.")?;
        for ((name, _), state) in all.iter().zip(&states) {
            writeln!(out, "{longest}{{name=\"{name}\"}} {}", state.longest_seconds)?;
        }
        head(out, "workqueue_queue_duration_seconds", "histogram", "How long keys wait in a queue.")?;
        for (name, queue) in &all {
            queue.queued.write(out, "workqueue_queue_duration_seconds", &format!("name=\"{name}\""))?;
        }
        head(out, "workqueue_retries_total", "counter", "Keys that were added with a delay.")?;
        for (name, queue) in &all {
            writeln!(out, "workqueue_retries_total{{name=\"{name}\"}} {}", count(&queue.retries))?;
        }
        let unfinished = "workqueue_unfinished_work_seconds";
        head(out, unfinished, "gauge", "How long all keys in work have been so, together.")?;
        for ((name, _), state) in all.iter().zip(&states) {
            writeln!(out, "{unfinished}{{name=\"{name}\"}} {}", state.unfinished_seconds)?;
        }
        head(out, "workqueue_work_duration_seconds", "histogram", "How long the work on a key takes.")?;
        for (name, queue) in &all {
            queue.worked.write(out, "workqueue_work_duration_seconds", &format!("name=\"{name}\""))?;
        }
        Ok(())
    }
}

impl QueueMetrics {
    /// Has a queue looked at for as long as it lives.
    pub(crate) fn watch(&self, queue: Weak<dyn Look>) {
        let mut queues = self.queues.lock();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(queue);
    }

    fn state(&self, now: Instant) -> State {
        let queues: Vec<_> = self.queues.lock().iter().filter_map(Weak::upgrade).collect();
        queues.iter().map(|queue| queue.look(now)).fold(State::default(), |sum, one| State {
            depth: sum.depth + one.depth,
            unfinished_seconds: sum.unfinished_seconds + one.unfinished_seconds,
            longest_seconds: sum.longest_seconds.max(one.longest_seconds),
        })
    }
}
