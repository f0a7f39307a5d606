//! The status of a budget. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};

use crate::{percent, pods};

/// An eviction that was allowed must have led to a deletion within this time (upstream's value), or the pod
/// counts again.
const EVICTION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const CONDITION: &str = "DisruptionAllowed";

/// What is known about the pods of a budget.
pub(super) struct Observed<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// Pods that it selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// How many pods their controllers want; an error names a controller without such a number.
    pub(super) wanted: Result<i32, String>,
    pub(super) now: Timestamp,
}

/// The status that follows, and when it must be looked at again.
pub(super) fn status(observed: &Observed<'_>) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let budget = observed.budget;
    let old = budget.status.clone().unwrap_or_default();
    let (disrupted, recheck) = disrupted(&old, observed);
    let live = observed.pods.iter().filter(|pod| !pods::is_terminal(pod));
    let healthy = live.filter(|pod| {
        let evicted = pod.metadata.name.as_ref().is_some_and(|name| disrupted.contains_key(name));
        !pods::is_terminating(pod) && pods::is_ready(pod) && !evicted
    });
    let healthy = count(healthy.count());
    let counts = expected(budget, count(observed.pods.len()), &observed.wanted);
    let (allowed, expected, desired, problem) = match counts {
        // With no pods at all there is nothing to disrupt.
        Ok((expected, desired)) if expected > 0 => ((healthy - desired).max(0), expected, desired, None),
        Ok((expected, desired)) => (0, expected, desired, None),
        Err(problem) => (0, old.expected_pods.unwrap_or(0), old.desired_healthy.unwrap_or(0), Some(problem)),
    };
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let (state, reason, message) = match problem {
        Some(problem) => ("False", "SyncFailed", problem),
        None if allowed > 0 => ("True", "SufficientPods", String::new()),
        None => ("False", "InsufficientPods", String::new()),
    };
    set(&mut conditions, state, reason, message, budget.metadata.generation, observed.now);
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: Some(conditions),
    };
    (status, recheck)
}

/// Expected pods, and how many of them must stay healthy.
fn expected(
    budget: &PodDisruptionBudget,
    pods: i32,
    wanted: &Result<i32, String>,
) -> Result<(i32, i32), String> {
    let Some(spec) = budget.spec.as_ref() else { return Ok((pods, 0)) };
    if let Some(max) = &spec.max_unavailable {
        let wanted = wanted.clone()?;
        let max = percent::resolve(max, wanted, true).ok_or("maxUnavailable is not a number")?;
        return Ok((wanted, (wanted - max).max(0)));
    }
    match &spec.min_available {
        None => Ok((pods, 0)),
        // A plain number needs no controller that says what all is.
        Some(min) if matches!(min, k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(_)) => {
            Ok((pods, percent::resolve(min, pods, true).unwrap_or(0)))
        }
        Some(min) => {
            let wanted = wanted.clone()?;
            let min = percent::resolve(min, wanted, true).ok_or("minAvailable is not a number")?;
            Ok((wanted, min))
        }
    }
}

/// Evictions that were allowed and whose pods have not begun to go.
fn disrupted(
    old: &PodDisruptionBudgetStatus,
    observed: &Observed<'_>,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let mut recheck: Option<Duration> = None;
    let mut kept = BTreeMap::new();
    for (name, at) in old.disrupted_pods.iter().flatten() {
        let pod = observed.pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(name));
        let left = EVICTION_TIMEOUT - observed.now.duration_since(at.0);
        if pod.is_none_or(|pod| pods::is_terminating(pod)) || !left.is_positive() {
            continue;
        }
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        recheck = Some(recheck.map_or(left, |known| known.min(left)));
        kept.insert(name.clone(), at.clone());
    }
    (kept, recheck)
}

fn set(
    conditions: &mut Vec<Condition>,
    status: &str,
    reason: &str,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) {
    let known = conditions.iter().find(|condition| condition.type_ == CONDITION);
    let since = known.filter(|known| known.status == status).map(|known| known.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != CONDITION);
    conditions.push(Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    });
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::policy::v1::PodDisruptionBudgetSpec, apimachinery::pkg::util::intstr::IntOrString,
    };

    use super::*;
    use crate::pods::tests::pod;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn budget(min: Option<&str>, max: Option<&str>) -> PodDisruptionBudget {
        let value = |text: &str| match text.parse() {
            Ok(number) => IntOrString::Int(number),
            Err(_) => IntOrString::String(text.to_owned()),
        };
        PodDisruptionBudget {
            spec: Some(PodDisruptionBudgetSpec {
                min_available: min.map(value),
                max_unavailable: max.map(value),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        }
    }

    fn allowed(
        budget: &PodDisruptionBudget,
        healthy: usize,
        sick: usize,
        wanted: Result<i32, String>,
    ) -> i32 {
        let pods: Vec<_> = (0..healthy + sick)
            .map(|n| Arc::new(pod(&format!("p{n}"), "n1", (n < healthy).then_some(10), now())))
            .collect();
        let observed = Observed { budget, pods: &pods, wanted, now: now() };
        status(&observed).0.disruptions_allowed.unwrap()
    }

    #[test]
    fn what_is_allowed_is_what_is_healthy_beyond_what_must_stay() {
        for (min, max, healthy, sick, wanted, expected) in [
            (Some("2"), None, 3, 0, 3, 1),
            (Some("2"), None, 2, 1, 3, 0),
            (Some("50%"), None, 5, 0, 5, 2),
            (None, Some("1"), 3, 0, 3, 1),
            (None, Some("1"), 2, 1, 3, 0),
            (None, Some("30%"), 10, 0, 10, 3),
            (Some("0"), None, 0, 0, 0, 0),
        ] {
            assert_eq!(
                allowed(&budget(min, max), healthy, sick, Ok(wanted)),
                expected,
                "{min:?} {max:?} {healthy} {sick}"
            );
        }
    }

    #[test]
    fn pods_without_a_known_controller_allow_nothing_relative() {
        let unknown = || Err("found no controller ref for pod \"p\"".to_owned());
        assert_eq!(allowed(&budget(None, Some("1")), 3, 0, unknown()), 0);
        assert_eq!(allowed(&budget(Some("1"), None), 3, 0, unknown()), 2);
    }

    #[test]
    fn evicted_pods_do_not_count_until_the_eviction_is_overdue() {
        let mut budget = budget(Some("1"), None);
        let pods = vec![Arc::new(pod("a", "n1", Some(10), now())), Arc::new(pod("b", "n1", Some(10), now()))];
        let mut at = |seconds: i64| {
            let time = Time(Timestamp::from_second(1_000_000 - seconds).unwrap());
            budget.status.get_or_insert_default().disrupted_pods = Some([("a".to_owned(), time)].into());
            status(&Observed { budget: &budget, pods: &pods, wanted: Ok(2), now: now() })
        };
        let (fresh, recheck) = at(20);
        assert_eq!((fresh.disruptions_allowed, recheck), (Some(0), Some(Duration::from_secs(100))));
        let (overdue, recheck) = at(121);
        assert_eq!((overdue.disruptions_allowed, recheck), (Some(1), None));
    }
}
