//! Which pod is scheduled next. Pods wait in one of three places: ready (by priority, then age), in back-off
//! after a failure, or unschedulable until something happens that could help them.

use crate::cache::uid;
use crate::framework::ClusterEvent;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// First and longest wait after a failed attempt (kube-scheduler's podInitialBackoffSeconds and
/// podMaxBackoffSeconds).
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
/// A pod is tried again after this even when nothing happened that should help it, in case an event was
/// judged wrongly (upstream's value).
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Queued {
    pod: Arc<Pod>,
    attempts: u32,
    sequence: u64,
    // What could make an unschedulable pod schedulable.
    wakes: BTreeSet<ClusterEvent>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    BackOff(Instant),
    Unschedulable(Instant),
    InFlight,
}

/// A pod taken from the queue.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// The queue. Pure: time comes in as a parameter.
#[derive(Debug, Default)]
pub struct Queue {
    pods: BTreeMap<String, Queued>,
    ready: BTreeMap<(Reverse<i32>, u64), String>,
    sequence: u64,
    // Events that came while a pod was in flight: it may have been judged on an older state.
    missed: BTreeMap<String, BTreeSet<ClusterEvent>>,
}

impl Queue {
    /// A pod that has no node: new, or changed. A change may help a pod that did not fit.
    pub fn apply(&mut self, pod: Arc<Pod>, now: Instant) {
        let uid = uid(&pod).to_owned();
        match self.pods.get_mut(&uid) {
            Some(queued) => {
                let changed = queued.pod.metadata.generation != pod.metadata.generation
                    || queued.pod.metadata.labels != pod.metadata.labels
                    || queued.pod.spec != pod.spec;
                queued.pod = pod;
                if changed && matches!(queued.place, Place::Unschedulable(_)) {
                    self.wake(&uid, now);
                }
            }
            None => {
                self.sequence += 1;
                let queued = Queued {
                    pod,
                    attempts: 0,
                    sequence: self.sequence,
                    wakes: BTreeSet::new(),
                    place: Place::Ready,
                };
                self.pods.insert(uid.clone(), queued);
                self.make_ready(&uid);
            }
        }
    }

    /// A pod that is gone or has a node now.
    pub fn remove(&mut self, uid: &str) {
        if let Some(queued) = self.pods.remove(uid) {
            self.ready.remove(&order(&queued));
        }
        self.missed.remove(uid);
    }

    /// The next pod, if one is ready now.
    pub fn take(&mut self, now: Instant) -> Option<Taken> {
        self.move_due(now);
        let (_, uid) = self.ready.pop_first()?;
        let queued = self.pods.get_mut(&uid)?;
        queued.place = Place::InFlight;
        queued.attempts += 1;
        let taken = Taken { pod: queued.pod.clone(), attempt: queued.attempts };
        self.missed.insert(uid, BTreeSet::new());
        Some(taken)
    }

    /// Puts back a pod that fits nowhere; any of `wakes` may change that.
    pub fn unschedulable(&mut self, uid: &str, wakes: BTreeSet<ClusterEvent>, now: Instant) {
        let missed = self.missed.remove(uid).unwrap_or_default();
        let Some(queued) = self.pods.get_mut(uid) else { return };
        if missed.iter().any(|event| wakes.contains(event)) {
            queued.place = Place::BackOff(now + back_off(queued.attempts));
        } else {
            queued.place = Place::Unschedulable(now);
        }
        queued.wakes = wakes;
    }

