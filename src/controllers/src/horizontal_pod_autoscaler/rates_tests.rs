use super::rates::*;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use serde_json::{Value, json};

const BOUNDS: Bounds = Bounds { min: 1, max: 100 };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn behavior(value: Value) -> HorizontalPodAutoscalerBehavior {
    serde_json::from_value(value).unwrap()
}

fn reason(decision: &Decision) -> &str {
    decision.limited.map_or("", |(reason, _)| reason)
}

#[test]
fn by_default_replicas_double_or_grow_by_four_in_fifteen_seconds() {
    for (current, allowed) in [(1, 5), (4, 8), (10, 20)] {
        let decision = Memory::default().decide(current, 90, BOUNDS, None, at(0));
        assert_eq!((decision.replicas, reason(&decision)), (allowed, "ScaleUpLimit"), "from {current}");
    }
    let mut memory = Memory::default();
    memory.changed(10, 20, at(0));
    assert_eq!(memory.decide(20, 90, BOUNDS, None, at(10)).replicas, 20, "the period is not over");
    assert_eq!(memory.decide(20, 90, BOUNDS, None, at(16)).replicas, 40);
}

#[test]
fn by_default_replicas_shrink_after_five_quiet_minutes() {
    let mut memory = Memory::default();
    assert_eq!(memory.decide(10, 10, BOUNDS, None, at(0)).replicas, 10);
    let held = memory.decide(10, 2, BOUNDS, None, at(60));
    assert_eq!(held.replicas, 10);
    assert_eq!(held.stabilized.unwrap().0, "ScaleDownStabilized");
    let free = memory.decide(10, 2, BOUNDS, None, at(301));
    assert_eq!((free.replicas, free.stabilized), (2, None));
}

#[test]
fn bounds_are_told() {
    let bounds = Bounds { min: 2, max: 6 };
    let none = behavior(json!({"scaleDown": {"stabilizationWindowSeconds": 0}}));
    let most = Memory::default().decide(5, 50, bounds, Some(&none), at(0));
    assert_eq!((most.replicas, reason(&most)), (6, "TooManyReplicas"));
    let least = Memory::default().decide(5, 0, bounds, Some(&none), at(0));
    assert_eq!((least.replicas, reason(&least)), (2, "TooFewReplicas"));
    let within = Memory::default().decide(5, 4, bounds, Some(&none), at(0));
    assert_eq!((within.replicas, reason(&within)), (4, ""));
}

#[test]
fn policies_are_chosen_among() {
    let rules = |select: &str| {
        let policies = json!([{"type": "Pods", "value": 1, "periodSeconds": 60},
                              {"type": "Percent", "value": 50, "periodSeconds": 60}]);
        behavior(json!({"scaleUp": {"selectPolicy": select, "policies": policies},
                        "scaleDown": {"selectPolicy": select, "policies": policies, "stabilizationWindowSeconds": 0}}))
    };
    for (select, up, down) in [("Max", 15, 5), ("Min", 11, 9), ("Disabled", 10, 10)] {
        let rules = rules(select);
        assert_eq!(Memory::default().decide(10, 90, BOUNDS, Some(&rules), at(0)).replicas, up, "{select}");
        assert_eq!(Memory::default().decide(10, 1, BOUNDS, Some(&rules), at(0)).replicas, down, "{select}");
    }
    // What came within the period counts.
    let mut memory = Memory::default();
    memory.changed(10, 9, at(0));
    let down = memory.decide(9, 1, BOUNDS, Some(&rules("Max")), at(30));
    assert_eq!((down.replicas, reason(&down)), (5, "ScaleDownLimit"));
}

#[test]
fn growing_can_be_stabilized_too() {
    let rules = behavior(json!({"scaleUp": {"stabilizationWindowSeconds": 60}}));
    let mut memory = Memory::default();
    memory.decide(2, 3, BOUNDS, Some(&rules), at(0));
    let held = memory.decide(2, 6, BOUNDS, Some(&rules), at(30));
    assert_eq!((held.replicas, held.stabilized.unwrap().0), (3, "ScaleUpStabilized"));
    assert_eq!(memory.decide(2, 6, BOUNDS, Some(&rules), at(61)).replicas, 6);
}

#[test]
fn a_count_out_of_bounds_comes_back_at_once() {
    assert_eq!(Memory::default().decide(5, 5, Bounds { min: 1, max: 3 }, None, at(0)).replicas, 3);
}
