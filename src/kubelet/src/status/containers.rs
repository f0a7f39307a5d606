//! Container statuses from what the runtime has. Pure.

use super::generate::StatusInputs;
use super::phase::find;
use crate::pod;
use crate::prober::{Outcome, ProbeKind};
use crate::runtime_manager::{ContainerKind, ObservedContainer, State};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// SIGKILL's exit code: what a container is taken to have ended with when nobody saw it end.
const LOST_EXIT_CODE: i32 = 137;

/// Why a container is not running, when the kubelet knows better than the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingReason {
    /// One word: `CrashLoopBackOff`, `ErrImagePull`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Statuses of one list of containers, in the order of the spec.
pub(super) fn statuses(
    inputs: &StatusInputs<'_>,
    containers: &[Container],
    kind: ContainerKind,
    previous: &[ContainerStatus],
) -> Vec<ContainerStatus> {
    containers
        .iter()
        .map(|container| status(inputs, container, kind, find(previous, &container.name)))
        .collect()
}

fn status(
    inputs: &StatusInputs<'_>,
    container: &Container,
    kind: ContainerKind,
    previous: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut seen = inputs.observed.containers.iter().filter(|seen| seen.name == container.name);
    let Some(newest) = seen.next() else {
        return unseen(inputs, container, previous);
    };
    let before = seen.find(|older| older.state == State::Exited);
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: newest.image.clone(),
        image_id: newest.image_id.clone(),
        container_id: Some(format!("{}://{}", inputs.runtime_name, newest.id)),
        restart_count: i32::try_from(newest.restart_count).unwrap_or(i32::MAX),
        state: Some(state(inputs, newest)),
        last_state: before.map(|before| state(inputs, before)),
        volume_mounts: volume_mounts(container),
        user: newest.user.as_ref().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: Some(user.supplemental_groups.clone()),
            }),
        }),
        ..ContainerStatus::default()
    };
    if status.last_state.is_none() {
        // The container that ended before was removed meanwhile.
        status.last_state = previous
            .filter(|previous| previous.container_id == status.container_id)
            .and_then(|previous| previous.last_state.clone());
    }
    if newest.state == State::Running {
        status.allocated_resources = container.resources.as_ref().and_then(|r| r.requests.clone());
        status.resources = container.resources.clone();
    } else if let Some(waiting) = waiting(inputs, container, kind, newest) {
        if newest.state == State::Exited {
            status.last_state = status.state.take();
        }
        status.state = Some(waiting);
    }
    set_readiness(inputs, container, kind, newest, previous, &mut status);
    status
}

/// The state a container waits in, when it is about to be started (again) and something holds that up.
fn waiting(
    inputs: &StatusInputs<'_>,
    container: &Container,
    kind: ContainerKind,
    newest: &ObservedContainer,
) -> Option<ContainerState> {
    if inputs.stopped_for_good {
        return None;
    }
    let again = match (newest.state, kind) {
        (State::Exited, ContainerKind::Ephemeral) => false,
        (State::Exited, ContainerKind::Init) => {
            pod::init_restarts_after(inputs.pod, container, newest.exit_code)
        }
        (State::Exited, ContainerKind::Regular) => {
            pod::restarts_after(inputs.pod, container, newest.exit_code)
        }
        _ => true,
    };
    let reason = inputs.waiting.get(&container.name).filter(|_| again)?;
    Some(waiting_state(&reason.reason, Some(&reason.message)))
}

