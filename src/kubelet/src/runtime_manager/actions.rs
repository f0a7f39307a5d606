//! What to do next for a pod: a pure comparison of its spec with what the runtime has.
//!
//! Level-triggered: the answer depends on nothing that happened before, so that a restarted kubelet goes on
//! where the last one stopped.

use super::labels;
use super::observed::{ObservedContainer, ObservedPod, Sandbox, State};
use crate::pod;
use crate::prober::{Outcome, ProbeKind};
use k8s_openapi::api::core::v1::{Container, Pod};

/// Which list of the spec a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerKind {
    /// `initContainers`, sidecars among them.
    Init,
    /// `containers`.
    Regular,
    /// `ephemeralContainers`.
    Ephemeral,
}

/// A container to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Its list.
    pub kind: ContainerKind,
    /// Its spec.
    pub container: Container,
}

/// A container to stop although its pod lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The runtime's id.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// Why.
    pub reason: KillReason,
    /// What the event says.
    pub message: String,
}

/// Why a container is stopped while its pod lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// A liveness probe failed.
    Liveness,
    /// A startup probe failed.
    Startup,
    /// Its image changed.
    Changed,
    /// The runtime lost track of it.
    Unknown,
}

/// What to do, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodActions {
    /// Stop everything the pod has, because its sandbox cannot be used any more.
    pub stop_sandboxes: bool,
    /// Make a sandbox with this attempt number.
    pub create_sandbox: Option<u32>,
    /// Containers to stop.
    pub kill: Vec<Kill>,
    /// Containers to start, in order.
    pub start: Vec<Start>,
}

impl PodActions {
    /// Whether there is nothing to do.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Looks up what probes found about a container id.
pub type ProbeLookup<'a> = &'a dyn Fn(&str, ProbeKind) -> Option<Outcome>;

/// Compares `pod` with what the runtime has and says what to do.
pub fn compute_pod_actions(pod: &Pod, observed: &ObservedPod, probes: ProbeLookup<'_>) -> PodActions {
    let Some(sandbox) = usable_sandbox(pod, observed) else {
        return with_new_sandbox(pod, observed);
    };
    let mut actions = PodActions::default();
    for container in pod::ephemeral_containers(pod) {
        // Ephemeral containers run once; neither probes nor policies apply (KEP-277).
        if observed.container(&container.name).is_none() {
            actions.start.push(Start { kind: ContainerKind::Ephemeral, container });
        }
    }
    if !init_actions(pod, observed, sandbox, probes, &mut actions) {
        return actions;
    }
    for container in pod::containers(pod) {
        regular_action(pod, container, observed, sandbox, probes, &mut actions);
    }
    actions
}

/// The sandbox that the pod's containers can go on running in.
fn usable_sandbox<'a>(pod: &Pod, observed: &'a ObservedPod) -> Option<&'a Sandbox> {
    if observed.sandboxes.iter().filter(|sandbox| sandbox.ready).count() > 1 {
        return None;
    }
    let sandbox = observed.active_sandbox()?;
    let host_network = pod::host_network(pod);
    let usable = sandbox.host_network == host_network && (host_network || !sandbox.ips.is_empty());
    usable.then_some(sandbox)
}

fn with_new_sandbox(pod: &Pod, observed: &ObservedPod) -> PodActions {
    let mut actions = PodActions { stop_sandboxes: !observed.sandboxes.is_empty(), ..PodActions::default() };
    let start: Vec<&Container> = pod::containers(pod)
        .iter()
        .filter(|container| match observed.container(&container.name) {
            None => true,
            // Whatever ran in the old sandbox is about to be stopped.
            Some(old) if old.state != State::Exited => {
                pod::container_restart_policy(pod, container) != pod::RestartPolicy::Never
                    || old.state == State::Created
            }
            Some(old) => pod::restarts_after(pod, container, old.exit_code),
        })
        .collect();
    if start.is_empty() {
        return actions;
    }
    actions.create_sandbox =
        Some(observed.sandboxes.iter().map(|sandbox| sandbox.attempt + 1).max().unwrap_or(0));
    match pod::init_containers(pod).first() {
        Some(first) => actions.start.push(Start { kind: ContainerKind::Init, container: first.clone() }),
        None => actions.start.extend(
            start
                .into_iter()
                .map(|container| Start { kind: ContainerKind::Regular, container: container.clone() }),
        ),
    }
    actions
}

