//! One probe of one container of one pod, from the pod's first sync until its end.

use super::check::{Attempt, attempt};
use super::counter::Counter;
use super::manager::Shared;
use super::metrics::ProbeResult;
use super::outcome::{Outcome, ProbeKind};
use crate::pod;
use k8s_openapi::api::core::v1::{Container, ContainerState, Pod, PodStatus, Probe};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often an attempt that could not be made is repeated before the next period.
const BROKEN_RETRIES: u32 = 3;

/// A fresh container is asked again after this long whether it is ready, then after twice as long, until the
/// probe's own period is reached: most are ready within moments, and who waits for a pod should not wait for
/// the period.
const EARLY_RETRY: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) kind: ProbeKind,
    pub(super) probe: Probe,
    pub(super) wake: Arc<Notify>,
    pub(super) cancel: CancellationToken,
}

/// What to do next.
enum Step {
    /// Wait for the pod's status to change.
    Wait,
    /// Wait this long.
    Sleep(Duration),
    /// Probe this container now.
    Probe(Target),
    /// Never again.
    End,
}

/// What came of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    /// Thresholds are reached.
    Verdict(Outcome),
    /// They are not.
    Undecided,
    /// The container is only just starting: a failure that counts for nothing.
    TooEarly,
}

struct Target {
    container_id: String,
    pod_ip: Option<IpAddr>,
}

impl Worker {
    pub(super) async fn run(self) {
        let mut counter = Counter::new(self.kind, &self.probe);
        let mut current: Option<String> = None;
        let mut held = false;
        let mut early = EARLY_RETRY;
        loop {
            let before = current.clone();
            let step = self.next(&mut counter, &mut current, &mut held);
            if before != current {
                early = EARLY_RETRY;
            }
            let pause = match step {
                Step::End => break,
                Step::Wait => None,
                Step::Sleep(pause) => Some(pause),
                Step::Probe(target) => {
                    let is_early = self.kind == ProbeKind::Readiness && early < self.period();
                    let probed = tokio::select! {
                        () = self.cancel.cancelled() => break,
                        probed = self.probe_once(&target, &mut counter, is_early) => probed,
                    };
                    held = probed == Probed::Verdict(Outcome::Failure) && self.kind != ProbeKind::Readiness
                        || probed == Probed::Verdict(Outcome::Success) && self.kind == ProbeKind::Startup;
                    if probed == Probed::TooEarly {
                        let retry = early;
                        early *= 2;
                        Some(retry)
                    } else {
                        early = self.period();
                        Some(self.period())
                    }
                }
            };
            if !self.pause(pause, current.as_deref()).await {
                break;
            }
        }
        if let Some(id) = current {
            self.shared.results.forget(&id, self.kind);
        }
        self.shared.metrics.forget(&self.pod, &self.container.name, self.kind);
    }

    fn next(&self, counter: &mut Counter, current: &mut Option<String>, held: &mut bool) -> Step {
        let Some(status) = self.shared.status.get(pod::uid(&self.pod)) else { return Step::Wait };
        if pod::is_terminal_phase(status.phase.as_deref()) {
            return Step::End;
        }
        let Some(found) = find(&status, &self.container.name) else { return Step::Wait };
        let (container_id, state) = (found.id, found.state);
        if current.as_deref() != Some(container_id.as_str()) {
            if let Some(old) = current.take() {
                self.shared.results.forget(&old, self.kind);
            }
            counter.reset();
            *held = false;
            // A restarted kubelet takes over the verdict of the last one (KEP-4781).
            let initial = match self.kind {
                ProbeKind::Readiness if found.ready => Outcome::Success,
                ProbeKind::Startup if found.started => Outcome::Success,
                _ => counter.initial(),
            };
            self.shared.results.set(&container_id, self.kind, initial);
            *current = Some(container_id.clone());
        }
        let Some(running) = &state.running else {
            if self.kind == ProbeKind::Readiness {
                self.set(&container_id, Outcome::Failure);
            }
            return Step::Wait;
        };
        if *held {
            return Step::Wait;
        }
        let succeeded = |kind| self.shared.results.get(&container_id, kind) == Some(Outcome::Success);
        if self.kind == ProbeKind::Startup && succeeded(ProbeKind::Startup) {
            return Step::Wait;
        }
        // Probes that could kill have no say in a pod that is being stopped.
        if self.kind != ProbeKind::Readiness && (self.shared.is_stopping)(pod::uid(&self.pod)) {
            return Step::End;
        }
        let started = self.container.startup_probe.is_none() || succeeded(ProbeKind::Startup);
        if self.kind != ProbeKind::Startup && !started {
            return Step::Wait;
        }
        let delay =
            Duration::from_secs(self.probe.initial_delay_seconds.unwrap_or(0).max(0).unsigned_abs().into());
        let since = running.started_at.as_ref().map_or(Duration::MAX, |at| {
            let age = (self.shared.now)().duration_since(at.0);
            Duration::try_from(age).unwrap_or_default()
        });
        if since < delay {
            return Step::Sleep(delay - since);
        }
        let pod_ip = status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
        Step::Probe(Target { container_id, pod_ip })
    }

