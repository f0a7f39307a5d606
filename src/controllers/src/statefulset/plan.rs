//! Which pods come and go next, and the status. Pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::identity::{ordinal, range, revision_of};
use crate::{percent, pods};

/// What is known when a sync begins.
pub(super) struct Observed<'a> {
    pub(super) set: &'a StatefulSet,
    /// Pods that it controls.
    pub(super) pods: &'a [Arc<Pod>],
    /// Name of the revision that the set had before the update that is going on.
    pub(super) current: &'a str,
    /// Name of the revision of the present template.
    pub(super) update: &'a str,
    pub(super) now: Timestamp,
}

type ByOrdinal<'a> = BTreeMap<i32, &'a Arc<Pod>>;

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Ordinals to create, and whether from the update revision (else the current one).
    pub(super) create: Vec<(i32, bool)>,
    /// Pods to delete.
    pub(super) delete: Vec<Arc<Pod>>,
}

impl Observed<'_> {
    fn is_ordered(&self) -> bool {
        self.set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel")
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    /// The first ordinal that is updated.
    fn partition(&self) -> i32 {
        let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        range(self.set).0 + rolling.and_then(|rolling| rolling.partition).unwrap_or(0)
    }

    fn max_unavailable(&self) -> usize {
        let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let value =
            rolling.and_then(|rolling| rolling.max_unavailable.clone()).unwrap_or(IntOrString::Int(1));
        let number = percent::resolve(&value, range(self.set).1, true).unwrap_or(1);
        usize::try_from(number).unwrap_or(1).max(1)
    }

    pub(super) fn min_ready_seconds(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        !pods::is_terminating(pod)
            && pods::phase(pod) == "Running"
            && pods::is_available(pod, self.min_ready_seconds(), self.now)
    }

    /// Pods by ordinal: those that should be, and those beyond the wanted number.
    fn split(&self) -> (ByOrdinal<'_>, ByOrdinal<'_>) {
        let (start, replicas) = range(self.set);
        let all = self.pods.iter().filter_map(|pod| Some((ordinal(self.set, pod)?, pod)));
        all.partition(|(ordinal, _)| (start..start.saturating_add(replicas)).contains(ordinal))
    }
}

/// Decides one step.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let mut plan = Plan::default();
    if observed.set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let (start, replicas) = range(observed.set);
    let (wanted, condemned) = observed.split();
    let ordered = observed.is_ordered();
    for ordinal in start..start.saturating_add(replicas) {
        let settled = fill(observed, ordinal, wanted.get(&ordinal).copied(), &mut plan);
        if ordered && !settled {
            return plan;
        }
    }
    for (_, pod) in condemned.iter().rev() {
        let all_healthy = || wanted.values().all(|pod| observed.is_healthy(pod));
        if pods::is_terminating(pod) {
            if ordered {
                return plan;
            }
            continue;
        }
        // An unhealthy predecessor holds up scaling down, unless it is this very pod that is unhealthy.
        if ordered && !all_healthy() {
            return plan;
        }
        plan.delete.push((*pod).clone());
        if ordered {
            return plan;
        }
    }
    if observed.is_rolling() {
        roll(observed, &wanted, &mut plan);
    }
    plan
}

/// Sees to one wanted pod; returns whether it is there and healthy, so that the next may follow.
fn fill(observed: &Observed<'_>, ordinal: i32, pod: Option<&Arc<Pod>>, plan: &mut Plan) -> bool {
    let Some(pod) = pod else {
        let updated = !observed.is_rolling() || ordinal >= observed.partition();
        plan.create.push((ordinal, updated));
        return false;
    };
    if pods::is_terminal(pod) && !pods::is_terminating(pod) {
        // Its name must be free before it can come back.
        plan.delete.push(pod.clone());
        return false;
    }
    observed.is_healthy(pod)
}

