use super::patch::status_patch;
use super::*;
use crate::prober::{Outcome, ProbeKind};
use crate::runtime_manager::{ObservedContainer, ObservedPod, Sandbox, State};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use std::collections::BTreeMap;

struct Given {
    pod: Pod,
    observed: ObservedPod,
    waiting: BTreeMap<String, WaitingReason>,
    verdict: Option<Override>,
    stopped: bool,
    ready: bool,
}

fn given(spec: serde_json::Value) -> Given {
    let pod =
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u", "generation": 3}, "spec": spec}));
    Given {
        pod: pod.unwrap(),
        observed: ObservedPod::default(),
        waiting: BTreeMap::new(),
        verdict: None,
        stopped: false,
        ready: true,
    }
}

fn seen(name: &str, state: State, exit_code: i32) -> ObservedContainer {
    ObservedContainer {
        id: format!("id-{name}"),
        sandbox_id: "s".into(),
        name: name.into(),
        state,
        exit_code,
        started_at: 1_000_000_000,
        finished_at: if state == State::Exited { 2_000_000_000 } else { 0 },
        reason: if state == State::Exited { "Error".into() } else { String::new() },
        ..ObservedContainer::default()
    }
}

fn status_of(given: &Given) -> PodStatus {
    let outcome = if given.ready { Outcome::Success } else { Outcome::Failure };
    let probes = move |_: &str, kind: ProbeKind| (kind == ProbeKind::Readiness).then_some(outcome);
    generate(&StatusInputs {
        pod: &given.pod,
        previous: crate::pod::status(&given.pod),
        observed: &given.observed,
        waiting: &given.waiting,
        probes: &probes,
        verdict: given.verdict.as_ref(),
        stopped_for_good: given.stopped,
        runtime_name: "containerd",
        host_ips: &["192.0.2.1".parse().unwrap()],
        now: &Time(jiff::Timestamp::UNIX_EPOCH),
    })
}

fn condition<'a>(status: &'a PodStatus, name: &str) -> (&'a str, &'a str) {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == name).unwrap();
    (found.status.as_str(), found.message.as_deref().unwrap_or(""))
}

fn waiting_reason(status: &PodStatus, index: usize) -> &str {
    let state = status.container_statuses.as_ref().unwrap()[index].state.as_ref().unwrap();
    state.waiting.as_ref().unwrap().reason.as_deref().unwrap()
}

#[test]
fn a_new_pod_is_pending_and_creating() {
    let status = status_of(&given(json!({"containers": [{"name": "a", "image": "i"}]})));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(waiting_reason(&status, 0), "ContainerCreating");
    assert_eq!(condition(&status, "Ready"), ("False", "containers with unready status: [a]"));
    assert_eq!(condition(&status, "PodReadyToStartContainers").0, "False");
    assert_eq!(condition(&status, "Initialized").0, "True");
    assert_eq!(status.observed_generation, Some(3));
}

#[test]
fn a_running_pod_is_ready_with_its_address() {
    let mut given = given(json!({"containers": [{"name": "a"}]}));
    given.observed.sandboxes =
        vec![Sandbox { id: "s".into(), ready: true, ips: vec!["10.1.0.5".into()], ..Sandbox::default() }];
    given.observed.containers = vec![seen("a", State::Running, 0)];
    let status = status_of(&given);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(status.pod_ip.as_deref(), Some("10.1.0.5"));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("containerd://id-a"));
    assert!(container.ready && container.started == Some(true));
}

