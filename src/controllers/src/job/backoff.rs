//! How long to wait after pods have failed. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

/// Pause after the first failure; it doubles with each one (the Job API's documentation).
const FIRST: Duration = Duration::from_secs(10);
/// The longest pause (the Job API's documentation).
const LONGEST: Duration = Duration::from_secs(600);

/// The time until a pod may be started after so many failures in a row.
pub(super) fn remaining(failures: u32, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(last) = last.filter(|_| failures > 0) else { return Duration::ZERO };
    let pause = FIRST.saturating_mul(2u32.saturating_pow((failures - 1).min(16))).min(LONGEST);
    let waited = now.duration_since(last);
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::ZERO);
    Duration::try_from(pause - waited).unwrap_or(Duration::ZERO)
}

/// When a pod ended: when the last of its containers did, or else when that was first known.
pub(super) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let ends = containers.filter_map(|container| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        terminated.finished_at.as_ref().map(|time| time.0)
    });
    let known = pod.metadata.deletion_timestamp.as_ref().or(pod.metadata.creation_timestamp.as_ref());
    ends.max().or_else(|| known.map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (failures, seconds) in [(0, 0), (1, 10), (2, 20), (3, 40), (7, 600), (40, 600)] {
            assert_eq!(remaining(failures, Some(at(100)), at(100)).as_secs(), seconds, "{failures}");
        }
        assert_eq!(remaining(2, Some(at(100)), at(115)).as_secs(), 5);
        assert_eq!(remaining(2, Some(at(100)), at(200)), Duration::ZERO);
    }
}
