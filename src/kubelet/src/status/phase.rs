//! `status.phase` from container statuses. Pure.

use crate::pod::{self, RestartPolicy};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Something has yet to start for the first time.
    Pending,
    /// Everything has started; something runs or will again.
    Running,
    /// Everything ended well, for good.
    Succeeded,
    /// Everything ended, something badly, for good.
    Failed,
}

impl Phase {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Whether a pod never leaves it.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// The phase. `stopped_for_good`: the kubelet has stopped the pod and will start nothing any more.
pub fn phase(
    pod: &Pod,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    stopped_for_good: bool,
) -> Phase {
    let mut tally = Tally::default();
    let mut will_restart = false;
    for container in pod::containers(pod) {
        let seen = tally.count(find(regular, &container.name));
        if let Seen::Stopped(code) = seen {
            will_restart |= pod::restarts_after(pod, container, code);
        }
    }
    if !stopped_for_good {
        // A regular container that ran proves that initialisation was complete once.
        let initialized = tally.running + tally.stopped > 0;
        match initialisation(pod, init, initialized) {
            Initialisation::Failed => return Phase::Failed,
            Initialisation::Pending => return Phase::Pending,
            Initialisation::Complete => {}
        }
    }
    if stopped_for_good && tally.running == 0 {
        let all_well = tally.stopped > 0 && tally.waiting == 0 && tally.failed == 0;
        return if all_well { Phase::Succeeded } else { Phase::Failed };
    }
    if tally.waiting > 0 {
        return Phase::Pending;
    }
    if tally.running > 0 || will_restart {
        return Phase::Running;
    }
    if tally.stopped == 0 {
        return Phase::Pending;
    }
    if tally.failed == 0 { Phase::Succeeded } else { Phase::Failed }
}

#[derive(Default)]
struct Tally {
    waiting: usize,
    running: usize,
    stopped: usize,
    failed: usize,
}

enum Seen {
    NotYet,
    Running,
    Stopped(i32),
}

impl Tally {
    fn count(&mut self, status: Option<&ContainerStatus>) -> Seen {
        let state = status.and_then(|status| status.state.as_ref());
        if state.is_some_and(|state| state.running.is_some()) {
            self.running += 1;
            return Seen::Running;
        }
        // One that waits for its next start has stopped: its pod is not pending any more.
        let last = status.and_then(|status| status.last_state.as_ref());
        let ended =
            state.and_then(|s| s.terminated.as_ref()).or_else(|| last.and_then(|s| s.terminated.as_ref()));
        match ended {
            Some(ended) => {
                self.stopped += 1;
                self.failed += usize::from(ended.exit_code != 0);
                Seen::Stopped(ended.exit_code)
            }
            None => {
                self.waiting += 1;
                Seen::NotYet
            }
        }
    }
}

enum Initialisation {
    Pending,
    Failed,
    Complete,
}

fn initialisation(pod: &Pod, init: &[ContainerStatus], initialized: bool) -> Initialisation {
    for container in pod::init_containers(pod) {
        let mut tally = Tally::default();
        let status = find(init, &container.name);
        let seen = tally.count(status);
        if pod::is_sidecar(container) {
            let started = status.and_then(|status| status.started).unwrap_or(false);
            if !initialized && !started && !matches!(seen, Seen::Stopped(_)) {
                return Initialisation::Pending;
            }
            continue;
        }
        if initialized {
            continue;
        }
        match seen {
            Seen::Stopped(0) => {}
            Seen::Stopped(code) => {
                let waits =
                    status.and_then(|s| s.state.as_ref()).is_some_and(|state| state.waiting.is_some());
                if !waits
                    && pod::container_restart_policy(pod, container) == RestartPolicy::Never
                    && !pod::init_restarts_after(pod, container, code)
                {
                    return Initialisation::Failed;
                }
                return Initialisation::Pending;
            }
            Seen::NotYet | Seen::Running => return Initialisation::Pending,
        }
    }
    Initialisation::Complete
}

pub(super) fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}