#[test]
fn an_unready_probe_makes_the_pod_unready() {
    let mut given =
        given(json!({"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 1}}}]}));
    given.observed.containers = vec![seen("a", State::Running, 0)];
    given.ready = false;
    assert_eq!(condition(&status_of(&given), "ContainersReady").0, "False");
}

#[test]
fn a_restarted_kubelet_keeps_what_was_ready() {
    let mut given = given(json!({"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 1}},
        "startupProbe": {"tcpSocket": {"port": 1}}}]}));
    given.observed.containers = vec![seen("a", State::Running, 0)];
    given.pod.status = serde_json::from_value(json!({"containerStatuses": [{"name": "a", "image": "i",
        "imageID": "", "ready": true, "started": true, "restartCount": 0, "containerID": "containerd://id-a",
        "state": {"running": {}}}]}))
    .unwrap();
    let no_verdict = |_: &str, _: ProbeKind| None;
    let status = generate(&StatusInputs {
        pod: &given.pod,
        previous: crate::pod::status(&given.pod),
        observed: &given.observed,
        waiting: &given.waiting,
        probes: &no_verdict,
        verdict: None,
        stopped_for_good: false,
        runtime_name: "containerd",
        host_ips: &[],
        now: &Time(jiff::Timestamp::UNIX_EPOCH),
    });
    assert_eq!(condition(&status, "ContainersReady").0, "True");
}

#[test]
fn a_crash_loop_waits_but_keeps_the_pod_running() {
    let mut given = given(json!({"containers": [{"name": "a"}]}));
    given.observed.containers = vec![seen("a", State::Exited, 1)];
    given.waiting.insert(
        "a".into(),
        WaitingReason { reason: "CrashLoopBackOff".into(), message: "back-off 10s".into() },
    );
    let status = status_of(&given);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(waiting_reason(&status, 0), "CrashLoopBackOff");
    let last = status.container_statuses.as_ref().unwrap()[0].last_state.clone().unwrap();
    assert_eq!(last.terminated.unwrap().exit_code, 1);
}

#[test]
fn finished_pods_succeed_or_fail_by_policy() {
    let of = |policy: &str, code| {
        let mut given = given(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
        given.observed.containers = vec![seen("a", State::Exited, code)];
        status_of(&given).phase.unwrap()
    };
    assert_eq!(of("Never", 0), "Succeeded");
    assert_eq!(of("Never", 1), "Failed");
    assert_eq!(of("OnFailure", 0), "Succeeded");
    assert_eq!(of("OnFailure", 1), "Running");
    assert_eq!(of("Always", 0), "Running");
}

#[test]
fn initialisation_shows_in_phase_and_condition() {
    let spec =
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let mut given = given(spec);
    given.observed.containers = vec![seen("i", State::Running, 0)];
    let status = status_of(&given);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(waiting_reason(&status, 0), "PodInitializing");
    assert_eq!(condition(&status, "Initialized"), ("False", "containers with incomplete status: [i]"));
    given.observed.containers = vec![seen("i", State::Exited, 1)];
    assert_eq!(status_of(&given).phase.as_deref(), Some("Failed"));
}

#[test]
fn a_verdict_fails_the_pod() {
    let mut given = given(json!({"containers": [{"name": "a"}]}));
    given.observed.containers = vec![seen("a", State::Running, 0)];
    given.verdict = Some(Override { reason: "Evicted".into(), message: "The node was low".into() });
    let status = status_of(&given);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    assert_eq!(condition(&status, "DisruptionTarget"), ("True", "The node was low"));
}

#[test]
fn a_container_that_vanished_counts_as_restarted() {
    let mut given = given(json!({"containers": [{"name": "a"}]}));
    given.pod.status = serde_json::from_value(json!({"containerStatuses": [{"name": "a", "image": "i",
        "imageID": "", "ready": true, "restartCount": 2, "containerID": "containerd://x",
        "state": {"running": {}}}]}))
    .unwrap();
    let container = status_of(&given).container_statuses.unwrap().remove(0);
    assert_eq!(container.restart_count, 3);
    let last = container.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}

#[test]
fn patches_hold_only_what_changed() {
    let mut given = given(json!({"containers": [{"name": "a"}]}));
    let first = status_of(&given);
    assert_eq!(status_patch("u", &first, &first), None);
    given.pod.status = Some(first.clone());
    given.observed.containers = vec![seen("a", State::Running, 0)];
    let patch = status_patch("u", &first, &status_of(&given)).unwrap();
    assert_eq!(patch["metadata"], json!({"uid": "u"}));
    assert_eq!(patch["status"]["phase"], "Running");
    assert!(patch["status"].get("hostIP").is_none());
    let ready = &patch["status"]["conditions"][0];
    assert_eq!((&ready["type"], &ready["reason"]), (&json!("Ready"), &json!(null)));
}

#[test]
fn the_conditions_of_others_are_left_alone() {
    let old: PodStatus = serde_json::from_value(json!({"conditions": [
        {"type": "PodScheduled", "status": "True", "lastProbeTime": null, "reason": "x"},
        {"type": "example.com/gate", "status": "True"}]}))
    .unwrap();
    let given = given(json!({"containers": [{"name": "a"}]}));
    let patch = status_patch("u", &old, &status_of(&given)).unwrap();
    let types: Vec<&str> = patch["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert!(!types.contains(&"PodScheduled") && !types.contains(&"example.com/gate"));
}
