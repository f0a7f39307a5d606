use super::metrics::{PodMetric, PodMetrics};
use super::usage::*;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::sync::Arc;

const TOLERANCES: Tolerances = Tolerances { up: 0.1, down: 0.1 };

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// A pod that requests 1000m and has been ready for an hour.
fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}]},
    }))
    .unwrap()
}

fn changed(name: &str, status: serde_json::Value) -> Pod {
    Pod { status: serde_json::from_value(status).unwrap(), ..pod(name) }
}

fn used(all: &[(&str, i64)]) -> PodMetrics {
    let metric = |milli| PodMetric { timestamp: now(), window: SignedDuration::from_secs(30), milli };
    all.iter().map(|(name, milli)| ((*name).to_owned(), metric(*milli))).collect()
}

fn wanted(current: i32, metrics: &[(&str, i64)], pods: Vec<Pod>, target: Target) -> Result<Outcome, String> {
    let pods: Vec<Arc<Pod>> = pods.into_iter().map(Arc::new).collect();
    let subject = Subject { resource: "cpu", container: None, target, tolerances: TOLERANCES };
    replicas(current, used(metrics), &pods, subject, now())
}

#[test]
fn replicas_follow_utilization() {
    let three = || vec![pod("a"), pod("b"), pod("c")];
    for (each, expected) in [(500, 3), (300, 2), (540, 3), (560, 4), (1000, 6), (0, 0)] {
        let outcome =
            wanted(3, &[("a", each), ("b", each), ("c", each)], three(), Target::Utilization(50)).unwrap();
        assert_eq!(outcome.replicas, expected, "{each}m each");
        assert_eq!(outcome.utilization, Some((each / 10) as i32));
        assert_eq!(outcome.average_milli, each);
    }
}

#[test]
fn replicas_follow_an_average_value_without_requests() {
    let mut bare = pod("a");
    bare.spec.as_mut().unwrap().containers[0].resources = None;
    let outcome = wanted(1, &[("a", 900)], vec![bare.clone()], Target::AverageValue(300)).unwrap();
    assert_eq!((outcome.replicas, outcome.utilization, outcome.average_milli), (3, None, 900));
    let error = wanted(1, &[("a", 900)], vec![bare], Target::Utilization(50)).unwrap_err();
    assert_eq!(error, "missing request for cpu in container c of Pod a");
}

#[test]
fn pods_that_are_starting_count_as_idle_when_more_are_wanted() {
    let starting = changed("b", json!({"phase": "Pending"}));
    // Twice the target by one of two: four were wanted of two, but the second will take its part.
    let outcome = wanted(2, &[("a", 1000)], vec![pod("a"), starting], Target::Utilization(50)).unwrap();
    assert_eq!(outcome.replicas, 2);
    let just = changed(
        "b",
        json!({"phase": "Running", "startTime": "2026-01-01T00:59:00Z", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:50Z"}]}),
    );
    // What it uses was measured while it started.
    let outcome =
        wanted(2, &[("a", 250), ("b", 3000)], vec![pod("a"), just], Target::Utilization(50)).unwrap();
    assert_eq!(outcome.replicas, 1);
}

#[test]
fn pods_without_metrics_count_against_the_change() {
    let two = || vec![pod("a"), pod("b")];
    // Fewer: the silent one is taken for busy.
    assert_eq!(wanted(2, &[("a", 100)], two(), Target::Utilization(50)).unwrap().replicas, 2);
    // More: for idle.
    assert_eq!(wanted(2, &[("a", 1500)], two(), Target::Utilization(50)).unwrap().replicas, 3);
    assert_eq!(wanted(2, &[("a", 900)], two(), Target::Utilization(50)).unwrap().replicas, 2);
}

#[test]
fn pods_that_end_do_not_count() {
    let mut ending = pod("b");
    ending.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:59:00Z")).unwrap());
    let failed = changed("c", json!({"phase": "Failed"}));
    let outcome = wanted(
        3,
        &[("a", 1000), ("b", 0), ("c", 0)],
        vec![pod("a"), ending, failed],
        Target::Utilization(50),
    );
    assert_eq!(outcome.unwrap().replicas, 2);
}

#[test]
fn without_anything_to_go_by_nothing_is_decided() {
    assert!(wanted(1, &[], vec![], Target::Utilization(50)).unwrap_err().starts_with("no pods returned"));
    let pending = changed("a", json!({"phase": "Pending"}));
    assert!(
        wanted(1, &[("a", 1)], vec![pending], Target::Utilization(50))
            .unwrap_err()
            .contains("might be unready")
    );
}