/// Replaces pods of older revisions, the highest ordinal first.
fn roll(observed: &Observed<'_>, wanted: &ByOrdinal<'_>, plan: &mut Plan) {
    let limit = observed.max_unavailable();
    let (start, replicas) = range(observed.set);
    let mut unavailable = 0;
    for ordinal in (observed.partition().max(start)..start.saturating_add(replicas)).rev() {
        if unavailable >= limit {
            return;
        }
        match wanted.get(&ordinal) {
            Some(pod) if revision_of(pod) != observed.update && !pods::is_terminating(pod) => {
                if !plan.delete.iter().any(|gone| gone.metadata.uid == pod.metadata.uid) {
                    plan.delete.push((*pod).clone());
                }
                unavailable += 1;
            }
            Some(pod) if observed.is_healthy(pod) => {}
            _ => unavailable += 1,
        }
    }
}

/// The status that follows from what is observed.
pub(super) fn status(observed: &Observed<'_>) -> StatefulSetStatus {
    let old = observed.set.status.clone().unwrap_or_default();
    let mut status = StatefulSetStatus {
        observed_generation: observed.set.metadata.generation,
        current_revision: Some(observed.current.to_owned()),
        update_revision: Some(observed.update.to_owned()),
        collision_count: old.collision_count,
        conditions: old.conditions,
        ..StatefulSetStatus::default()
    };
    let (mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0);
    for pod in observed.pods {
        status.replicas += 1;
        let running = pods::phase(pod) == "Running" && pods::is_ready(pod);
        ready += i32::from(running);
        available +=
            i32::from(running && pods::is_available(pod, observed.min_ready_seconds(), observed.now));
        if !pods::is_terminating(pod) {
            current += i32::from(revision_of(pod) == observed.current);
            updated += i32::from(revision_of(pod) == observed.update);
        }
    }
    let (_, replicas) = range(observed.set);
    // The update is complete: its revision becomes the current one.
    if observed.is_rolling() && updated == status.replicas && ready == status.replicas && updated == replicas
    {
        status.current_revision = Some(observed.update.to_owned());
        current = updated;
    }
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    status.ready_replicas = nonzero(ready);
    // Always there: clients of before 1.22 did not have it.
    status.available_replicas = Some(available);
    status.current_replicas = nonzero(current);
    status.updated_replicas = nonzero(updated);
    status
}