    /// Puts back a pod whose attempt failed for a reason that may pass by itself.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        self.missed.remove(uid);
        if let Some(queued) = self.pods.get_mut(uid) {
            queued.place = Place::BackOff(now + back_off(queued.attempts));
        }
    }

    /// Something happened that may help pods that did not fit.
    pub fn happened(&mut self, event: ClusterEvent, now: Instant) {
        for events in self.missed.values_mut() {
            events.insert(event);
        }
        let helped: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, q)| matches!(q.place, Place::Unschedulable(_)) && q.wakes.contains(&event))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in helped {
            self.wake(&uid, now);
        }
    }

    /// When the next pod becomes ready by the passing of time; now, when one is.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.pods
            .values()
            .filter_map(|q| match q.place {
                Place::BackOff(until) => Some(until),
                Place::Unschedulable(since) => Some(since + LONGEST_WAIT),
                Place::Ready | Place::InFlight => None,
            })
            .min()
    }

    /// The wait of its back-off counts from the moment it is woken only as far as it has not passed yet.
    fn wake(&mut self, uid: &str, now: Instant) {
        let Some(queued) = self.pods.get_mut(uid) else { return };
        if let Place::Unschedulable(since) = queued.place {
            let until = since + back_off(queued.attempts);
            if until <= now {
                self.make_ready(uid);
            } else {
                queued.place = Place::BackOff(until);
            }
        }
    }

    fn move_due(&mut self, now: Instant) {
        let due: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, q)| match q.place {
                Place::BackOff(until) => until <= now,
                Place::Unschedulable(since) => since + LONGEST_WAIT <= now,
                Place::Ready | Place::InFlight => false,
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in due {
            self.make_ready(&uid);
        }
    }

    fn make_ready(&mut self, uid: &str) {
        if let Some(queued) = self.pods.get_mut(uid) {
            queued.place = Place::Ready;
            self.ready.insert(order(queued), uid.to_owned());
        }
    }
}

fn order(queued: &Queued) -> (Reverse<i32>, u64) {
    (Reverse(crate::priority(&queued.pod)), queued.sequence)
}

fn back_off(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_BACK_OFF.saturating_mul(1 << doublings).min(LONGEST_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::named_pod;
    use serde_json::json;

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        Arc::new(named_pod(name, json!({"containers": [], "priority": priority})))
    }

    fn wakes(events: &[ClusterEvent]) -> BTreeSet<ClusterEvent> {
        events.iter().copied().collect()
    }

    #[test]
    fn higher_priority_goes_first_and_then_the_older() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0)] {
            queue.apply(pod(name, priority), now);
        }
        let mut order = Vec::new();
        while let Some(taken) = queue.take(now) {
            order.push(taken.pod.metadata.name.clone().unwrap());
        }
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[test]
    fn an_unschedulable_pod_waits_for_an_event_that_helps_and_for_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.apply(pod("a", 0), now);
        let taken = queue.take(now).unwrap();
        queue.unschedulable(uid(&taken.pod), wakes(&[ClusterEvent::NodeAdded]), now);
        queue.happened(ClusterEvent::PodDeleted, now);
        assert_eq!(queue.next_due(now), Some(now + LONGEST_WAIT));
        queue.happened(ClusterEvent::NodeAdded, now);
        assert!(queue.take(now).is_none());
        assert_eq!(queue.next_due(now), Some(now + FIRST_BACK_OFF));
        assert_eq!(queue.take(now + FIRST_BACK_OFF).unwrap().attempt, 2);
    }

    #[test]
    fn an_event_during_the_attempt_is_not_missed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.apply(pod("a", 0), now);
        let taken = queue.take(now).unwrap();
        queue.happened(ClusterEvent::NodeAdded, now);
        queue.unschedulable(uid(&taken.pod), wakes(&[ClusterEvent::NodeAdded]), now);
        assert_eq!(queue.next_due(now), Some(now + FIRST_BACK_OFF));
    }

    #[test]
    fn back_off_doubles_to_its_limit() {
        assert_eq!(back_off(1), Duration::from_secs(1));
        assert_eq!(back_off(3), Duration::from_secs(4));
        assert_eq!(back_off(40), LONGEST_BACK_OFF);
    }

    #[test]
    fn a_removed_pod_is_not_taken() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let a = pod("a", 0);
        queue.apply(a.clone(), now);
        queue.remove(uid(&a));
        assert!(queue.take(now).is_none());
        assert_eq!(queue.next_due(now), None);
    }
}