/// Adds what the init containers need; true when the regular ones may run.
fn init_actions(
    pod: &Pod,
    observed: &ObservedPod,
    sandbox: &Sandbox,
    probes: ProbeLookup<'_>,
    actions: &mut PodActions,
) -> bool {
    let init = pod::init_containers(pod);
    let current = |name: &str| in_sandbox(observed, sandbox, name);
    // A regular container in this sandbox proves that initialisation was complete, whatever was removed since.
    let initialized = pod::containers(pod).iter().any(|container| current(&container.name).is_some());
    let reached = if initialized {
        init.len()
    } else {
        init.iter().rposition(|container| current(&container.name).is_some()).unwrap_or(0)
    };
    for (index, container) in init.iter().enumerate() {
        let passed = index < reached;
        let start = Start { kind: ContainerKind::Init, container: container.clone() };
        if pod::is_sidecar(container) {
            let Some(old) = current(&container.name) else {
                actions.start.push(start);
                if passed {
                    continue;
                }
                return false;
            };
            match old.state {
                State::Running => {
                    if let Some(kill) = probe_kill(container, old, probes, true) {
                        actions.kill.push(kill);
                        actions.start.push(start);
                    } else if !passed && !has_started(container, old, probes) {
                        return false;
                    }
                }
                State::Unknown => {
                    actions.kill.push(unknown_kill(old));
                    actions.start.push(start);
                }
                State::Created | State::Exited => {
                    actions.start.push(start);
                    if !passed {
                        return false;
                    }
                }
            }
            continue;
        }
        if passed {
            continue;
        }
        let Some(old) = current(&container.name) else {
            actions.start.push(start);
            return false;
        };
        match old.state {
            State::Exited if old.exit_code == 0 => {}
            State::Exited => {
                if pod::init_restarts_after(pod, container, old.exit_code) {
                    actions.start.push(start);
                }
                return false;
            }
            State::Running => return false,
            State::Created => {
                // Starting it failed, or was cut off by a restart: it would stay like this for ever.
                actions.start.push(start);
                return false;
            }
            State::Unknown => {
                actions.kill.push(unknown_kill(old));
                actions.start.push(start);
                return false;
            }
        }
    }
    true
}

fn regular_action(
    pod: &Pod,
    container: &Container,
    observed: &ObservedPod,
    sandbox: &Sandbox,
    probes: ProbeLookup<'_>,
    actions: &mut PodActions,
) {
    let start = Start { kind: ContainerKind::Regular, container: container.clone() };
    let Some(old) = observed.container(&container.name) else {
        actions.start.push(start);
        return;
    };
    match old.state {
        State::Running if old.sandbox_id == sandbox.id => {
            let restarts = pod::container_restart_policy(pod, container) != pod::RestartPolicy::Never
                || container.restart_policy_rules.is_some();
            if old.hash != format!("{:x}", labels::container_hash(container)) {
                actions.kill.push(Kill {
                    id: old.id.clone(),
                    name: old.name.clone(),
                    reason: KillReason::Changed,
                    message: format!("Container {} definition changed, will be restarted", old.name),
                });
                // A new image is wanted whatever the policy says about failures.
                actions.start.push(start);
            } else if let Some(kill) = probe_kill(container, old, probes, restarts) {
                actions.kill.push(kill);
                if restarts {
                    actions.start.push(start);
                }
            }
        }
        // One that runs in a sandbox that is gone has gone with it.
        State::Running | State::Created => actions.start.push(start),
        State::Unknown => {
            actions.kill.push(unknown_kill(old));
            actions.start.push(start);
        }
        State::Exited => {
            if pod::restarts_after(pod, container, old.exit_code) {
                actions.start.push(start);
            }
        }
    }
}

