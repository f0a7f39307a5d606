//! Fair queuing for one priority level: queues that take turns by the work they have had.
//!
//! Every queue has a virtual clock that is ahead by the work (seats times time) its requests took; the queue
//! whose clock is furthest behind goes next. How long a request takes is not known when it starts: a guess is
//! charged then, and mended when it ends. The level's own virtual time tells where a queue begins that had
//! nothing to do: it advances by the seats in use, divided among the busy queues.

use super::shuffle_shard::Hand;
use std::collections::VecDeque;

/// Nanoseconds on the caller's clock.
pub(super) type Nanos = u64;

/// What a request is charged for when it starts, before it is known how long it takes (upstream's 3 ms).
const GUESS_NANOS: i128 = 3_000_000;

/// The queues of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    /// How many there are.
    pub(super) queues: u32,
    /// How many of them a flow may use.
    pub(super) hand_size: u32,
    /// How many requests may wait in one.
    pub(super) length_limit: u32,
}

/// What came of a request's arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It may go on at once.
    Run {
        /// Its queue.
        queue: u32,
    },
    /// It waits; its waiter is told when it may go on.
    Waits {
        /// Its queue.
        queue: u32,
        /// Its number.
        id: u64,
    },
    /// It is refused.
    Rejected(Reason),
}

/// Why a request is refused (values of the label `reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its queue is full.
    QueueFull,
    /// All seats are taken and the level has no queues.
    ConcurrencyLimit,
    /// It waited too long.
    TimeOut,
    /// The client gave up.
    Cancelled,
}

/// A request that waits.
struct Waiting<W> {
    id: u64,
    seats: u32,
    waiter: W,
}

struct Queue<W> {
    waiting: VecDeque<Waiting<W>>,
    waiting_seats: u32,
    executing: u32,
    executing_seats: u32,
    /// Where its clock is: in seat-nanoseconds, comparable with the level's virtual time.
    clock: i128,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), waiting_seats: 0, executing: 0, executing_seats: 0, clock: 0 }
    }
}

impl<W> Queue<W> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }
}

/// What a queue looks like from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueView {
    pub(super) waiting: usize,
    pub(super) waiting_seats: u32,
    pub(super) executing: u32,
    pub(super) executing_seats: u32,
    /// Seat-nanoseconds.
    pub(super) clock: i128,
}

/// The scheduler of one level. `W` is told when its request may go on.
pub(super) struct QueueSet<W> {
    queuing: Option<Queuing>,
    /// Seats there are.
    limit: u32,
    queues: Vec<Queue<W>>,
    busy_queues: u32,
    waiting: u32,
    waiting_seats: u32,
    executing: u32,
    executing_seats: u32,
    virtual_time: i128,
    at: Nanos,
    next_id: u64,
    robin: usize,
    /// The most seats wanted at a time since it was asked for.
    demand: u32,
    /// Times that the next request did not fit into the seats left.
    unaccommodated: u64,
}

impl<W> QueueSet<W> {
    /// A level with so many seats. Without queues, what finds no seat is refused.
    pub(super) fn new(limit: u32, queuing: Option<Queuing>) -> Self {
        let mut set = Self {
            queuing: None,
            limit,
            queues: Vec::new(),
            busy_queues: 0,
            waiting: 0,
            waiting_seats: 0,
            executing: 0,
            executing_seats: 0,
            virtual_time: 0,
            at: 0,
            next_id: 0,
            robin: 0,
            demand: 0,
            unaccommodated: 0,
        };
        set.set_queuing(queuing);
        set
    }

    /// Changes the queues. Those that are no longer wanted are drained first.
    pub(super) fn set_queuing(&mut self, queuing: Option<Queuing>) {
        self.queuing = queuing;
        let wanted = queuing.map_or(1, |q| q.queues.max(1)) as usize;
        if self.queues.len() < wanted {
            self.queues.resize_with(wanted, Queue::default);
        }
        while self.queues.len() > wanted && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
    }

