//! Thresholds of probes: from single results to a verdict. Pure.

use super::outcome::{Outcome, ProbeKind};
use k8s_openapi::api::core::v1::Probe;

/// Counts results in a row.
#[derive(Debug, Clone)]
pub struct Counter {
    kind: ProbeKind,
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
}

impl Counter {
    /// A counter with the thresholds of `probe` (API defaults 1 and 3).
    pub fn new(kind: ProbeKind, probe: &Probe) -> Self {
        let threshold =
            |value: Option<i32>, default| value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1);
        Self {
            kind,
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// The verdict before the first result: alive, not ready, not known to have started.
    pub fn initial(&self) -> Outcome {
        match self.kind {
            ProbeKind::Liveness => Outcome::Success,
            ProbeKind::Readiness => Outcome::Failure,
            ProbeKind::Startup => Outcome::Unknown,
        }
    }

    /// Takes one result; a verdict once enough of them agree.
    pub fn take(&mut self, success: bool) -> Option<Outcome> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        (self.run >= threshold).then_some(if success { Outcome::Success } else { Outcome::Failure })
    }

    /// Begins anew, for the next container.
    pub fn reset(&mut self) {
        self.last = None;
        self.run = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_need_enough_results_in_a_row() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut counter = Counter::new(ProbeKind::Readiness, &probe);
        let verdicts: Vec<_> = [true, true, false, false, true, false, false, false]
            .into_iter()
            .map(|r| counter.take(r))
            .collect();
        let (none, yes, no) = (None, Some(Outcome::Success), Some(Outcome::Failure));
        assert_eq!(verdicts, [none, yes, none, none, none, none, none, no]);
    }
}