fn unseen(
    inputs: &StatusInputs<'_>,
    container: &Container,
    previous: Option<&ContainerStatus>,
) -> ContainerStatus {
    let previous_state = previous.and_then(|previous| previous.state.as_ref());
    if let (Some(previous), Some(_)) = (previous, previous_state.and_then(|state| state.terminated.as_ref()))
    {
        return previous.clone();
    }
    let default =
        if pod::init_containers(inputs.pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let reason = inputs.waiting.get(&container.name);
    let state = match reason {
        Some(reason) => waiting_state(&reason.reason, Some(&reason.message)),
        None => waiting_state(default, None),
    };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        restart_count: previous.map_or(0, |previous| previous.restart_count),
        last_state: previous.and_then(|previous| previous.last_state.clone()),
        started: Some(false),
        state: Some(state),
        volume_mounts: volume_mounts(container),
        ..ContainerStatus::default()
    };
    if let (Some(previous), Some(_)) = (previous, previous_state.and_then(|state| state.running.as_ref())) {
        let lost = lost(previous.container_id.clone());
        if inputs.stopped_for_good {
            status.state = Some(lost);
        } else {
            status.last_state = Some(lost);
            status.restart_count = status.restart_count.saturating_add(1);
        }
    } else if inputs.stopped_for_good && previous.is_some_and(|previous| previous.container_id.is_some()) {
        status.state = Some(lost(None));
    }
    status
}

/// A container that ran, and that the runtime has no trace of any more.
fn lost(container_id: Option<String>) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id,
            exit_code: LOST_EXIT_CODE,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

fn set_readiness(
    inputs: &StatusInputs<'_>,
    container: &Container,
    kind: ContainerKind,
    newest: &ObservedContainer,
    previous: Option<&ContainerStatus>,
    status: &mut ContainerStatus,
) {
    let running = newest.state == State::Running;
    let outcome = |probe| (inputs.probes)(&newest.id, probe);
    let plain_init = kind == ContainerKind::Init && !pod::is_sidecar(container);
    if plain_init {
        status.started = Some(running);
        status.ready = newest.state == State::Exited && newest.exit_code == 0;
        return;
    }
    if kind == ContainerKind::Ephemeral {
        status.started = None;
        status.ready = false;
        return;
    }
    // Until a probe has spoken, what was last said of this very container holds: a restarted kubelet must not
    // take pods out of their Services.
    let before = previous.filter(|previous| previous.container_id == status.container_id);
    let holds = |probe, before: bool| outcome(probe).map_or(before, |outcome| outcome == Outcome::Success);
    let was_started = before.and_then(|before| before.started).unwrap_or(false);
    let was_ready = before.is_some_and(|before| before.ready);
    let started = running && (container.startup_probe.is_none() || holds(ProbeKind::Startup, was_started));
    status.started = Some(started);
    status.ready = started && (container.readiness_probe.is_none() || holds(ProbeKind::Readiness, was_ready));
}

fn state(inputs: &StatusInputs<'_>, seen: &ObservedContainer) -> ContainerState {
    match seen.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(seen.started_at) }),
            ..ContainerState::default()
        },
        State::Exited => ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(format!("{}://{}", inputs.runtime_name, seen.id)),
                exit_code: seen.exit_code,
                reason: Some(seen.reason.clone()).filter(|reason| !reason.is_empty()),
                message: Some(seen.message.clone()).filter(|message| !message.is_empty()),
                started_at: time(seen.started_at),
                finished_at: time(seen.finished_at),
                signal: None,
            }),
            ..ContainerState::default()
        },
        State::Created => waiting_state("ContainerCreating", None),
        State::Unknown => ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(format!("{}://{}", inputs.runtime_name, seen.id)),
                exit_code: LOST_EXIT_CODE,
                reason: Some("ContainerStatusUnknown".to_owned()),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        },
    }
}

pub(super) fn waiting_state(reason: &str, message: Option<&str>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: message.map(str::to_owned),
        }),
        ..ContainerState::default()
    }
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts: Vec<VolumeMountStatus> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only.filter(|read_only| *read_only),
            recursive_read_only: mount
                .read_only
                .filter(|read_only| *read_only)
                .map(|_| "Disabled".to_owned()),
            ..VolumeMountStatus::default()
        })
        .collect();
    (!mounts.is_empty()).then_some(mounts)
}

/// `metav1.Time` of nanoseconds since the epoch; none for 0, which stands for "never".
fn time(nanoseconds: i64) -> Option<Time> {
    if nanoseconds <= 0 {
        return None;
    }
    jiff::Timestamp::from_second(nanoseconds / 1_000_000_000).ok().map(Time)
}