    /// One probe with its retries.
    ///
    /// An `early` failure counts for nothing: the container is only just starting, and not ready anyway.
    async fn probe_once(&self, target: &Target, counter: &mut Counter, early: bool) -> Probed {
        let runtime = self.shared.runtime.as_ref();
        let begin = Instant::now();
        let mut result = Attempt::Broken(String::new());
        for _ in 0..BROKEN_RETRIES {
            result =
                attempt(runtime, &self.probe, &self.container, &target.container_id, target.pod_ip).await;
            if !matches!(result, Attempt::Broken(_)) {
                break;
            }
        }
        let came_out = match &result {
            Attempt::Failure(_) if early => return Probed::TooEarly,
            Attempt::Success => ProbeResult::Successful,
            Attempt::Failure(_) => ProbeResult::Failed,
            Attempt::Broken(_) => ProbeResult::Unknown,
        };
        self.shared.metrics.count(&self.pod, &self.container.name, self.kind, came_out, begin.elapsed());
        let success = match &result {
            Attempt::Success => true,
            Attempt::Failure(output) => {
                let message = format!("{} probe failed: {output}", self.kind.as_str());
                self.shared.events.container(&self.pod, &self.container.name, true, "Unhealthy", &message);
                false
            }
            Attempt::Broken(error) => {
                let message =
                    format!("{} probe errored and resulted in unknown state: {error}", self.kind.as_str());
                self.shared.events.container(&self.pod, &self.container.name, true, "ProbeWarning", &message);
                return Probed::Undecided;
            }
        };
        let Some(verdict) = counter.take(success) else { return Probed::Undecided };
        self.set(&target.container_id, verdict);
        if verdict == Outcome::Failure && self.kind != ProbeKind::Readiness {
            // The next verdict is about the container that takes this one's place.
            counter.reset();
        }
        Probed::Verdict(verdict)
    }

    fn set(&self, container_id: &str, outcome: Outcome) {
        if self.shared.results.set(container_id, self.kind, outcome) {
            (self.shared.changed)(pod::uid(&self.pod));
            self.shared.wake_probes(pod::uid(&self.pod));
        }
    }

    fn period(&self) -> Duration {
        Duration::from_secs(self.probe.period_seconds.unwrap_or(10).max(1).unsigned_abs().into())
    }

    /// Waits for the pause to end, or for news that the pause was not made for; false when cancelled.
    async fn pause(&self, pause: Option<Duration>, current: Option<&str>) -> bool {
        let deadline = pause.map(|pause| Instant::now() + pause);
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                () = until(deadline) => return true,
                () = self.wake.notified() => {
                    // A running container is probed by the clock; its own verdicts are no news.
                    if deadline.is_none() || !self.still_runs(current) {
                        return true;
                    }
                }
            }
        }
    }

    fn still_runs(&self, current: Option<&str>) -> bool {
        let status = self.shared.status.get(pod::uid(&self.pod));
        status
            .as_deref()
            .and_then(|status| find(status, &self.container.name))
            .is_some_and(|found| Some(found.id.as_str()) == current && found.state.running.is_some())
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A container in a status.
struct Found {
    /// Its id without the runtime's name.
    id: String,
    state: ContainerState,
    ready: bool,
    started: bool,
}

fn find(status: &PodStatus, name: &str) -> Option<Found> {
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|status| status.name == name)?;
    let id = found.container_id.as_deref()?;
    let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
    Some(Found {
        id: bare.to_owned(),
        state: found.state.clone().unwrap_or_default(),
        ready: found.ready,
        started: found.started.unwrap_or(false),
    })
}
