//! One pod's status from everything that is known about it. Pure.

use super::conditions::{ConditionInputs, conditions};
use super::containers::{self, WaitingReason};
use super::phase::{Phase, phase};
use crate::pod;
use crate::resources;
use crate::runtime_manager::{ContainerKind, ObservedPod, ProbeLookup};
use k8s_openapi::api::core::v1::{HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A verdict on the whole pod that overrides what its containers say: eviction, deadline, rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// One word: `Evicted`, `DeadlineExceeded`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Everything that a pod's status depends on.
pub struct StatusInputs<'a> {
    /// The pod as the API server has it.
    pub pod: &'a Pod,
    /// Its status as last posted or read.
    pub previous: &'a PodStatus,
    /// What the runtime has.
    pub observed: &'a ObservedPod,
    /// Why containers wait, by name.
    pub waiting: &'a BTreeMap<String, WaitingReason>,
    /// What probes found.
    pub probes: ProbeLookup<'a>,
    /// A verdict on the whole pod.
    pub verdict: Option<&'a Override>,
    /// The kubelet has stopped the pod and will start nothing of it any more.
    pub stopped_for_good: bool,
    /// The runtime's name, the scheme of container ids.
    pub runtime_name: &'a str,
    /// The node's addresses, the primary one first.
    pub host_ips: &'a [IpAddr],
    /// Now.
    pub now: &'a Time,
}

/// The status. Only fields that the kubelet owns are set.
pub fn generate(inputs: &StatusInputs<'_>) -> PodStatus {
    let previous_of = |list: &Option<Vec<_>>| list.clone().unwrap_or_default();
    let previous = inputs.previous;
    let ephemeral = pod::ephemeral_containers(inputs.pod);
    let init = containers::statuses(
        inputs,
        pod::init_containers(inputs.pod),
        ContainerKind::Init,
        &previous_of(&previous.init_container_statuses),
    );
    let mut regular = containers::statuses(
        inputs,
        pod::containers(inputs.pod),
        ContainerKind::Regular,
        &previous_of(&previous.container_statuses),
    );
    let ephemeral = containers::statuses(
        inputs,
        &ephemeral,
        ContainerKind::Ephemeral,
        &previous_of(&previous.ephemeral_container_statuses),
    );
    let mut phase = phase(inputs.pod, &init, &regular, inputs.stopped_for_good);
    let terminal_before = match previous.phase.as_deref() {
        Some("Succeeded") => Some(Phase::Succeeded),
        Some("Failed") => Some(Phase::Failed),
        _ => None,
    };
    if let Some(before) = terminal_before {
        phase = before;
    } else if inputs.verdict.is_some() {
        phase = Phase::Failed;
    }
    if phase.is_terminal() {
        for status in &mut regular {
            status.ready = false;
            status.started = Some(false);
        }
    }
    let sandbox = inputs.observed.active_sandbox();
    let sandbox_ready =
        sandbox.is_some_and(|sandbox| pod::host_network(inputs.pod) || !sandbox.ips.is_empty());
    let previous_conditions = previous.conditions.as_deref().unwrap_or(&[]);
    let conditions = conditions(&ConditionInputs {
        pod: inputs.pod,
        phase,
        init: &init,
        regular: &regular,
        sandbox_ready,
        previous: previous_conditions,
        evicted: inputs.verdict.filter(|v| v.reason == "Evicted").map(|v| v.message.as_str()),
        now: inputs.now,
    });
    let ips = pod_ips(inputs, phase);
    let host_ips: Vec<String> = inputs.host_ips.iter().map(ToString::to_string).collect();
    let list = |statuses: Vec<_>| (!statuses.is_empty()).then_some(statuses);
    PodStatus {
        phase: Some(phase.as_str().to_owned()),
        reason: inputs.verdict.map(|verdict| verdict.reason.clone()).or_else(|| previous.reason.clone()),
        message: inputs.verdict.map(|verdict| verdict.message.clone()).or_else(|| previous.message.clone()),
        conditions: Some(conditions),
        container_statuses: list(regular),
        init_container_statuses: list(init),
        ephemeral_container_statuses: list(ephemeral),
        host_ip: host_ips.first().cloned(),
        host_ips: (!host_ips.is_empty()).then(|| host_ips.into_iter().map(|ip| HostIP { ip }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: Some(previous.start_time.clone().unwrap_or_else(|| inputs.now.clone())),
        qos_class: Some(resources::qos_class(inputs.pod).as_str().to_owned()),
        observed_generation: inputs.pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// The status of a pod that this node refuses to run.
pub fn failed_status(pod: &Pod, verdict: &Override, now: &Time) -> PodStatus {
    PodStatus {
        phase: Some(Phase::Failed.as_str().to_owned()),
        reason: Some(verdict.reason.clone()),
        message: Some(verdict.message.clone()),
        qos_class: Some(resources::qos_class(pod).as_str().to_owned()),
        start_time: Some(pod::status(pod).start_time.clone().unwrap_or_else(|| now.clone())),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn pod_ips(inputs: &StatusInputs<'_>, phase: Phase) -> Vec<String> {
    if pod::host_network(inputs.pod) {
        // Known once the sandbox is there, as for every other pod.
        let known = inputs.observed.active_sandbox().is_some() || inputs.previous.pod_ip.is_some();
        return if known { inputs.host_ips.iter().map(ToString::to_string).collect() } else { Vec::new() };
    }
    if let Some(sandbox) = inputs.observed.active_sandbox().filter(|sandbox| !sandbox.ips.is_empty()) {
        return sandbox.ips.clone();
    }
    // A finished pod keeps the addresses it had, for whoever reads its history.
    if phase.is_terminal() || inputs.stopped_for_good {
        return inputs.previous.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    Vec::new()
}
