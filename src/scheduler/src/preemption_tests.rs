//! Who has to go, case by case.

use super::*;
use crate::framework::plugins;
use crate::schedule_one::tests::Nowhere;
use crate::schedule_one::{Decision, decide};
use crate::testing::{named_pod, node};
use crate::volumes::Volumes;
use serde_json::{Value, json};

/// A pod of a priority that asks for CPU; labelled with its name.
fn asking(name: &str, priority: i32, cpu: &str) -> Pod {
    let mut pod = named_pod(
        name,
        json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}),
    );
    pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), name.to_owned())]));
    pod
}

/// Nodes of four cores each with pods on them.
fn cluster(nodes: &[(&str, Vec<Pod>)]) -> Cache {
    let mut cache = Cache::default();
    for (name, pods) in nodes {
        cache.apply_node(Arc::new(node(name, json!({}))));
        for pod in pods {
            cache.assume(Arc::new(pod.clone()), name);
        }
    }
    cache
}

fn budget(name: &str, app: &str, allowed: i32) -> Arc<PodDisruptionBudget> {
    let budget = json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    Arc::new(serde_json::from_value(budget).unwrap())
}

fn outcome(
    cache: &Cache,
    pod: &Pod,
    nominations: &Nominations,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Result<(String, Vec<String>), String> {
    let snapshot =
        Snapshot { cache, volumes: &Volumes::default(), namespaces: &Nowhere, workloads: &Nowhere };
    let plugins = plugins::all();
    let Decision::Unschedulable(refusal) = decide(&plugins, pod, &snapshot, nominations, 0) else {
        panic!("it fits")
    };
    let world = World { plugins: &plugins, snapshot, nominations, budgets };
    match preempt(&world, pod, &refusal) {
        Ok(found) => {
            let names = found.victims.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
            Ok((found.node, names))
        }
        Err(unhelped) => Err(unhelped.message),
    }
}

fn found(node: &str, victims: &[&str]) -> Result<(String, Vec<String>), String> {
    Ok((node.to_owned(), victims.iter().map(|name| (*name).to_owned()).collect()))
}

#[test]
fn as_few_and_as_unimportant_pods_go_as_can_be() {
    let cache = cluster(&[
        ("a", vec![asking("a1", 5, "2"), asking("a2", 3, "2")]),
        ("b", vec![asking("b1", 4, "2"), asking("b2", 4, "2")]),
    ]);
    let none = Nominations::default();
    assert_eq!(outcome(&cache, &asking("p", 9, "2"), &none, &[]), found("a", &["a2"]), "the least important");
    assert_eq!(
        outcome(&cache, &asking("p", 9, "4"), &none, &[]),
        found("b", &["b1", "b2"]),
        "no 5 has to go"
    );
    assert_eq!(
        outcome(&cache, &asking("p", 3, "2"), &none, &[]),
        Err("no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.".to_owned()),
        "of equal importance"
    );
    assert_eq!(
        outcome(&cache, &asking("p", 4, "3"), &none, &[]),
        Err("no new claims to deallocate, preemption: 0/2 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod.".to_owned())
    );
}

#[test]
fn budgets_are_kept_where_they_can_be() {
    let cache = cluster(&[("a", vec![asking("a1", 1, "4")]), ("b", vec![asking("b1", 2, "4")])]);
    let none = Nominations::default();
    let wants = asking("p", 9, "1");
    assert_eq!(outcome(&cache, &wants, &none, &[]), found("a", &["a1"]));
    assert_eq!(outcome(&cache, &wants, &none, &[budget("x", "a1", 0)]), found("b", &["b1"]));
    assert_eq!(outcome(&cache, &wants, &none, &[budget("x", "a1", 1)]), found("a", &["a1"]));
    let both = [budget("x", "a1", 0), budget("y", "b1", 0)];
    assert_eq!(outcome(&cache, &wants, &none, &both), found("a", &["a1"]), "a budget is no guarantee");
    let one_node = cluster(&[("a", vec![asking("x", 1, "2"), asking("y", 2, "2")])]);
    let spares = outcome(&one_node, &asking("p", 9, "2"), &none, &[budget("b", "x", 0)]);
    assert_eq!(spares, found("a", &["y"]), "whom a budget protects is spared first");
}

#[test]
fn nobody_goes_where_that_does_not_help() {
    let none = Nominations::default();
    let mut cache = cluster(&[("a", vec![asking("a1", 1, "4")])]);
    cache.apply_node(Arc::new(node("c", json!({"spec": {"unschedulable": true}}))));
    assert_eq!(
        outcome(&cache, &asking("p", 1, "1"), &none, &[]),
        Err("no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.".to_owned())
    );
    assert_eq!(
        outcome(&cache, &asking("p", 9, "5"), &none, &[]),
        Err("no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.".to_owned()),
        "no node is as large"
    );
    let mut never = asking("p", 9, "1");
    never.spec.as_mut().unwrap().preemption_policy = Some("Never".to_owned());
    assert_eq!(
        outcome(&cache, &never, &none, &[]),
        Err("no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.".to_owned())
    );
}

#[test]
fn who_waits_for_victims_to_go_takes_no_more_and_keeps_the_place() {
    let mut going = asking("a1", 1, "4");
    going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let condition = json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]});
    going.status =
        serde_json::from_value::<Value>(condition).ok().and_then(|v| serde_json::from_value(v).ok());
    let cache = cluster(&[("a", vec![going]), ("b", vec![asking("b1", 1, "4")])]);
    let waits = asking("p", 9, "4");
    let mut nominations = Nominations::default();
    nominations.set(Arc::new(waits.clone()), "a");
    assert_eq!(
        outcome(&cache, &waits, &nominations, &[]),
        Err("no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node.".to_owned())
    );
    let free = cluster(&[("a", vec![])]);
    let snapshot =
        Snapshot { cache: &free, volumes: &Volumes::default(), namespaces: &Nowhere, workloads: &Nowhere };
    let decision = |pod: &Pod| decide(&plugins::all(), pod, &snapshot, &nominations, 0);
    assert_eq!(decision(&waits), Decision::Node("a".to_owned()));
    let Decision::Unschedulable(refusal) = decision(&asking("late", 9, "1")) else {
        panic!("the place is taken")
    };
    assert_eq!(refusal.message, "0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(decision(&asking("higher", 10, "1")), Decision::Node("a".to_owned()));
}
