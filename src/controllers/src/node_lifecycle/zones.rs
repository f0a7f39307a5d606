//! How badly each zone is hit, and how fast its nodes may be given up. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use client::nodes;
use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

/// Share of silent nodes from which a zone counts as partially disrupted (upstream's value).
const UNHEALTHY_SHARE: f64 = 0.55;
/// Zones with no more nodes than this evict nothing while partially disrupted (upstream's value).
const LARGE_ZONE: usize = 50;
/// Pause between giving up nodes of a healthy zone: 0.1 per second (upstream's value).
const PAUSE: Duration = Duration::from_secs(10);
/// The same for large zones that are partially disrupted: 0.01 per second (upstream's value).
const LONG_PAUSE: Duration = Duration::from_secs(100);

/// Region and zone of a node.
pub(super) type Zone = (String, String);

/// How a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Normal,
    PartiallyDisrupted,
    FullyDisrupted,
}

/// All zones at one time.
pub(super) struct Zones {
    zones: BTreeMap<Zone, (State, usize)>,
}

impl Zones {
    pub(super) fn new(nodes: &[Arc<Node>]) -> Self {
        let mut counts: BTreeMap<Zone, (usize, usize)> = BTreeMap::new();
        for node in nodes {
            let (ready, silent) = counts.entry(zone_of(node)).or_default();
            if nodes::is_ready(node) { *ready += 1 } else { *silent += 1 }
        }
        let state = |(ready, silent): (usize, usize)| {
            let share = silent as f64 / (ready + silent).max(1) as f64;
            let state = if ready == 0 && silent > 0 {
                State::FullyDisrupted
            } else if silent > 2 && share >= UNHEALTHY_SHARE {
                State::PartiallyDisrupted
            } else {
                State::Normal
            };
            (state, ready + silent)
        };
        Self { zones: counts.into_iter().map(|(zone, counts)| (zone, state(counts))).collect() }
    }

    /// Whether no zone has a ready node: then it is us who are cut off, and no pod is evicted.
    pub(super) fn all_disrupted(&self) -> bool {
        !self.zones.is_empty() && self.zones.values().all(|(state, _)| *state == State::FullyDisrupted)
    }

    /// Pause between giving up two nodes of a zone; `None` when none may be.
    fn pause(&self, zone: &Zone) -> Option<Duration> {
        match self.zones.get(zone) {
            Some((State::PartiallyDisrupted, size)) => (*size > LARGE_ZONE).then_some(LONG_PAUSE),
            _ => Some(PAUSE),
        }
    }
}

pub(super) fn zone_of(node: &Node) -> Zone {
    let label = |name: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(name).cloned()).unwrap_or_default()
    };
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// Whether a node may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Now,
    After(Duration),
    /// Not until the zone is better.
    Never,
}

/// Remembers when a node of each zone was last given up.
#[derive(Default)]
pub(super) struct Limiter {
    last: HashMap<Zone, Instant>,
}

impl Limiter {
    pub(super) fn ask(&mut self, zone: &Zone, zones: &Zones) -> Permit {
        let Some(pause) = zones.pause(zone) else { return Permit::Never };
        let left = self.last.get(zone).map_or(Duration::ZERO, |last| pause.saturating_sub(last.elapsed()));
        if !left.is_zero() {
            return Permit::After(left);
        }
        self.last.insert(zone.clone(), Instant::now());
        Permit::Now
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{NodeCondition, NodeStatus},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;

    fn nodes(zone: &str, ready: usize, silent: usize) -> Vec<Arc<Node>> {
        let node = |status: &str| {
            let condition =
                NodeCondition { type_: "Ready".into(), status: status.into(), ..NodeCondition::default() };
            Arc::new(Node {
                metadata: ObjectMeta {
                    labels: Some([("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into()),
                    ..ObjectMeta::default()
                },
                status: Some(NodeStatus { conditions: Some(vec![condition]), ..NodeStatus::default() }),
                ..Node::default()
            })
        };
        (0..ready).map(|_| node("True")).chain((0..silent).map(|_| node("Unknown"))).collect()
    }

    #[test]
    fn nothing_is_evicted_when_every_zone_is_dark() {
        assert!(Zones::new(&nodes("a", 0, 1)).all_disrupted());
        let both: Vec<_> = nodes("a", 0, 3).into_iter().chain(nodes("b", 1, 0)).collect();
        assert!(!Zones::new(&both).all_disrupted());
        assert!(!Zones::new(&[]).all_disrupted());
    }

    #[tokio::test(start_paused = true)]
    async fn zones_give_up_nodes_at_their_own_pace() {
        let zone = (String::new(), "a".to_owned());
        let mut limiter = Limiter::default();
        let healthy = Zones::new(&nodes("a", 10, 2));
        assert_eq!(limiter.ask(&zone, &healthy), Permit::Now);
        assert_eq!(limiter.ask(&zone, &healthy), Permit::After(PAUSE));
        tokio::time::advance(PAUSE).await;
        assert_eq!(limiter.ask(&zone, &healthy), Permit::Now);
        assert_eq!(limiter.ask(&zone, &Zones::new(&nodes("a", 4, 6))), Permit::Never);
        assert_eq!(limiter.ask(&zone, &Zones::new(&nodes("a", 40, 60))), Permit::After(LONG_PAUSE));
    }
}
