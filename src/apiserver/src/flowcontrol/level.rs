//! A priority level, with requests that wait in it.

use super::allocation::Seats;
use super::queue_set::{Arrival, Nanos, QueueSet, Queuing, Reason};
use super::statistics::Statistics;
use http::HeaderValue;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A priority level.
pub(super) struct Level {
    pub(super) name: String,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    uid: HeaderValue,
    exempt: bool,
    seats: Seats,
    set: QueueSet<Waiter>,
}

/// A request that waits, as others see it.
pub(super) struct Waiter {
    sender: oneshot::Sender<Nanos>,
    pub(super) about: About,
}

/// What is told of a request that waits.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) schema: String,
    pub(super) distinguisher: String,
    pub(super) arrived: Option<jiff::Timestamp>,
    pub(super) user: String,
    pub(super) info: crate::endpoints::RequestInfo,
}

/// A level as metrics and dumps see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelView {
    pub(super) exempt: bool,
    pub(super) seats: Seats,
    pub(super) limit: u32,
    pub(super) waiting: u32,
    pub(super) executing: u32,
    pub(super) demand: u32,
    pub(super) unaccommodated: u64,
    pub(super) virtual_time: i128,
}

/// A place to run in; given back when it is dropped.
pub(crate) struct Permit {
    held: Option<Held>,
    /// How long the seats are kept then.
    afterwards: Duration,
}

/// Seats that somebody has.
struct Held {
    level: Arc<Level>,
    statistics: Arc<Statistics>,
    queue: u32,
    seats: u32,
    began: Nanos,
    watch: bool,
}

/// A request's arrival at a level.
pub(super) struct Coming<'a> {
    /// Tells its flow.
    pub(super) hash: u64,
    /// How wide it is.
    pub(super) seats: u32,
    /// How long it keeps its seats when it is done.
    pub(super) afterwards: Duration,
    /// Whether it begins a watch.
    pub(super) watch: bool,
    /// How long it may wait.
    pub(super) patience: Duration,
    /// Where it is counted.
    pub(super) statistics: &'a Arc<Statistics>,
}

impl Level {
    /// A level that is yet to be configured; it lets everything run until then.
    pub(super) fn new(name: &str) -> Self {
        let state = State {
            uid: HeaderValue::from_static(""),
            exempt: true,
            seats: Seats::default(),
            set: QueueSet::new(u32::MAX, None),
        };
        Self { name: name.to_owned(), began: Instant::now(), state: Mutex::new(state) }
    }

    /// Everything runs at once here.
    pub(super) fn exempt(&self, uid: HeaderValue, seats: Seats) {
        let now = self.now();
        let mut state = self.state.lock();
        (state.uid, state.exempt, state.seats) = (uid, true, seats);
        state.set.set_limit(now, u32::MAX, deliver(now));
        state.set.set_queuing(None);
    }

    /// There are so many seats, and these queues.
    pub(super) fn limited(&self, uid: HeaderValue, seats: Seats, queuing: Option<Queuing>) {
        let now = self.now();
        let mut state = self.state.lock();
        (state.uid, state.exempt, state.seats) = (uid, false, seats);
        state.set.set_queuing(queuing);
        state.set.set_limit(now, seats.nominal, deliver(now));
    }

    /// Changes how many seats there are for now; exempt levels have no limit.
    pub(super) fn set_limit(&self, limit: u32) {
        let now = self.now();
        let mut state = self.state.lock();
        if !state.exempt && state.set.limit() != limit {
            state.set.set_limit(now, limit, deliver(now));
        }
    }

    /// The level's uid, for the header.
    pub(super) fn uid(&self) -> HeaderValue {
        self.state.lock().uid.clone()
    }

    /// The most seats that were wanted at a time since this was last asked.
    pub(super) fn take_demand(&self) -> u32 {
        self.state.lock().set.take_demand()
    }

    /// What is to be seen of it.
    pub(super) fn view(&self) -> LevelView {
        let state = self.state.lock();
        let set = &state.set;
        LevelView {
            exempt: state.exempt,
            seats: state.seats,
            limit: if state.exempt { state.seats.nominal } else { set.limit() },
            waiting: set.waiting(),
            executing: set.executing(),
            demand: set.demand_now(),
            unaccommodated: set.unaccommodated(),
            virtual_time: set.virtual_time(),
        }
    }

    /// Looks at the queues and what waits in them.
    pub(super) fn look<T>(&self, look: impl FnOnce(&QueueSet<Waiter>) -> T) -> T {
        look(&self.state.lock().set)
    }