    /// Changes how many seats there are, and starts what has room now.
    pub(super) fn set_limit(&mut self, now: Nanos, limit: u32, start: impl FnMut(W, u32)) {
        self.advance(now);
        self.limit = limit;
        self.dispatch(start);
    }

    /// A request arrives. `hash` tells its flow.
    pub(super) fn arrive(
        &mut self,
        now: Nanos,
        hash: u64,
        seats: u32,
        waiter: impl FnOnce() -> W,
        start: impl FnMut(W, u32),
    ) -> Arrival {
        self.advance(now);
        let number = self.choose(hash);
        let wanted = self.executing_seats.saturating_add(self.waiting_seats).saturating_add(seats);
        self.demand = self.demand.max(wanted);
        let fits = self.fits(seats);
        let (time, at_once) = (self.virtual_time, self.waiting == 0 && fits);
        let Some(queue) = self.queues.get_mut(number) else {
            return Arrival::Rejected(Reason::ConcurrencyLimit);
        };
        let room = self.queuing.map(|queuing| queuing.length_limit as usize);
        match room {
            _ if at_once => {}
            None => return Arrival::Rejected(Reason::ConcurrencyLimit),
            Some(room) if queue.waiting.len() >= room => return Arrival::Rejected(Reason::QueueFull),
            Some(_) => {}
        }
        if queue.is_idle() {
            queue.clock = time;
            self.busy_queues += 1;
        }
        let index = number as u32;
        if at_once {
            queue.clock += GUESS_NANOS * i128::from(seats);
            queue.executing += 1;
            queue.executing_seats += seats;
            self.executing += 1;
            self.executing_seats += seats;
            return Arrival::Run { queue: index };
        }
        let id = self.next_id;
        self.next_id += 1;
        queue.waiting.push_back(Waiting { id, seats, waiter: waiter() });
        queue.waiting_seats += seats;
        self.waiting += 1;
        self.waiting_seats += seats;
        self.dispatch(start);
        Arrival::Waits { queue: index, id }
    }

    /// Takes a request out that does not want to wait any longer. `None` when it has been started.
    pub(super) fn remove(&mut self, now: Nanos, queue: u32, id: u64, start: impl FnMut(W, u32)) -> Option<W> {
        self.advance(now);
        let queue = self.queues.get_mut(queue as usize)?;
        let place = queue.waiting.iter().position(|waiting| waiting.id == id)?;
        let gone = queue.waiting.remove(place)?;
        queue.waiting_seats -= gone.seats;
        let idle = queue.is_idle();
        self.waiting -= 1;
        self.waiting_seats -= gone.seats;
        if idle {
            self.rest();
        }
        // A wide request at the head may have held up narrow ones.
        self.dispatch(start);
        Some(gone.waiter)
    }

    /// A request that was started has ended after so many nanoseconds.
    pub(super) fn finish(
        &mut self,
        now: Nanos,
        queue: u32,
        seats: u32,
        took: Nanos,
        start: impl FnMut(W, u32),
    ) {
        self.advance(now);
        if let Some(queue) = self.queues.get_mut(queue as usize) {
            queue.executing -= 1;
            queue.executing_seats -= seats;
            queue.clock += (i128::from(took) - GUESS_NANOS) * i128::from(seats);
            let idle = queue.is_idle();
            self.executing -= 1;
            self.executing_seats -= seats;
            if idle {
                self.rest();
            }
        }
        self.dispatch(start);
    }

    /// The most seats that were wanted at a time since this was last asked.
    pub(super) fn take_demand(&mut self) -> u32 {
        let now = self.executing_seats.saturating_add(self.waiting_seats);
        std::mem::replace(&mut self.demand, now).max(now)
    }

