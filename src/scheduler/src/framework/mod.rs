//! What a plugin is. Upstream counterpart: `pkg/scheduler/framework`.

pub mod plugins;

use crate::cache::{Cache, NodeInfo};
use crate::volumes::Volumes;
use client::Selector;
use k8s_openapi::api::core::v1::Pod;

/// Something that may make an unschedulable pod schedulable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterEvent {
    /// A node came.
    NodeAdded,
    /// A node's labels, taints, resources or `unschedulable` changed.
    NodeChanged,
    /// A pod with a node came, or its labels changed.
    PodAdded,
    /// A pod left a node.
    PodDeleted,
    /// A claim or a volume came or was bound.
    VolumeChanged,
}

/// Why a pod does not fit a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// In upstream's words; several where several things are short.
    pub reasons: Vec<String>,
    /// Whether it would not fit either if other pods left the node (`UnschedulableAndUnresolvable`).
    pub lasting: bool,
}

impl Unfit {
    /// One reason, which other pods' leaving may take away.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], lasting: false }
    }

    /// One reason, whoever leaves.
    pub fn for_good(reason: impl Into<String>) -> Self {
        Self { lasting: true, ..Self::because(reason) }
    }
}

/// All that plugins may look at.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    /// Nodes and pods.
    pub cache: &'a Cache,
    /// Claims and volumes.
    pub volumes: &'a Volumes,
    /// Labels of namespaces.
    pub namespaces: &'a dyn Namespaces,
    /// Which pods belong together.
    pub workloads: &'a dyn Workloads,
}

/// Labels of namespaces, for selectors over them.
pub trait Namespaces: Send + Sync {
    /// The labels of one namespace; none when it is not known.
    fn labels(&self, namespace: &str) -> Option<std::collections::BTreeMap<String, String>>;
}

/// Which pods belong together, for those that are spread by default.
pub trait Workloads: Send + Sync {
    /// What selects the pods of a pod's Services and of the workload that controls it; none when it has neither.
    fn selector(&self, pod: &Pod) -> Option<Selector>;
}

/// The highest score that a plugin gives.
pub const MAX_SCORE: i64 = 100;

/// One rule of scheduling. All methods are pure.
pub trait Plugin: Send + Sync {
    /// Upstream's name of the plugin.
    fn name(&self) -> &'static str;

    /// What may make a pod schedulable that this plugin refused.
    fn events_to_register(&self) -> &'static [ClusterEvent];

    /// Whether the pod can be scheduled at all, before any node is looked at.
    ///
    /// # Errors
    /// Why it cannot.
    fn pre_filter(&self, _pod: &Pod, _snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        Ok(())
    }

    /// Whether the pod fits a node.
    ///
    /// # Errors
    /// Why it does not.
    fn filter(&self, _pod: &Pod, _node: &NodeInfo, _snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        Ok(())
    }

    /// How much a node is liked, on a scale of the plugin's own; see [`Plugin::normalize`].
    fn score(&self, _pod: &Pod, _node: &NodeInfo, _snapshot: &Snapshot<'_>) -> i64 {
        0
    }

    /// Brings the scores of all nodes to 0..=[`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}

    /// How much each of some nodes is liked, from 0 to [`MAX_SCORE`]; for plugins that judge them together.
    fn scores(&self, pod: &Pod, nodes: &[&NodeInfo], snapshot: &Snapshot<'_>) -> Vec<i64> {
        let mut scores: Vec<i64> = nodes.iter().map(|node| self.score(pod, node, snapshot)).collect();
        self.normalize(&mut scores);
        scores
    }

    /// How much the plugin's score counts.
    fn weight(&self) -> i64 {
        0
    }
}

/// Scales scores so that the largest becomes [`MAX_SCORE`]; `reverse` makes small ones good.
pub fn normalize_to_max(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores.iter_mut() {
        let scaled = if max == 0 { 0 } else { MAX_SCORE * *score / max };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}
