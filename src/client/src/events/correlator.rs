//! Deciding what becomes of an observed event: written, counted, aggregated or dropped. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::EventType;

/// Entries remembered per table (upstream's LRU size).
const CACHE_SIZE: usize = 4096;
/// Events that one source may write about one object at once (upstream's spam burst).
const SPAM_BURST: f64 = 25.0;
/// Events per second after that: one in five minutes (upstream's value).
const SPAM_RATE: f64 = 1.0 / 300.0;
/// Different messages of one reason after which they are aggregated (upstream's value).
const AGGREGATE_AFTER: usize = 10;
/// Seconds without such an event after which aggregation starts over (upstream's value).
const AGGREGATE_SECONDS: f64 = 600.0;
/// Put before the message of aggregated events, as kubectl users know it.
const AGGREGATE_PREFIX: &str = "(combined from similar events): ";

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) object: ObjectReference,
    pub(super) kind: EventType,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) at: Timestamp,
}

/// What to write.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    /// The event of this name is counted up; otherwise a new one is created.
    pub(super) existing: Option<String>,
    pub(super) count: i32,
    pub(super) first: Timestamp,
    pub(super) message: String,
    key: SeriesKey,
}

// Object, type, reason, and the message unless it is aggregated.
type SeriesKey = (ObjectId, EventType, String, Option<String>);
type ObjectId = (String, String, String, String, String, String);

struct Series {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Group {
    messages: HashSet<String>,
    last: Timestamp,
}

struct Tokens {
    left: f64,
    at: Timestamp,
}

/// The memory of one source's events.
#[derive(Default)]
pub(super) struct Correlator {
    series: Bounded<SeriesKey, Series>,
    groups: Bounded<(ObjectId, EventType, String), Group>,
    spam: Bounded<ObjectId, Tokens>,
}

impl Correlator {
    /// Decides about an event; `None` drops it as spam.
    pub(super) fn correlate(&mut self, observation: &Observation) -> Option<Verdict> {
        let object = identify(&observation.object);
        let aggregated = self.aggregate(&object, observation);
        let message = if aggregated {
            format!("{AGGREGATE_PREFIX}{}", observation.message)
        } else {
            observation.message.clone()
        };
        let local = (!aggregated).then(|| observation.message.clone());
        let key = (object.clone(), observation.kind, observation.reason.clone(), local);
        let known = self.series.get(&key);
        let verdict = Verdict {
            existing: known.map(|series| series.name.clone()),
            count: known.map_or(1, |series| series.count.saturating_add(1)),
            first: known.map_or(observation.at, |series| series.first),
            message,
            key,
        };
        self.admit(object, observation.at).then_some(verdict)
    }

    /// The event was written under this name.
    pub(super) fn written(&mut self, verdict: &Verdict, name: String) {
        let series = Series { name, count: verdict.count, first: verdict.first };
        self.series.insert(verdict.key.clone(), series);
    }

    fn aggregate(&mut self, object: &ObjectId, observation: &Observation) -> bool {
        let key = (object.clone(), observation.kind, observation.reason.clone());
        let mut group = self
            .groups
            .take(&key)
            .filter(|group| seconds_between(group.last, observation.at) <= AGGREGATE_SECONDS)
            .unwrap_or_else(|| Group { messages: HashSet::new(), last: observation.at });
        group.last = observation.at;
        if group.messages.len() <= AGGREGATE_AFTER {
            group.messages.insert(observation.message.clone());
        }
        let aggregated = group.messages.len() >= AGGREGATE_AFTER;
        self.groups.insert(key, group);
        aggregated
    }

    fn admit(&mut self, object: ObjectId, now: Timestamp) -> bool {
        let mut tokens = self.spam.take(&object).unwrap_or(Tokens { left: SPAM_BURST, at: now });
        tokens.left = (tokens.left + seconds_between(tokens.at, now) * SPAM_RATE).min(SPAM_BURST);
        tokens.at = now;
        let admitted = tokens.left >= 1.0;
        if admitted {
            tokens.left -= 1.0;
        }
        self.spam.insert(object, tokens);
        admitted
    }
}

fn identify(object: &ObjectReference) -> ObjectId {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (
        text(&object.api_version),
        text(&object.kind),
        text(&object.namespace),
        text(&object.name),
        text(&object.uid),
        text(&object.field_path),
    )
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64().max(0.0)
}

/// A map that forgets what was written longest ago.
struct Bounded<K, V> {
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    sequence: u64,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), sequence: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    fn take(&mut self, key: &K) -> Option<V> {
        let (sequence, value) = self.entries.remove(key)?;
        self.order.remove(&sequence);
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        self.take(&key);
        self.sequence += 1;
        self.order.insert(self.sequence, key.clone());
        self.entries.insert(key, (self.sequence, value));
        while self.entries.len() > CACHE_SIZE {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(second: i64, message: &str) -> Observation {
        Observation {
            object: ObjectReference { name: Some("web".into()), ..ObjectReference::default() },
            kind: EventType::Normal,
            reason: "Pulled".into(),
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    fn record(correlator: &mut Correlator, observation: &Observation) -> Option<Verdict> {
        let verdict = correlator.correlate(observation)?;
        let name = verdict.existing.clone().unwrap_or_else(|| format!("web.{}", observation.at.as_second()));
        correlator.written(&verdict, name);
        Some(verdict)
    }

    #[test]
    fn the_same_event_again_counts_up_the_first_one() {
        let mut correlator = Correlator::default();
        let first = record(&mut correlator, &observe(100, "hello")).unwrap();
        assert_eq!((first.existing, first.count), (None, 1));
        let second = record(&mut correlator, &observe(160, "hello")).unwrap();
        assert_eq!(second.existing.as_deref(), Some("web.100"));
        assert_eq!((second.count, second.first.as_second()), (2, 100));
        let other = record(&mut correlator, &observe(161, "bye")).unwrap();
        assert_eq!((other.existing, other.count), (None, 1));
    }

    #[test]
    fn many_different_messages_of_one_reason_become_one_event() {
        let mut correlator = Correlator::default();
        let verdicts: Vec<_> =
            (0..15).map(|n| record(&mut correlator, &observe(n, &format!("message {n}"))).unwrap()).collect();
        assert!(verdicts[8].existing.is_none() && !verdicts[8].message.starts_with('('));
        assert!(verdicts[9].existing.is_none() && verdicts[9].message.starts_with(AGGREGATE_PREFIX));
        assert_eq!(verdicts[14].count, 6);
        assert_eq!(verdicts[14].existing, Some("web.9".into()));
        // Ten quiet minutes end it.
        let later = record(&mut correlator, &observe(1000, "message 99")).unwrap();
        assert_eq!(later.message, "message 99");
    }

    #[test]
    fn a_flood_about_one_object_is_cut_off_after_the_burst() {
        let mut correlator = Correlator::default();
        let admitted = (0..100).filter(|_| record(&mut correlator, &observe(50, "same")).is_some()).count();
        assert_eq!(admitted, 25);
        assert!(record(&mut correlator, &observe(50 + 301, "same")).is_some());
        assert!(record(&mut correlator, &observe(50 + 302, "same")).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut bounded = Bounded::default();
        for key in 0..CACHE_SIZE + 10 {
            bounded.insert(key, ());
        }
        assert_eq!(bounded.entries.len(), CACHE_SIZE);
        assert!(bounded.get(&5).is_none() && bounded.get(&10).is_some());
    }
}
