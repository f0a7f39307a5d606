//! Deciding what a replica set lacks or has too much of, and what its status is. Pure.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::pods;

/// Pods created or deleted in one go (upstream's burst): more would only queue up at the API server.
const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// The number is right.
    Nothing,
    /// So many are missing.
    Create(usize),
    /// These are too many.
    Delete(Vec<Arc<Pod>>),
}

/// Compares the wanted number with the active pods.
///
/// `related` are all pods of the same workload (of its other replica sets, too): where many of them share a node,
/// that node's pods go first.
pub(super) fn plan(wanted: i32, active: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Plan {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() < wanted {
        return Plan::Create((wanted - active.len()).min(BURST));
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return Plan::Nothing;
    }
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *on_node.entry(pods::node_name(pod)).or_default() += 1;
    }
    let crowding = |pod: &Pod| on_node.get(pods::node_name(pod)).copied().unwrap_or(0);
    let mut ranked = active.to_vec();
    ranked.sort_by(|a, b| pods::deletion_order((a, crowding(a)), (b, crowding(b)), now));
    ranked.truncate(surplus);
    Plan::Delete(ranked)
}

/// Why the number of pods could not be brought to what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The facts that a status is made of.
pub(super) struct Observed<'a> {
    pub(super) generation: Option<i64>,
    pub(super) template: Option<&'a PodTemplateSpec>,
    pub(super) min_ready_seconds: i32,
    pub(super) active: &'a [Arc<Pod>],
    pub(super) terminating: Option<usize>,
    pub(super) failure: Option<&'a Failure>,
}

/// The status that follows from the facts; conditions of other kinds are kept.
pub(super) fn status(old: &ReplicaSetStatus, observed: &Observed<'_>, now: Timestamp) -> ReplicaSetStatus {
    let template_labels = observed
        .template
        .and_then(|template| template.metadata.as_ref())
        .and_then(|meta| meta.labels.as_ref());
    let fully_labeled = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        template_labels
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.is_some_and(|all| all.get(key) == Some(value)))
    };
    let count = |test: &dyn Fn(&Pod) -> bool| {
        Some(i32::try_from(observed.active.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX))
    };
    let mut conditions = old.conditions.clone().unwrap_or_default();
    match observed.failure {
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(failure) if !conditions.iter().any(|condition| condition.type_ == "ReplicaFailure") => {
            conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some(failure.reason.into()),
                message: Some(failure.message.clone()),
                last_transition_time: Some(Time(now)),
            });
        }
        Some(_) => {}
    }
    ReplicaSetStatus {
        replicas: i32::try_from(observed.active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&fully_labeled),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|pod| pods::is_available(pod, observed.min_ready_seconds, now)),
        terminating_replicas: observed.terminating.and_then(|count| i32::try_from(count).ok()),
        observed_generation: observed.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}

/// Whether two statuses say the same. An absent number says zero.
pub(super) fn same_status(a: &ReplicaSetStatus, b: &ReplicaSetStatus) -> bool {
    let key = |status: &ReplicaSetStatus| {
        (
            status.replicas,
            status.fully_labeled_replicas.unwrap_or(0),
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            status.terminating_replicas.unwrap_or(0),
            status.observed_generation.unwrap_or(0),
        )
    };
    key(a) == key(b)
        && a.conditions.as_deref().unwrap_or_default() == b.conditions.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::pod;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn some_pods(count: usize) -> Vec<Arc<Pod>> {
        (0..count).map(|n| Arc::new(pod(&format!("p{n}"), "n1", Some(100), now()))).collect()
    }

    #[test]
    fn the_difference_is_created_or_deleted_within_the_burst() {
        for (wanted, have, expected) in [(3, 3, 0), (3, 1, 2), (1000, 10, 500), (0, 0, 0), (-1, 0, 0)] {
            let plan = plan(wanted, &some_pods(have), &[], now());
            let expected = if expected == 0 { Plan::Nothing } else { Plan::Create(expected) };
            assert_eq!(plan, expected, "{wanted} wanted, {have} there");
        }
        let Plan::Delete(deleted) = plan(1, &some_pods(3), &[], now()) else { panic!("nothing deleted") };
        assert_eq!(deleted.len(), 2);
    }

    #[test]
    fn pods_on_nodes_crowded_by_the_whole_workload_go_first() {
        let mine =
            vec![Arc::new(pod("a", "n1", Some(100), now())), Arc::new(pod("b", "n2", Some(100), now()))];
        let mut related = mine.clone();
        related.push(Arc::new(pod("other", "n2", Some(100), now())));
        let Plan::Delete(deleted) = plan(1, &mine, &related, now()) else { panic!("nothing deleted") };
        assert_eq!(deleted[0].metadata.name.as_deref(), Some("b"));
    }

    #[test]
    fn the_status_counts_pods_and_shows_failures_until_they_end() {
        let active = vec![
            Arc::new(pod("a", "n1", Some(5), now())),
            Arc::new(pod("b", "n1", Some(50), now())),
            Arc::new(pod("c", "n1", None, now())),
        ];
        let failure = Failure { reason: "FailedCreate", message: "quota".into() };
        let mut observed = Observed {
            generation: Some(4),
            template: None,
            min_ready_seconds: 10,
            active: &active,
            terminating: Some(2),
            failure: Some(&failure),
        };
        let failed = status(&ReplicaSetStatus::default(), &observed, now());
        assert_eq!(
            (failed.replicas, failed.ready_replicas, failed.available_replicas),
            (3, Some(2), Some(1))
        );
        assert_eq!((failed.terminating_replicas, failed.observed_generation), (Some(2), Some(4)));
        assert_eq!(failed.conditions.as_ref().unwrap()[0].reason.as_deref(), Some("FailedCreate"));
        observed.failure = None;
        let healed = status(&failed, &observed, now());
        assert_eq!(healed.conditions, None);
        assert!(!same_status(&failed, &healed));
    }
}
