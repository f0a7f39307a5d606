//! `affinity.podAffinity` and `podAntiAffinity`, the required terms: of the pod, and the anti-affinity of the
//! pods that are there already.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use client::Selector;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm};

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
                return Err(Unfit::because(AFFINITY));
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
                return Err(Unfit::because(AFFINITY));
            }
        }
        Ok(())
    }
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
        let snapshot = Snapshot { cache: &cache, volumes: &Volumes::default(), namespaces: &Nowhere };
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
        assert_eq!((m, n), (Ok(()), Err(Unfit::because(AFFINITY))));
    }

    #[test]
    fn the_first_of_a_group_may_go_anywhere() {
        let mut other = labelled("1", "podAffinity");
        other.metadata.labels = None;
        let [m, n] = check(&other, &labelled("2", "podAffinity"));
        assert_eq!((m, n), (Ok(()), Ok(())));
    }
}
