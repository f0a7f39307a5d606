//! Pod conditions. Pure.

use super::phase::{Phase, find};
use crate::pod;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The conditions that the kubelet owns. All others belong to somebody else and are never written.
pub const OWNED: [&str; 6] = [READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED, DISRUPTION];

/// Sandbox and network are there (KEP-3085).
const READY_TO_START: &str = "PodReadyToStartContainers";
const INITIALIZED: &str = "Initialized";
const READY: &str = "Ready";
const CONTAINERS_READY: &str = "ContainersReady";
/// The pod was ended for the node's sake, not for its own (KEP-3329). Preemption and the eviction API set it, too.
const DISRUPTION: &str = "DisruptionTarget";
/// The scheduler's; the kubelet only adds it to pods that were placed without one.
const SCHEDULED: &str = "PodScheduled";

/// What conditions depend on besides the spec.
pub struct ConditionInputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The phase.
    pub phase: Phase,
    /// Init container statuses.
    pub init: &'a [ContainerStatus],
    /// Regular container statuses.
    pub regular: &'a [ContainerStatus],
    /// Whether the pod has a sandbox with its network.
    pub sandbox_ready: bool,
    /// The conditions as last known.
    pub previous: &'a [PodCondition],
    /// What the pod was evicted for, if it was.
    pub evicted: Option<&'a str>,
    /// Now.
    pub now: &'a Time,
}

struct Verdict {
    type_: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

/// All of the kubelet's conditions.
pub fn conditions(inputs: &ConditionInputs<'_>) -> Vec<PodCondition> {
    let containers_ready = containers_ready(inputs);
    let ready = ready(inputs, &containers_ready);
    let verdicts = [
        Verdict { type_: READY_TO_START, holds: inputs.sandbox_ready, reason: None, message: None },
        initialized(inputs),
        ready,
        containers_ready,
        Verdict { type_: SCHEDULED, holds: true, reason: None, message: None },
    ];
    let mut conditions: Vec<PodCondition> =
        verdicts.into_iter().map(|verdict| condition(inputs, verdict)).collect();
    let known = inputs.previous.iter().find(|condition| condition.type_ == DISRUPTION);
    conditions.extend(known.cloned().or_else(|| {
        let verdict = Verdict {
            type_: DISRUPTION,
            holds: true,
            reason: Some("TerminationByKubelet"),
            message: Some(inputs.evicted?.to_owned()),
        };
        Some(condition(inputs, verdict))
    }));
    conditions
}

fn condition(inputs: &ConditionInputs<'_>, verdict: Verdict) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let previous = inputs.previous.iter().find(|condition| condition.type_ == verdict.type_);
    let since =
        previous.filter(|previous| previous.status == status).and_then(|p| p.last_transition_time.clone());
    PodCondition {
        type_: verdict.type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: Some(since.unwrap_or_else(|| inputs.now.clone())),
        observed_generation: inputs.pod.metadata.generation,
        ..PodCondition::default()
    }
}

fn initialized(inputs: &ConditionInputs<'_>) -> Verdict {
    let verdict = |holds, reason, message| Verdict { type_: INITIALIZED, holds, reason, message };
    if inputs.phase == Phase::Succeeded {
        return verdict(true, Some("PodCompleted"), None);
    }
    let ran = |status: Option<&ContainerStatus>| {
        let state = status.and_then(|status| status.state.as_ref());
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    if inputs.regular.iter().any(|status| ran(Some(status))) {
        return verdict(true, None, None);
    }
    let incomplete: Vec<&str> = pod::init_containers(inputs.pod)
        .iter()
        .filter(|container| {
            let status = find(inputs.init, &container.name);
            if pod::is_sidecar(container) {
                !status.and_then(|status| status.started).unwrap_or(false)
            } else {
                !status.is_some_and(|status| status.ready)
            }
        })
        .map(|container| container.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return verdict(true, None, None);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    verdict(false, Some("ContainersNotInitialized"), Some(message))
}

fn containers_ready(inputs: &ConditionInputs<'_>) -> Verdict {
    let verdict = |holds, reason, message| Verdict { type_: CONTAINERS_READY, holds, reason, message };
    match inputs.phase {
        Phase::Succeeded => return verdict(false, Some("PodCompleted"), None),
        Phase::Failed => return verdict(false, Some("PodFailed"), None),
        Phase::Pending | Phase::Running => {}
    }
    let sidecars = pod::init_containers(inputs.pod).iter().filter(|container| pod::is_sidecar(container));
    let of_sidecars = sidecars.map(|container| (container.name.as_str(), find(inputs.init, &container.name)));
    let of_regular = pod::containers(inputs.pod)
        .iter()
        .map(|container| (container.name.as_str(), find(inputs.regular, &container.name)));
    let unready: Vec<&str> = of_sidecars
        .chain(of_regular)
        .filter(|(_, status)| !status.is_some_and(|status| status.ready))
        .map(|(name, _)| name)
        .collect();
    if unready.is_empty() {
        return verdict(true, None, None);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    verdict(false, Some("ContainersNotReady"), Some(message))
}

fn ready(inputs: &ConditionInputs<'_>, containers_ready: &Verdict) -> Verdict {
    if !containers_ready.holds {
        return Verdict {
            type_: READY,
            holds: false,
            reason: containers_ready.reason,
            message: containers_ready.message.clone(),
        };
    }
    let mut complaints = Vec::new();
    for gate in pod::spec(inputs.pod).readiness_gates.iter().flatten() {
        let name = &gate.condition_type;
        match inputs.previous.iter().find(|condition| &condition.type_ == name) {
            None => complaints
                .push(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
            Some(condition) if condition.status != "True" => complaints.push(format!(
                "the status of pod readiness gate {name:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    let holds = complaints.is_empty();
    Verdict {
        type_: READY,
        holds,
        reason: (!holds).then_some("ReadinessGatesNotReady"),
        message: (!holds).then(|| complaints.join(", ")),
    }
}
