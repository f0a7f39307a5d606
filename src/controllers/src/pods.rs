//! Facts about pods that several controllers use.

use std::{cmp::Ordering, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodStatus, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};

/// Annotation that says which pods to delete first when scaling down (KEP-2255).
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The phase, empty when there is no status yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Succeeded or Failed: its containers will not run again.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Being deleted.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither terminal nor being deleted: counts as a replica.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

/// A condition of the pod by its type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Whether a ready pod has been so for `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod) && available_in(pod, min_ready_seconds, now).is_some_and(|rest| rest.is_zero())
}

/// The time until a ready pod becomes available; zero when it is; `None` when it is not ready.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    if min_ready_seconds <= 0 {
        return Some(Duration::ZERO);
    }
    let since = ready.last_transition_time.as_ref().map(|time| time.0)?;
    let waited = now.duration_since(since);
    let needed = jiff::SignedDuration::from_secs(i64::from(min_ready_seconds));
    Some(Duration::try_from(needed - waited).unwrap_or(Duration::ZERO))
}

/// The name of the node that the pod is bound to, or empty.
pub fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// A new pod from a template, controlled by `owner`.
pub fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    generate_name: &str,
    owner: OwnerReference,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            generate_name: Some(generate_name.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Sets a condition in a status; returns whether anything changed. The transition time follows the status field.
pub fn set_condition(status: &mut PodStatus, mut condition: PodCondition, now: Timestamp) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let Some(known) = conditions.iter_mut().find(|known| known.type_ == condition.type_) else {
        condition.last_transition_time.get_or_insert(Time(now));
        conditions.push(condition);
        return true;
    };
    condition.last_transition_time =
        if known.status == condition.status { known.last_transition_time.clone() } else { Some(Time(now)) };
    let changed = *known != condition;
    *known = condition;
    changed
}

/// Orders pods by how willingly a controller gives them up: the first is deleted first.
///
/// `crowding` is how many pods of the same kind share the pod's node.
pub fn deletion_order(a: (&Pod, usize), b: (&Pod, usize), now: Timestamp) -> Ordering {
    let ((a, a_crowding), (b, b_crowding)) = (a, b);
    let assigned = |pod: &Pod| !node_name(pod).is_empty();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| b_crowding.cmp(&a_crowding))
        .then_with(|| older_ready_last(a, b, now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| age_rank(created(a), now).cmp(&age_rank(created(b), now)))
        // The rest is arbitrary but stable, so that two runs choose the same pods.
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DELETION_COST)).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn older_ready_last(a: &Pod, b: &Pod, now: Timestamp) -> Ordering {
    let ready_since = |pod: &Pod| {
        condition(pod, "Ready")
            .filter(|condition| condition.status == "True")
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map(|time| time.0)
    };
    match (ready_since(a), ready_since(b)) {
        (Some(a), Some(b)) => age_rank(Some(a), now).cmp(&age_rank(Some(b), now)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Ages are compared by their order of magnitude (KEP-2185), so that scaling down does not always hit the
/// youngest failure domain.
fn age_rank(since: Option<Timestamp>, now: Timestamp) -> u32 {
    let seconds = since.map_or(0, |since| now.duration_since(since).as_secs().max(0));
    u64::try_from(seconds).unwrap_or(0).checked_ilog2().map_or(0, |power| power + 1)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::api::core::v1::PodSpec;

    use super::*;

    /// A running pod, ready since a number of seconds ago if given.
    pub(crate) fn pod(name: &str, node: &str, ready_since: Option<i64>, now: Timestamp) -> Pod {
        let ready = ready_since.map(|seconds| PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: Some(Time(now - jiff::SignedDuration::from_secs(seconds))),
            ..PodCondition::default()
        });
        Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("ns".into()),
                uid: Some(format!("uid-{name}")),
                creation_timestamp: Some(Time(now - jiff::SignedDuration::from_secs(1000))),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                node_name: (!node.is_empty()).then(|| node.to_owned()),
                ..PodSpec::default()
            }),
            status: Some(PodStatus {
                phase: Some("Running".into()),
                conditions: ready.map(|ready| vec![ready]),
                ..PodStatus::default()
            }),
        }
    }

    #[test]
    fn pods_that_serve_least_are_given_up_first() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let unassigned = pod("unassigned", "", None, now);
        let unready = pod("unready", "n1", None, now);
        let young = pod("young", "n1", Some(10), now);
        let old = pod("old", "n1", Some(900), now);
        let mut cheap = pod("cheap", "n1", Some(900), now);
        cheap.metadata.annotations = Some([(DELETION_COST.to_owned(), "-5".to_owned())].into());
        let crowded = pod("crowded", "n2", Some(900), now);
        let mut all =
            [(&old, 1), (&young, 1), (&crowded, 3), (&cheap, 1), (&unready, 1), (&unassigned, 1)].to_vec();
        all.sort_by(|a, b| deletion_order(*a, *b, now));
        let names: Vec<_> = all.iter().map(|(pod, _)| pod.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["unassigned", "unready", "cheap", "crowded", "young", "old"]);
    }

    #[test]
    fn availability_needs_the_ready_condition_for_long_enough() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let pod = pod("p", "n", Some(7), now);
        assert!(is_available(&pod, 0, now) && is_available(&pod, 7, now));
        assert_eq!(available_in(&pod, 10, now), Some(Duration::from_secs(3)));
        assert!(!is_available(&pod, 10, now));
        assert_eq!(available_in(&super::tests::pod("q", "n", None, now), 0, now), None);
    }
}