fn in_sandbox<'a>(observed: &'a ObservedPod, sandbox: &Sandbox, name: &str) -> Option<&'a ObservedContainer> {
    observed.containers.iter().find(|container| container.name == name && container.sandbox_id == sandbox.id)
}

/// Whether a running sidecar lets the next container start (KEP-753: its startup probe has succeeded).
fn has_started(container: &Container, old: &ObservedContainer, probes: ProbeLookup<'_>) -> bool {
    container.startup_probe.is_none() || probes(&old.id, ProbeKind::Startup) == Some(Outcome::Success)
}

fn probe_kill(
    container: &Container,
    old: &ObservedContainer,
    probes: ProbeLookup<'_>,
    restarts: bool,
) -> Option<Kill> {
    let failed = |kind| probes(&old.id, kind) == Some(Outcome::Failure);
    let (reason, what) = if failed(ProbeKind::Liveness) {
        (KillReason::Liveness, "liveness")
    } else if failed(ProbeKind::Startup) {
        (KillReason::Startup, "startup")
    } else {
        return None;
    };
    let then = if restarts { ", will be restarted" } else { "" };
    let message = format!("Container {} failed {what} probe{then}", container.name);
    Some(Kill { id: old.id.clone(), name: old.name.clone(), reason, message })
}

