//! The way of a request through flow control, and lending between levels.

use super::allocation::lend;
use super::configuration::{Configuration, Objects};
use super::level::{About, Coming, Level, Permit};
use super::retry_after::RetryAfter;
use super::statistics::AllStatistics;
use super::watchers::Watchers;
use super::work::Work;
use crate::authentication::UserInfo;
use crate::endpoints::RequestInfo;
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often seats are lent and given back while there is a rush (upstream's interval).
const LENDING_INTERVAL: Duration = Duration::from_secs(10);
/// The longest that a request waits for a seat.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// A request that waits for a seat keeps most of its time for its work (upstream's quarter).
const PATIENCE_PART: u32 = 4;

/// Flow control of a server.
pub(crate) struct FlowControl {
    /// All seats there are.
    total: u32,
    objects: Mutex<Objects>,
    configuration: RwLock<Arc<Configuration>>,
    statistics: AllStatistics,
    retry_after: RetryAfter,
    /// Whether somebody sees to it that what is lent is given back.
    lending: AtomicBool,
    watchers: Watchers,
}

/// What came of a request's arrival.
pub(crate) struct Outcome {
    /// The uids of the schema and of the level, for the headers of the answer.
    pub(crate) uids: Option<(HeaderValue, HeaderValue)>,
    /// Seats, or when the request is refused the seconds that its client should wait.
    pub(crate) permit: Result<Permit, u64>,
}

impl FlowControl {
    /// Flow control with so many seats; before it knows the objects it has what upstream calls mandatory.
    pub(crate) fn new(total: u32) -> Arc<Self> {
        let statistics = AllStatistics::default();
        let objects = Objects::default();
        let configuration = Configuration::new(&objects, &Configuration::default(), total, &statistics);
        Arc::new(Self {
            total,
            objects: Mutex::new(objects),
            configuration: RwLock::new(Arc::new(configuration)),
            statistics,
            retry_after: RetryAfter::new(),
            lending: AtomicBool::new(false),
            watchers: Watchers::default(),
        })
    }

    /// The watches of this server.
    pub(crate) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Waits for seats. `timeout` is the time that the whole request has.
    ///
    /// # Cost
    /// While there are seats: matching against the schemas, two short locks, no allocation but for two headers'
    /// counts.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        user: &UserInfo,
        info: &RequestInfo,
        wanted: Work,
        timeout: Duration,
    ) -> Outcome {
        let configuration = self.configuration();
        let Some(schema) = configuration.classify(user, info) else {
            return Outcome { uids: None, permit: Err(self.retry_after.refused("")) };
        };
        let level = &schema.level;
        let distinguisher = schema.distinguisher(user, info);
        let (seats, afterwards) = match wanted {
            Work { seats: 0 | 1, wakes: 0 } => (1, Duration::ZERO),
            wanted => wanted.on(level.view().seats.nominal),
        };
        let coming = Coming {
            hash: schema.hash(distinguisher),
            seats,
            afterwards,
            watch: info.verb == "watch",
            patience: (timeout / PATIENCE_PART).min(PATIENCE_MAX),
            statistics: &schema.statistics,
        };
        let about = || About {
            schema: schema.name.clone(),
            distinguisher: distinguisher.to_owned(),
            arrived: Some(jiff::Timestamp::now()),
            user: user.name.clone(),
            info: info.clone(),
        };
        let permit = level.enter(coming, about, || self.contended()).await;
        let permit = permit.map_err(|_| self.retry_after.refused(&level.name));
        Outcome { uids: Some((schema.uid.clone(), level.uid())), permit }
    }

    /// What requests go by now.
    pub(super) fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.configuration.read())
    }

    /// Changes the objects, and goes by them from now on.
    pub(super) fn change(&self, change: impl FnOnce(&mut Objects)) {
        let mut objects = self.objects.lock();
        change(&mut objects);
        let before = self.configuration();
        let new = Configuration::new(&objects, &before, self.total, &self.statistics);
        *self.configuration.write() = Arc::new(new);
    }

    /// Looks at the objects.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Objects) -> T) -> T {
        look(&self.objects.lock())
    }

    /// How many requests a level has started, refused at once, let wait too long, and lost to their clients.
    pub(super) fn totals(&self, level: &str) -> [u64; 4] {
        self.statistics.totals(level)
    }

    /// Writes the metrics.
    pub(crate) fn write_metrics(&self, out: &mut String) -> std::fmt::Result {
        self.statistics.write(out, &self.configuration())
    }

    /// Somebody found no seat: lends at once, and goes on until the rush is over. Idle servers do nothing.
    fn contended(self: &Arc<Self>) {
        if self.lending.swap(true, Ordering::AcqRel) {
            return;
        }
        self.lend(|level| level.view().demand);
        let control = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut ticks =
                tokio::time::interval_at(tokio::time::Instant::now() + LENDING_INTERVAL, LENDING_INTERVAL);
            loop {
                ticks.tick().await;
                let Some(control) = control.upgrade() else { return };
                if !control.lend(Level::take_demand) {
                    control.lending.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }

    /// Divides the seats by demand. Returns whether any level needs more than its own; if none does, each has
    /// its own again.
    fn lend(&self, demand: impl Fn(&Level) -> u32) -> bool {
        let configuration = self.configuration();
        let all: Vec<_> =
            configuration.levels.values().map(|level| (level, level.view(), demand(level))).collect();
        let rush = all.iter().any(|(_, view, demand)| !view.exempt && *demand > view.seats.nominal);
        if !rush {
            for (level, view, _) in &all {
                level.set_limit(view.seats.nominal);
            }
            return false;
        }
        // What runs without asking leaves less for the others.
        let exempt: u32 = all.iter().filter(|(_, view, _)| view.exempt).map(|(.., demand)| *demand).sum();
        let limited: Vec<_> = all.iter().filter(|(_, view, _)| !view.exempt).collect();
        let wishes: Vec<_> = limited.iter().map(|(_, view, demand)| (view.seats, *demand)).collect();
        for ((level, ..), limit) in limited.iter().zip(lend(self.total.saturating_sub(exempt), &wishes)) {
            level.set_limit(limit);
        }
        true
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