/// Whether two statuses say the same; an absent number says zero.
pub(super) fn same_status(a: &StatefulSetStatus, b: &StatefulSetStatus) -> bool {
    let filled = |status: &StatefulSetStatus| {
        let mut status = status.clone();
        for count in [
            &mut status.ready_replicas,
            &mut status.available_replicas,
            &mut status.current_replicas,
            &mut status.updated_replicas,
            &mut status.collision_count,
        ] {
            count.get_or_insert(0);
        }
        status.conditions.get_or_insert_default();
        status
    };
    filled(a) == filled(b)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSetSpec, StatefulSetUpdateStrategy},
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    };

    use super::*;
    use crate::{history, pods::tests::pod};

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn set(replicas: i32, policy: &str, partition: i32, max_unavailable: i32) -> StatefulSet {
        StatefulSet {
            metadata: ObjectMeta { name: Some("db".into()), generation: Some(1), ..ObjectMeta::default() },
            spec: Some(StatefulSetSpec {
                replicas: Some(replicas),
                pod_management_policy: Some(policy.into()),
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateStatefulSetStrategy {
                        partition: Some(partition),
                        max_unavailable: Some(IntOrString::Int(max_unavailable)),
                    }),
                }),
                ..StatefulSetSpec::default()
            }),
            status: None,
        }
    }

    fn member(ordinal: i32, revision: &str, ready: bool) -> Arc<Pod> {
        let mut pod = pod(&format!("db-{ordinal}"), "n1", ready.then_some(10), now());
        pod.metadata.labels = Some([(history::HASH.to_owned(), revision.to_owned())].into());
        Arc::new(pod)
    }

    fn step(set: &StatefulSet, pods: &[Arc<Pod>]) -> (Vec<(i32, bool)>, Vec<String>) {
        let plan = plan(&Observed { set, pods, current: "old", update: "new", now: now() });
        let gone = plan.delete.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
        (plan.create, gone)
    }

    fn gone(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn ordered_sets_start_one_pod_after_the_other_and_parallel_ones_all_at_once() {
        let ordered = set(3, "OrderedReady", 0, 1);
        assert_eq!(step(&ordered, &[]), (vec![(0, true)], vec![]));
        assert_eq!(step(&ordered, &[member(0, "new", false)]), (vec![], vec![]));
        assert_eq!(step(&ordered, &[member(0, "new", true)]), (vec![(1, true)], vec![]));
        assert_eq!(step(&set(3, "Parallel", 0, 1), &[]).0, [(0, true), (1, true), (2, true)]);
    }

    #[test]
    fn scaling_down_takes_the_highest_ordinal_first() {
        let pods: Vec<_> = (0..4).map(|n| member(n, "new", true)).collect();
        assert_eq!(step(&set(2, "OrderedReady", 0, 1), &pods).1, gone(&["db-3"]));
        assert_eq!(step(&set(2, "Parallel", 0, 1), &pods).1, gone(&["db-3", "db-2"]));
        let sick = [member(0, "new", false), member(1, "new", true), member(2, "new", true)];
        assert_eq!(step(&set(2, "OrderedReady", 0, 1), &sick), (vec![], vec![]));
    }

    #[test]
    fn updates_go_from_the_highest_ordinal_to_the_partition() {
        let old: Vec<_> = (0..3).map(|n| member(n, "old", true)).collect();
        assert_eq!(step(&set(3, "OrderedReady", 0, 1), &old).1, gone(&["db-2"]));
        assert_eq!(step(&set(3, "OrderedReady", 0, 2), &old).1, gone(&["db-2", "db-1"]));
        assert_eq!(step(&set(3, "OrderedReady", 3, 1), &old).1, gone(&[]));
        let half = [member(0, "old", true), member(1, "old", true), member(2, "new", true)];
        assert_eq!(step(&set(3, "OrderedReady", 1, 1), &half).1, gone(&["db-1"]));
        assert_eq!(step(&set(3, "OrderedReady", 2, 1), &half).1, gone(&[]));
        let starting = [member(0, "old", true), member(1, "old", true), member(2, "new", false)];
        assert_eq!(step(&set(3, "Parallel", 0, 1), &starting).1, gone(&[]));
    }

    #[test]
    fn below_the_partition_pods_come_back_in_their_old_revision() {
        let pods = [member(1, "old", true), member(2, "new", true)];
        assert_eq!(step(&set(3, "OrderedReady", 2, 1), &pods).0, [(0, false)]);
    }

    #[test]
    fn the_update_revision_becomes_current_when_all_pods_have_it_and_are_ready() {
        let set = set(2, "OrderedReady", 0, 1);
        let observe = |pods: &[Arc<Pod>]| {
            status(&Observed { set: &set, pods, current: "old", update: "new", now: now() })
        };
        let half = observe(&[member(0, "old", true), member(1, "new", true)]);
        assert_eq!((half.current_revision.as_deref(), half.updated_replicas), (Some("old"), Some(1)));
        let done = observe(&[member(0, "new", true), member(1, "new", true)]);
        assert_eq!((done.current_revision.as_deref(), done.current_replicas), (Some("new"), Some(2)));
        let mut leaving = (*member(1, "new", true)).clone();
        leaving.metadata.deletion_timestamp = Some(Time(now()));
        let going = observe(&[member(0, "new", true), Arc::new(leaving)]);
        assert_eq!((going.replicas, going.updated_replicas), (2, Some(1)));
    }
}
