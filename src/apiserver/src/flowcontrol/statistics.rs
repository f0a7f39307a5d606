//! `apiserver_flowcontrol_*`.

use super::configuration::Configuration;
use super::level::Level;
use super::queue_set::Reason;
use crate::metrics::{Histogram, head};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

const DURATION_SECONDS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const QUEUE_LENGTH: &[f64] = &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SEATS: &[f64] = &[1.0, 2.0, 4.0, 10.0];
/// Pairs of level and schema that are counted; more than anybody makes, and a bound on what can be made.
const PAIRS_MAX: usize = 500;

const REASONS: [(Reason, &str); 4] = [
    (Reason::QueueFull, "queue-full"),
    (Reason::ConcurrencyLimit, "concurrency-limit"),
    (Reason::TimeOut, "time-out"),
    (Reason::Cancelled, "cancelled"),
];

/// Name, help, and where the value is.
type Gauge = (&'static str, &'static str, fn(&Statistics) -> &AtomicI64);
/// A histogram with one set of labels.
type Single = (&'static str, &'static str, fn(&Statistics) -> &Histogram);
/// A histogram with two values of a label more.
type Pair = (&'static str, &'static str, fn(&Statistics) -> [(&'static str, &Histogram); 2]);

/// Counts of one schema's requests at one level.
pub(super) struct Statistics {
    dispatched: AtomicU64,
    rejected: [AtomicU64; REASONS.len()],
    executing: AtomicI64,
    executing_seats: AtomicI64,
    in_queue: AtomicI64,
    waited: [Histogram; 2],
    executed: [Histogram; 2],
    queue_length: Histogram,
    seats: Histogram,
}

impl Default for Statistics {
    fn default() -> Self {
        let durations = || Histogram::new(DURATION_SECONDS);
        Self {
            dispatched: AtomicU64::default(),
            rejected: Default::default(),
            executing: AtomicI64::default(),
            executing_seats: AtomicI64::default(),
            in_queue: AtomicI64::default(),
            waited: [durations(), durations()],
            executed: [durations(), durations()],
            queue_length: Histogram::new(QUEUE_LENGTH),
            seats: Histogram::new(SEATS),
        }
    }
}

/// Counts a request as waiting while it lives. Unless it was let in or refused, it was given up.
pub(super) struct InQueue(Arc<Statistics>);

impl Drop for InQueue {
    fn drop(&mut self) {
        self.0.in_queue.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Statistics {
    pub(super) fn begin(&self, seats: u32) {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        self.executing.fetch_add(1, Ordering::Relaxed);
        self.executing_seats.fetch_add(i64::from(seats), Ordering::Relaxed);
        self.seats.observe(f64::from(seats));
    }

    pub(super) fn end(&self, seats: u32, watch: bool, took: Duration) {
        self.executing.fetch_sub(1, Ordering::Relaxed);
        self.executing_seats.fetch_sub(i64::from(seats), Ordering::Relaxed);
        let [regular, of_watches] = &self.executed;
        if watch { of_watches } else { regular }.observe(took.as_secs_f64());
    }

    pub(super) fn enqueue(self: &Arc<Self>, length: usize) -> InQueue {
        self.in_queue.fetch_add(1, Ordering::Relaxed);
        self.queue_length.observe(length as f64);
        InQueue(Arc::clone(self))
    }

    pub(super) fn waited(&self, executes: bool, how_long: Duration) {
        let [refused, executed] = &self.waited;
        if executes { executed } else { refused }.observe(how_long.as_secs_f64());
    }

    pub(super) fn reject(&self, why: Reason) {
        for ((reason, _), count) in REASONS.iter().zip(&self.rejected) {
            if *reason == why {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Counts by level and schema. They outlive the objects.
#[derive(Default)]
pub(super) struct AllStatistics(Mutex<BTreeMap<(String, String), Arc<Statistics>>>);

impl AllStatistics {
    /// The counts of a schema at a level.
    pub(super) fn of(&self, level: &str, schema: &str) -> Arc<Statistics> {
        let mut all = self.0.lock();
        let key = (level.to_owned(), schema.to_owned());
        if let Some(known) = all.get(&key) {
            return Arc::clone(known);
        }
        let new = Arc::<Statistics>::default();
        if all.len() < PAIRS_MAX {
            all.insert(key, Arc::clone(&new));
        }
        new
    }

    /// How many requests a level has started, refused at once, let wait too long, and lost to their clients.
    pub(super) fn totals(&self, level: &str) -> [u64; 4] {
        let mut totals = [0; 4];
        for (_, one) in self.0.lock().iter().filter(|(key, _)| key.0 == level) {
            let [full, limit, time_out, cancelled] =
                one.rejected.each_ref().map(|n| n.load(Ordering::Relaxed));
            let one = [one.dispatched.load(Ordering::Relaxed), full + limit, time_out, cancelled];
            for (total, count) in totals.iter_mut().zip(one) {
                *total += count;
            }
        }
        totals
    }

    /// Writes everything in Prometheus' form.
    pub(super) fn write(&self, out: &mut String, configuration: &Configuration) -> std::fmt::Result {
        let all: Vec<_> = self.0.lock().iter().map(|(key, one)| (key.clone(), Arc::clone(one))).collect();
        let pairs: Vec<(String, &Statistics)> = all
            .iter()
            .map(|((level, schema), one)| {
                (format!("flow_schema=\"{schema}\",priority_level=\"{level}\""), &**one)
            })
            .collect();
        self.write_pairs(out, &pairs)?;
        write_levels(out, configuration)
    }

    fn write_pairs(&self, out: &mut String, pairs: &[(String, &Statistics)]) -> std::fmt::Result {
        const PREFIX: &str = "apiserver_flowcontrol";
        head(
            out,
            "apiserver_flowcontrol_dispatched_requests_total",
            "counter",
            "Requests that were started.",
        )?;
        for (labels, one) in pairs {
            let count = one.dispatched.load(Ordering::Relaxed);
            writeln!(out, "{PREFIX}_dispatched_requests_total{{{labels}}} {count}")?;
        }
        head(out, "apiserver_flowcontrol_rejected_requests_total", "counter", "Requests that were refused.")?;
        for (labels, one) in pairs {
            for ((_, reason), count) in REASONS.iter().zip(&one.rejected) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    writeln!(
                        out,
                        "{PREFIX}_rejected_requests_total{{{labels},reason=\"{reason}\"}} {count}"
                    )?;
                }
            }
        }
        let gauges: [Gauge; 3] = [
            ("current_executing_requests", "Requests under way.", |one| &one.executing),
            ("current_executing_seats", "Seats in use.", |one| &one.executing_seats),
            ("current_inqueue_requests", "Requests that wait.", |one| &one.in_queue),
        ];
        for (name, help, gauge) in gauges {
            head(out, &format!("{PREFIX}_{name}"), "gauge", help)?;
            for (labels, one) in pairs {
                writeln!(out, "{PREFIX}_{name}{{{labels}}} {}", gauge(one).load(Ordering::Relaxed))?;
            }
        }
        let histograms: [Pair; 2] = [
            ("request_wait_duration_seconds", "Time in a queue.", |one| {
                let [refused, executed] = &one.waited;
                [(",execute=\"false\"", refused), (",execute=\"true\"", executed)]
            }),
            ("request_execution_seconds", "Time under way; of a watch, until it has begun.", |one| {
                let [regular, watches] = &one.executed;
                [(",type=\"regular\"", regular), (",type=\"watch\"", watches)]
            }),
        ];
        for (name, help, both) in histograms {
            let name = format!("{PREFIX}_{name}");
            head(out, &name, "histogram", help)?;
            for (labels, one) in pairs {
                for (more, histogram) in both(one) {
                    histogram.write(out, &name, &format!("{labels}{more}"))?;
                }
            }
        }
        let histograms: [Single; 2] = [
            ("request_queue_length_after_enqueue", "Length of a queue as a request finds it.", |one| {
                &one.queue_length
            }),
            ("work_estimated_seats", "How wide requests are taken to be.", |one| &one.seats),
        ];
        for (name, help, histogram) in histograms {
            let name = format!("{PREFIX}_{name}");
            head(out, &name, "histogram", help)?;
            for (labels, one) in pairs {
                histogram(one).write(out, &name, labels)?;
            }
        }
        Ok(())
    }
}

fn write_levels(out: &mut String, configuration: &Configuration) -> std::fmt::Result {
    let levels: Vec<(&str, super::level::LevelView)> =
        configuration.levels.values().map(|level: &Arc<Level>| (level.name.as_str(), level.view())).collect();
    type Value = fn(&super::level::LevelView) -> f64;
    let gauges: [(&str, &str, Value); 7] = [
        ("nominal_limit_seats", "Seats while nobody lends.", |l| f64::from(l.seats.nominal)),
        ("lower_limit_seats", "Seats that are not lent.", |l| f64::from(l.seats.least)),
        ("upper_limit_seats", "Seats with all that may be borrowed.", |l| f64::from(l.seats.most)),
        ("current_limit_seats", "Seats there are now.", |l| f64::from(l.limit)),
        ("request_concurrency_limit", "Seats while nobody lends.", |l| f64::from(l.seats.nominal)),
        ("current_r", "Virtual time in seat-seconds.", |l| l.virtual_time as f64 / 1e9),
        ("request_dispatch_no_accommodation_total", "Times the next request did not fit.", |l| {
            l.unaccommodated as f64
        }),
    ];
    for (name, help, value) in gauges {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        head(out, &format!("apiserver_flowcontrol_{name}"), kind, help)?;
        for (level, view) in &levels {
            writeln!(out, "apiserver_flowcontrol_{name}{{priority_level=\"{level}\"}} {}", value(view))?;
        }
    }
    Ok(())
}