fn unknown_kill(old: &ObservedContainer) -> Kill {
    Kill {
        id: old.id.clone(),
        name: old.name.clone(),
        reason: KillReason::Unknown,
        message: "Container is in \"unknown\" state, try killing it before restart".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn no_probes(_: &str, _: ProbeKind) -> Option<Outcome> {
        None
    }

    fn sandbox(id: &str, ready: bool, attempt: u32) -> Sandbox {
        Sandbox { id: id.into(), ready, attempt, ips: vec!["10.0.0.2".into()], ..Sandbox::default() }
    }

    fn container(pod: &Pod, name: &str, state: State, exit_code: i32) -> ObservedContainer {
        let hash = pod::container(pod, name).map(|c| format!("{:x}", labels::container_hash(&c)));
        ObservedContainer {
            id: format!("id-{name}"),
            sandbox_id: "s".into(),
            name: name.into(),
            state,
            exit_code,
            hash: hash.unwrap_or_default(),
            ..ObservedContainer::default()
        }
    }

    fn seen(containers: Vec<ObservedContainer>) -> ObservedPod {
        ObservedPod { sandboxes: vec![sandbox("s", true, 0)], containers, ..ObservedPod::default() }
    }

    fn started(actions: &PodActions) -> Vec<&str> {
        actions.start.iter().map(|start| start.container.name.as_str()).collect()
    }

    #[test]
    fn a_new_pod_gets_a_sandbox_and_its_first_init_container() {
        let pod =
            pod(json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}));
        let actions = compute_pod_actions(&pod, &ObservedPod::default(), &no_probes);
        assert_eq!(actions.create_sandbox, Some(0));
        assert!(!actions.stop_sandboxes);
        assert_eq!(started(&actions), ["i"]);
    }

    #[test]
    fn init_containers_run_one_after_the_other() {
        let pod =
            pod(json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}));
        let after = |containers| compute_pod_actions(&pod, &seen(containers), &no_probes);
        let of = |name, state, code| container(&pod, name, state, code);
        assert_eq!(started(&after(vec![])), ["i"]);
        assert!(after(vec![of("i", State::Running, 0)]).is_empty());
        assert_eq!(started(&after(vec![of("i", State::Exited, 0)])), ["j"]);
        assert_eq!(started(&after(vec![of("i", State::Exited, 1)])), ["i"]);
        assert_eq!(started(&after(vec![of("j", State::Exited, 0)])), ["a"]);
        assert!(after(vec![of("a", State::Running, 0)]).is_empty());
    }

    #[test]
    fn a_failed_init_container_of_a_pod_that_never_restarts_starts_nothing() {
        let pod = pod(json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}]}));
        let actions =
            compute_pod_actions(&pod, &seen(vec![container(&pod, "i", State::Exited, 1)]), &no_probes);
        assert!(actions.is_empty());
    }

    #[test]
    fn a_sidecar_lets_the_others_start_once_its_startup_probe_succeeds() {
        let pod = pod(json!({"initContainers": [{"name": "s", "restartPolicy": "Always",
            "startupProbe": {"exec": {"command": ["x"]}}}, {"name": "j"}], "containers": [{"name": "a"}]}));
        let observed = seen(vec![container(&pod, "s", State::Running, 0)]);
        assert!(compute_pod_actions(&pod, &observed, &no_probes).is_empty());
        let succeeded = |_: &str, kind| (kind == ProbeKind::Startup).then_some(Outcome::Success);
        assert_eq!(started(&compute_pod_actions(&pod, &observed, &succeeded)), ["j"]);
    }

    #[test]
    fn a_dead_sidecar_is_restarted_without_holding_up_the_rest() {
        let pod = pod(
            json!({"restartPolicy": "Never", "initContainers": [{"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}]}),
        );
        let observed =
            seen(vec![container(&pod, "s", State::Exited, 0), container(&pod, "a", State::Running, 0)]);
        assert_eq!(started(&compute_pod_actions(&pod, &observed, &no_probes)), ["s", "b"]);
    }

    #[test]
    fn policies_decide_what_is_restarted() {
        let of = |policy: &str, code| {
            let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
            let observed = seen(vec![container(&pod, "a", State::Exited, code)]);
            started(&compute_pod_actions(&pod, &observed, &no_probes)).len()
        };
        assert_eq!([of("Always", 0), of("OnFailure", 0), of("OnFailure", 1), of("Never", 1)], [1, 0, 1, 0]);
    }

    #[test]
    fn a_failed_liveness_probe_kills_and_restarts() {
        let pod = pod(json!({"containers": [{"name": "a"}]}));
        let observed = seen(vec![container(&pod, "a", State::Running, 0)]);
        let failed = |_: &str, kind| (kind == ProbeKind::Liveness).then_some(Outcome::Failure);
        let actions = compute_pod_actions(&pod, &observed, &failed);
        assert_eq!(actions.kill[0].message, "Container a failed liveness probe, will be restarted");
        assert_eq!(started(&actions), ["a"]);
    }

    #[test]
    fn a_changed_image_replaces_the_container() {
        let pod = pod(json!({"containers": [{"name": "a", "image": "new"}]}));
        let mut old = container(&pod, "a", State::Running, 0);
        old.hash = "1".into();
        let actions = compute_pod_actions(&pod, &seen(vec![old]), &no_probes);
        assert_eq!(actions.kill[0].reason, KillReason::Changed);
        assert_eq!(started(&actions), ["a"]);
    }

    #[test]
    fn a_dead_sandbox_is_replaced_with_the_next_attempt() {
        let pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
        let observed = ObservedPod {
            sandboxes: vec![sandbox("s", false, 3)],
            containers: vec![container(&pod, "a", State::Exited, 137)],
            ..ObservedPod::default()
        };
        let actions = compute_pod_actions(&pod, &observed, &no_probes);
        assert!(actions.stop_sandboxes);
        assert_eq!(actions.create_sandbox, Some(4));
        assert_eq!(started(&actions), ["i"]);
    }

    #[test]
    fn a_finished_pod_gets_no_new_sandbox() {
        let pod = pod(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}]}));
        let observed = ObservedPod {
            sandboxes: vec![sandbox("s", false, 0)],
            containers: vec![container(&pod, "a", State::Exited, 0)],
            ..ObservedPod::default()
        };
        assert_eq!(compute_pod_actions(&pod, &observed, &no_probes).create_sandbox, None);
    }
}
