use super::*;
use crate::cache::Cache;
use crate::framework::Workloads;
use crate::schedule_one::tests::Nowhere;
use crate::testing::{named_pod, node};
use crate::volumes::Volumes;
use serde_json::{Value, json};
use std::sync::Arc;

/// Every pod belongs to the app `a`.
struct OneApp;

impl Workloads for OneApp {
    fn selector(&self, _: &Pod) -> Option<Selector> {
        Some(Selector::exactly(Some(&labels())))
    }
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "a".to_owned())])
}

/// A pod of the app `a` with constraints of its own.
fn spread(name: &str, constraints: Value) -> Pod {
    let spec = json!({"containers": [], "topologySpreadConstraints": constraints});
    Pod { metadata: meta(name), ..named_pod(name, spec) }
}

fn meta(name: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    let mut meta = named_pod(name, json!({"containers": []})).metadata;
    meta.labels = Some(labels());
    meta
}

fn plain(name: &str) -> Pod {
    spread(name, Value::Null)
}

fn constraint(key: &str, when: &str) -> Value {
    json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "a"}}})
}

/// Nodes with their zones (none where empty) and how many pods of the app they have.
fn cache(nodes: &[(&str, &str, usize)]) -> Cache {
    let mut cache = Cache::default();
    for (name, zone, pods) in nodes {
        let labels = if zone.is_empty() { json!({}) } else { json!({ZONE: zone}) };
        cache.apply_node(Arc::new(node(name, json!({"metadata": {"labels": labels}}))));
        for number in 0..*pods {
            cache.assume(Arc::new(plain(&format!("{name}-{number}"))), name);
        }
    }
    cache
}

fn scores(cache: &Cache, pod: &Pod, workloads: &dyn Workloads) -> Vec<i64> {
    let snapshot = Snapshot { cache, volumes: &Volumes::default(), namespaces: &Nowhere, workloads };
    let nodes: Vec<&NodeInfo> = cache.nodes().collect();
    PodTopologySpread.scores(pod, &nodes, &snapshot)
}

#[test]
fn a_domain_that_is_too_full_is_refused() {
    let pod = |name| spread(name, json!([constraint(HOSTNAME, "DoNotSchedule")]));
    let mut cache = cache(&[("m", "", 0), ("n", "", 0)]);
    cache.assume(Arc::new(pod("1")), "m");
    let snapshot =
        Snapshot { cache: &cache, volumes: &Volumes::default(), namespaces: &Nowhere, workloads: &Nowhere };
    let fits = |name: &str| PodTopologySpread.filter(&pod("2"), cache.node(name).unwrap(), &snapshot);
    assert_eq!(fits("m"), Err(Unfit::because(SKEWED)));
    assert_eq!(fits("n"), Ok(()));
}

#[test]
fn pods_that_belong_together_are_spread_over_the_nodes_by_default() {
    let cache = cache(&[("l", "", 2), ("m", "", 1), ("n", "", 0)]);
    // ln(3 + 2) for each pod, and 2 for the skew that is allowed: 5, 4 and 2.
    assert_eq!(scores(&cache, &plain("p"), &OneApp), [40, 60, 100]);
    assert_eq!(scores(&cache, &plain("p"), &Nowhere), [0, 0, 0], "it belongs to nothing");
    let mut other = plain("p");
    other.metadata.namespace = Some("elsewhere".to_owned());
    assert_eq!(scores(&cache, &other, &OneApp), [100, 100, 100]);
}

#[test]
fn pods_are_spread_over_the_zones_by_default_and_nodes_without_one_are_not_left_out() {
    let zones = cache(&[("k", "y", 1), ("l", "y", 0), ("m", "z", 0), ("n", "z", 0)]);
    // ln(4 + 2) + 2 on the first, 2 on the others; and ln(2 + 2) + 4 in its zone, 4 in the other: 9, 7, 6, 6.
    assert_eq!(scores(&zones, &plain("p"), &OneApp), [66, 88, 100, 100]);
    let without = cache(&[("l", "y", 1), ("m", "y", 0), ("n", "", 1)]);
    let scores = scores(&without, &plain("p"), &OneApp);
    assert!(scores[2] > scores[0] && scores.iter().all(|score| *score > 0), "{scores:?}");
}

#[test]
fn own_constraints_replace_those_by_default() {
    let zones = cache(&[("k", "y", 1), ("l", "y", 0), ("m", "z", 0), ("n", "", 0)]);
    let zone = spread("p", json!([constraint(ZONE, "ScheduleAnyway")]));
    // Its zone is what counts, not the node; one without a zone is liked least.
    assert_eq!(scores(&zones, &zone, &OneApp), [0, 0, 100, 0]);
    let strict = spread("p", json!([constraint(ZONE, "DoNotSchedule")]));
    assert_eq!(scores(&zones, &strict, &OneApp), [0, 0, 0, 0]);
}

#[test]
fn pods_that_are_going_do_not_count() {
    let mut cache = cache(&[("m", "", 0), ("n", "", 0)]);
    let mut going = plain("g");
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    cache.assume(Arc::new(going), "m");
    assert_eq!(scores(&cache, &plain("p"), &OneApp), [100, 100]);
}
