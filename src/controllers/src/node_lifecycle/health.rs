//! When each node was last heard of, by our own clock.

use std::{collections::HashMap, time::Duration};

use client::nodes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A node that is silent for this long is taken for dead (upstream's `--node-monitor-grace-period` since 1.32): four
/// lease renewals, and time to notice a dead connection.
pub const NODE_MONITOR_GRACE_PERIOD: Duration = Duration::from_secs(50);
/// The same for a node that has never reported (upstream's value): starting takes longer.
const STARTUP_GRACE: Duration = Duration::from_secs(60);

/// Signs of life of all nodes.
pub(super) struct Health {
    /// For nodes that have reported.
    grace: Duration,
    nodes: Mutex<HashMap<String, Signs>>,
}

struct Signs {
    lease_renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    at: Instant,
    pods_marked: bool,
    reported: bool,
}

impl Signs {
    fn new() -> Self {
        Self { lease_renewed: None, heartbeat: None, at: Instant::now(), pods_marked: false, reported: false }
    }
}

impl Health {
    /// No signs yet.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, nodes: Mutex::default() }
    }

    /// The node's lease has this renew time.
    pub(super) fn observe_lease(&self, name: &str, renewed: Option<Timestamp>) {
        let mut nodes = self.nodes.lock();
        let signs = nodes.entry(name.to_owned()).or_insert_with(Signs::new);
        if signs.lease_renewed != renewed {
            signs.lease_renewed = renewed;
            signs.at = Instant::now();
        }
    }

    /// The node's status was seen.
    pub(super) fn observe_node(&self, name: &str, node: &Node) {
        let ready = nodes::condition(node, "Ready");
        let heartbeat = ready.and_then(|condition| condition.last_heartbeat_time.as_ref()).map(|time| time.0);
        let mut nodes = self.nodes.lock();
        let signs = nodes.entry(name.to_owned()).or_insert_with(Signs::new);
        if signs.heartbeat != heartbeat {
            signs.heartbeat = heartbeat;
            signs.at = Instant::now();
        }
        signs.reported = ready.is_some();
        if ready.is_some_and(|condition| condition.status == "True") {
            signs.pods_marked = false;
        }
    }

    pub(super) fn is_known(&self, name: &str) -> bool {
        self.nodes.lock().contains_key(name)
    }

    pub(super) fn forget(&self, name: &str) {
        self.nodes.lock().remove(name);
    }

    /// The time until the node must be taken for dead; zero when it must be now.
    pub(super) fn left(&self, name: &str) -> Duration {
        let nodes = self.nodes.lock();
        let Some(signs) = nodes.get(name) else { return self.grace };
        let grace = if signs.reported { self.grace } else { STARTUP_GRACE };
        grace.saturating_sub(signs.at.elapsed())
    }

    /// Whether the pods of the node still have to be marked as not ready.
    pub(super) fn pods_need_marking(&self, name: &str) -> bool {
        self.nodes.lock().get(name).is_none_or(|signs| !signs.pods_marked)
    }

    pub(super) fn pods_marked(&self, name: &str) {
        if let Some(signs) = self.nodes.lock().get_mut(name) {
            signs.pods_marked = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_changes_are_signs_of_life() {
        let health = Health::new(NODE_MONITOR_GRACE_PERIOD);
        let at = |second: i64| Some(Timestamp::from_second(second).unwrap());
        let node = Node {
            status: Some(k8s_openapi::api::core::v1::NodeStatus {
                conditions: Some(vec![k8s_openapi::api::core::v1::NodeCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    ..Default::default()
                }]),
                ..Default::default()
            }),
            ..Node::default()
        };
        health.observe_node("n", &node);
        health.observe_lease("n", at(1));
        tokio::time::advance(Duration::from_secs(30)).await;
        health.observe_lease("n", at(1));
        assert_eq!(health.left("n"), NODE_MONITOR_GRACE_PERIOD - Duration::from_secs(30));
        health.observe_lease("n", at(2));
        assert_eq!(health.left("n"), NODE_MONITOR_GRACE_PERIOD);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(health.left("n"), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_reported_gets_more_time() {
        let health = Health::new(Duration::from_secs(1));
        health.observe_node("n", &Node::default());
        assert_eq!(health.left("n"), STARTUP_GRACE);
    }
}
