//! `affinity.podAffinity` and `podAntiAffinity`: of the pod, and of the pods that are there already.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, MAX_SCORE, Plugin, Snapshot, Unfit};
use client::Selector;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};

/// See the module.
pub struct InterPodAffinity;

const AFFINITY: &str = "node(s) didn't match pod affinity rules";
const ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
const EXISTING: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[
            ClusterEvent::PodAdded,
            ClusterEvent::PodDeleted,
            ClusterEvent::NodeAdded,
            ClusterEvent::NodeChanged,
        ]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        for (there, other) in snapshot.cache.pods() {
            for term in anti_affinity(other) {
                if same_domain(&term.topology_key, there, node) && matches(term, other, pod, snapshot) {
                    return Err(Unfit::because(EXISTING));
                }
            }
        }
        for term in anti_affinity(pod) {
            let meets = snapshot.cache.pods().any(|(there, other)| {
                same_domain(&term.topology_key, there, node) && matches(term, pod, other, snapshot)
            });
            if meets {
                return Err(Unfit::because(ANTI_AFFINITY));
            }
        }
        for term in affinity(pod) {
            if node.label(&term.topology_key).is_none() {
                return Err(Unfit::for_good(AFFINITY));
            }
            let mut anywhere = false;
            let here = snapshot.cache.pods().any(|(there, other)| {
                let found = matches(term, pod, other, snapshot);
                anywhere |= found;
                found && same_domain(&term.topology_key, there, node)
            });
            // The first pod of a group that wants to be together may go anywhere.
            let first = !anywhere && matches(term, pod, pod, snapshot);
            if !here && !first {
                return Err(Unfit::for_good(AFFINITY));
            }
        }
        Ok(())
    }

    /// What the pod prefers of those that are there, and they of it; that they require it counts a little too.
    fn score(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> i64 {
        let own: Vec<_> = preferred(pod).collect();
        let mut sum = 0_i64;
        for (there, other) in snapshot.cache.pods() {
            let mut count = |term: &PodAffinityTerm, owner: &Pod, candidate: &Pod, weight: i64| {
                if same_domain(&term.topology_key, there, node) && matches(term, owner, candidate, snapshot) {
                    sum += weight;
                }
            };
            own.iter().for_each(|(term, weight)| count(term, pod, other, *weight));
            preferred(other).for_each(|(term, weight)| count(term, other, pod, weight));
            affinity(other).iter().for_each(|term| count(term, other, pod, REQUIRED_WEIGHT));
        }
        sum
    }

    fn normalize(&self, scores: &mut [i64]) {
        let (Some(least), Some(most)) = (scores.iter().min().copied(), scores.iter().max().copied()) else {
            return;
        };
        for score in scores {
            *score = MAX_SCORE.saturating_mul(*score - least).checked_div(most - least).unwrap_or(0);
        }
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// What a required term of a pod that is there counts, on the scale of the weights (upstream's
/// `hardPodAffinityWeight`).
const REQUIRED_WEIGHT: i64 = 1;

/// The preferred terms with what they count: less than nothing for those of anti-affinity.
fn preferred(pod: &Pod) -> impl Iterator<Item = (&PodAffinityTerm, i64)> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let near = affinity
        .and_then(|a| a.pod_affinity.as_ref()?.preferred_during_scheduling_ignored_during_execution.as_ref());
    let far = affinity.and_then(|a| {
        a.pod_anti_affinity.as_ref()?.preferred_during_scheduling_ignored_during_execution.as_ref()
    });
    let weighted = |sign: i64| move |one: &'_ WeightedPodAffinityTerm| sign * i64::from(one.weight);
    let (plus, minus) = (weighted(1), weighted(-1));
    near.into_iter()
        .flatten()
        .map(move |one| (&one.pod_affinity_term, plus(one)))
        .chain(far.into_iter().flatten().map(move |one| (&one.pod_affinity_term, minus(one))))
}

fn affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = pod.spec.as_ref().and_then(|s| s.affinity.as_ref()).and_then(|a| a.pod_affinity.as_ref());
    affinity
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

fn anti_affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity =
        pod.spec.as_ref().and_then(|s| s.affinity.as_ref()).and_then(|a| a.pod_anti_affinity.as_ref());
    affinity
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

fn same_domain(key: &str, one: &NodeInfo, other: &NodeInfo) -> bool {
    one.label(key).is_some() && one.label(key) == other.label(key)
}

/// Whether a term of `owner` selects `candidate`.
fn matches(term: &PodAffinityTerm, owner: &Pod, candidate: &Pod, snapshot: &Snapshot<'_>) -> bool {
    let namespace = candidate.metadata.namespace.as_deref().unwrap_or("");
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let in_namespace = match &term.namespace_selector {
        None if listed.is_empty() => candidate.metadata.namespace == owner.metadata.namespace,
        None => listed.iter().any(|n| n == namespace),
        Some(selector) => {
            listed.iter().any(|n| n == namespace)
                || Selector::new(Some(selector)).matches(snapshot.namespaces.labels(namespace).as_ref())
        }
    };
    in_namespace && Selector::new(term.label_selector.as_ref()).matches(candidate.metadata.labels.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::schedule_one::tests::Nowhere;
    use crate::testing::{named_pod, node};
    use crate::volumes::Volumes;
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn labelled(name: &str, kind: &str) -> Pod {
        let mut pod = named_pod(
            name,
            json!({"containers": [], "affinity": {kind: {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}]}}}),
        );
        pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "a".to_owned())]));
        pod
    }

    fn check(existing: &Pod, pod: &Pod) -> [Result<(), Unfit>; 2] {
        let mut cache = Cache::default();
        for name in ["m", "n"] {
            cache.apply_node(Arc::new(node(name, json!({}))));
        }
        cache.assume(Arc::new(existing.clone()), "m");
        let snapshot = Snapshot {
            cache: &cache,
            volumes: &Volumes::default(),
            namespaces: &Nowhere,
            workloads: &Nowhere,
        };
        ["m", "n"].map(|name| {
            InterPodAffinity.filter(pod, cache.nodes().find(|n| n.name() == name).unwrap(), &snapshot)
        })
    }

    #[test]
    fn pods_that_keep_apart_do_not_share_a_node() {
        let [m, n] = check(&labelled("1", "podAntiAffinity"), &labelled("2", "podAntiAffinity"));
        assert_eq!((m, n), (Err(Unfit::because(EXISTING)), Ok(())));
        let [m, n] = check(&labelled("1", "podAffinity"), &labelled("2", "podAntiAffinity"));
        assert_eq!((m, n), (Err(Unfit::because(ANTI_AFFINITY)), Ok(())));
    }

    #[test]
    fn pods_that_keep_together_share_a_node() {
        let [m, n] = check(&labelled("1", "podAffinity"), &labelled("2", "podAffinity"));
        assert_eq!((m, n), (Ok(()), Err(Unfit::for_good(AFFINITY))));
    }

    /// A pod of an app that prefers those of another, or to be away from them.
    fn preferring(name: &str, app: &str, kind: &str, other: &str) -> Pod {
        let mut pod = named_pod(
            name,
            json!({"containers": [], "affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 10, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app": other}}}}]}}}),
        );
        pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), app.to_owned())]));
        pod
    }

    fn scores(existing: Pod, pod: &Pod) -> Vec<i64> {
        let mut cache = Cache::default();
        for name in ["m", "n"] {
            cache.apply_node(Arc::new(node(name, json!({}))));
        }
        cache.assume(Arc::new(existing), "m");
        let snapshot = Snapshot {
            cache: &cache,
            volumes: &Volumes::default(),
            namespaces: &Nowhere,
            workloads: &Nowhere,
        };
        let mut scores: Vec<i64> =
            cache.nodes().map(|node| InterPodAffinity.score(pod, node, &snapshot)).collect();
        InterPodAffinity.normalize(&mut scores);
        scores
    }

    #[test]
    fn preferences_of_both_sides_count() {
        let web = |kind: &str| preferring("w", "web", kind, "db");
        let plain = |app: &str| preferring("o", app, "podAffinity", "nobody");
        assert_eq!(scores(plain("db"), &web("podAffinity")), [100, 0]);
        assert_eq!(scores(plain("db"), &web("podAntiAffinity")), [0, 100]);
        assert_eq!(scores(web("podAffinity"), &plain("db")), [100, 0], "they prefer it");
        assert_eq!(scores(web("podAntiAffinity"), &plain("db")), [0, 100], "they would rather not");
        assert_eq!(scores(labelled("1", "podAffinity"), &preferring("p", "a", "podAffinity", "x")), [100, 0]);
        assert_eq!(scores(plain("x"), &plain("db")), [0, 0]);
    }

    #[test]
    fn the_first_of_a_group_may_go_anywhere() {
        let mut other = labelled("1", "podAffinity");
        other.metadata.labels = None;
        let [m, n] = check(&other, &labelled("2", "podAffinity"));
        assert_eq!((m, n), (Ok(()), Ok(())));
    }
}