    /// Takes a seat if there is one for it now. `Err(Ok)` is a place in a queue.
    fn arrive(
        self: &Arc<Self>,
        coming: &Coming<'_>,
        about: impl FnOnce() -> About,
    ) -> Result<Permit, Result<Place, Reason>> {
        let now = self.now();
        let mut receiver = None;
        let waiter = || {
            let (sender, answer) = oneshot::channel();
            receiver = Some(answer);
            Waiter { sender, about: about() }
        };
        let arrival = self.state.lock().set.arrive(now, coming.hash, coming.seats, waiter, deliver(now));
        match (arrival, receiver) {
            (Arrival::Run { queue }, _) => Ok(self.permit(coming, queue, now)),
            (Arrival::Waits { queue, id }, Some(receiver)) => {
                let statistics = Arc::clone(coming.statistics);
                let seats = coming.seats;
                Err(Ok(Place {
                    level: Arc::clone(self),
                    statistics,
                    seats,
                    queue,
                    id,
                    receiver,
                    left: false,
                }))
            }
            (Arrival::Waits { .. }, None) => Err(Err(Reason::Cancelled)),
            (Arrival::Rejected(reason), _) => Err(Err(reason)),
        }
    }

    fn permit(self: &Arc<Self>, coming: &Coming<'_>, queue: u32, began: Nanos) -> Permit {
        coming.statistics.begin(coming.seats);
        let held = Held {
            level: Arc::clone(self),
            statistics: Arc::clone(coming.statistics),
            queue,
            seats: coming.seats,
            began,
            watch: coming.watch,
        };
        Permit { held: Some(held), afterwards: coming.afterwards }
    }

    /// Waits for a seat. `contended` is called when there is none at once.
    ///
    /// Cancel safety: a request that is dropped while it waits leaves its queue.
    pub(super) async fn enter(
        self: &Arc<Self>,
        coming: Coming<'_>,
        about: impl FnOnce() -> About,
        contended: impl FnOnce(),
    ) -> Result<Permit, Reason> {
        let mut place = match self.arrive(&coming, about) {
            Ok(permit) => {
                coming.statistics.waited(true, Duration::ZERO);
                return Ok(permit);
            }
            Err(Err(reason)) => {
                contended();
                coming.statistics.reject(reason);
                return Err(reason);
            }
            Err(Ok(place)) => place,
        };
        let counted = coming
            .statistics
            .enqueue(self.look(|set| set.views().nth(place.queue as usize).map_or(0, |queue| queue.waiting)));
        contended();
        let arrived = Instant::now();
        let waited = tokio::time::timeout(coming.patience, &mut place.receiver).await;
        drop(counted);
        let began = match waited {
            Ok(Ok(began)) => Some(began),
            // It may have been started at the very end.
            Ok(Err(_)) | Err(_) => place.leave(),
        };
        coming.statistics.waited(began.is_some(), arrived.elapsed());
        let Some(began) = began else {
            coming.statistics.reject(Reason::TimeOut);
            return Err(Reason::TimeOut);
        };
        place.left = true;
        Ok(self.permit(&coming, place.queue, began))
    }

    fn now(&self) -> Nanos {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn finish(&self, queue: u32, seats: u32, began: Nanos) -> Duration {
        let now = self.now();
        let took = now.saturating_sub(began);
        self.state.lock().set.finish(now, queue, seats, took, deliver(now));
        Duration::from_nanos(took)
    }
}

/// Tells waiters that they may go on since `now`. They hold their end until they have left the queue.
fn deliver(now: Nanos) -> impl FnMut(Waiter, u32) {
    move |waiter, _| _ = waiter.sender.send(now)
}

/// A place in a queue.
struct Place {
    level: Arc<Level>,
    statistics: Arc<Statistics>,
    seats: u32,
    queue: u32,
    id: u64,
    receiver: oneshot::Receiver<Nanos>,
    /// Whether somebody else answers for it now.
    left: bool,
}

impl Place {
    /// Leaves the queue; tells since when it runs if it has been started.
    fn leave(&mut self) -> Option<Nanos> {
        self.left = true;
        let now = self.level.now();
        let removed = self.level.state.lock().set.remove(now, self.queue, self.id, deliver(now));
        if removed.is_some() { None } else { Some(self.receiver.try_recv().unwrap_or(now)) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.statistics.reject(Reason::Cancelled);
        if let Some(began) = self.leave() {
            self.level.finish(self.queue, self.seats, began);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if self.afterwards.is_zero() {
            return;
        }
        // Without a runtime nothing is told to anybody any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let afterwards = self.afterwards;
            runtime.spawn(async move {
                tokio::time::sleep(afterwards).await;
                drop(held);
            });
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let took = self.level.finish(self.queue, self.seats, self.began);
        self.statistics.end(self.seats, self.watch, took);
    }
}