    /// The seats wanted now.
    pub(super) fn demand_now(&self) -> u32 {
        self.executing_seats.saturating_add(self.waiting_seats)
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Requests that were started.
    pub(super) fn executing(&self) -> u32 {
        self.executing
    }

    /// Seats there are.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Times that the next request did not fit into the seats left.
    pub(super) fn unaccommodated(&self) -> u64 {
        self.unaccommodated
    }

    /// The virtual time, in seat-nanoseconds.
    pub(super) fn virtual_time(&self) -> i128 {
        self.virtual_time
    }

    /// All queues as they are.
    pub(super) fn views(&self) -> impl Iterator<Item = QueueView> + '_ {
        self.queues.iter().map(|queue| QueueView {
            waiting: queue.waiting.len(),
            waiting_seats: queue.waiting_seats,
            executing: queue.executing,
            executing_seats: queue.executing_seats,
            clock: queue.clock,
        })
    }

    /// All that wait: queue, place in it, seats, waiter.
    pub(super) fn waiters(&self) -> impl Iterator<Item = (usize, usize, u32, &W)> {
        self.queues.iter().enumerate().flat_map(|(number, queue)| {
            queue.waiting.iter().enumerate().map(move |(place, one)| (number, place, one.seats, &one.waiter))
        })
    }

    fn advance(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if self.busy_queues > 0 {
            let seats = self.limit.min(self.executing_seats.saturating_add(self.waiting_seats));
            self.virtual_time += i128::from(passed) * i128::from(seats) / i128::from(self.busy_queues);
        }
    }

    /// A queue has nothing to do any more.
    fn rest(&mut self) {
        self.busy_queues -= 1;
        if self.busy_queues == 0 {
            // Nobody's clock counts now: begin anew rather than grow for ever.
            self.virtual_time = 0;
            if self.queues.len() > self.queuing.map_or(1, |q| q.queues.max(1)) as usize {
                self.set_queuing(self.queuing);
            }
        }
    }

    /// A request wider than the whole level runs alone.
    fn fits(&self, seats: u32) -> bool {
        self.executing_seats == 0 || self.executing_seats.saturating_add(seats) <= self.limit
    }

    /// Of the queues of a flow, the one with the least to do.
    fn choose(&self, hash: u64) -> usize {
        let Some(queuing) = self.queuing else { return 0 };
        let hand = Hand::deal(hash, queuing.queues, queuing.hand_size);
        let load = |card: &u32| {
            let queue = self.queues.get(*card as usize);
            queue.map_or(u32::MAX, |queue| queue.waiting_seats.saturating_add(queue.executing_seats))
        };
        hand.cards().iter().copied().min_by_key(load).unwrap_or(0) as usize
    }

    /// Starts what has room, in the order of fairness.
    fn dispatch(&mut self, mut start: impl FnMut(W, u32)) {
        while self.waiting > 0 {
            let Some(number) = self.next() else { return };
            let Some(seats) = self.queues.get(number).and_then(|q| q.waiting.front()).map(|w| w.seats) else {
                return;
            };
            if !self.fits(seats) {
                // Narrower ones behind it are not let by, or it would never get its turn.
                self.unaccommodated += 1;
                return;
            }
            let Some(queue) = self.queues.get_mut(number) else { return };
            let Some(next) = queue.waiting.pop_front() else { return };
            if queue.waiting.is_empty() {
                queue.waiting = VecDeque::new();
            }
            queue.waiting_seats -= seats;
            queue.executing += 1;
            queue.executing_seats += seats;
            queue.clock += GUESS_NANOS * i128::from(seats);
            self.waiting -= 1;
            self.waiting_seats -= seats;
            self.executing += 1;
            self.executing_seats += seats;
            self.robin = number + 1;
            start(next.waiter, number as u32);
        }
    }

    /// The queue whose next request would be done first in virtual time; those after the last one first where
    /// there are several.
    fn next(&self) -> Option<usize> {
        let count = self.queues.len();
        let mut best: Option<(i128, usize)> = None;
        for step in 0..count {
            let number = (self.robin + step) % count;
            let Some(queue) = self.queues.get(number) else { continue };
            let Some(head) = queue.waiting.front() else { continue };
            let done = queue.clock + GUESS_NANOS * i128::from(head.seats);
            if best.is_none_or(|(other, _)| done < other) {
                best = Some((done, number));
            }
        }
        best.map(|(_, number)| number)
    }
}

#[cfg(test)]
#[path = "queue_set_tests.rs"]
mod tests;
