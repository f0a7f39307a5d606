//! How many pods the use of a resource calls for: pure.

use super::metrics::PodMetrics;
use crate::pods;
use apimachinery::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long after its start a pod's CPU counts only if it was measured while the pod was ready; upstream's default.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_secs(300);
/// A pod that became unready within this time after its start was never ready; upstream's default.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Percent of what the pods request.
    Utilization(i32),
    /// Thousandths for each pod.
    AverageValue(i64),
}

/// How far from the target nothing is done, as parts of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Above it.
    pub up: f64,
    /// Below it.
    pub down: f64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many replicas there should be.
    pub replicas: i32,
    /// Percent used of what is requested, where that is the target.
    pub utilization: Option<i32>,
    /// Thousandths used by each pod.
    pub average_milli: i64,
}

/// What of the pods' resource is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `cpu` or `memory`.
    pub resource: &'a str,
    /// The container; all of a pod's when none.
    pub container: Option<&'a str>,
    /// What is aimed at.
    pub target: Target,
    /// How far from it nothing is done.
    pub tolerances: Tolerances,
}

/// How many replicas there should be, of `current`, for what `pods` use.
///
/// Pods that say nothing, or cannot yet, count against the change: as idle when more are wanted, as busy when fewer are.
///
/// # Errors
/// Tells when there is nothing to go by.
pub fn replicas(
    current: i32,
    mut metrics: PodMetrics,
    all: &[Arc<Pod>],
    subject: Subject<'_>,
    now: Timestamp,
) -> Result<Outcome, String> {
    if all.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(all, &metrics, subject.resource, now);
    metrics.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
    if metrics.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let requests = match subject.target {
        Target::Utilization(_) => requests(all, subject)?,
        Target::AverageValue(_) => BTreeMap::new(),
    };
    let mut used: BTreeMap<String, i64> = metrics.into_iter().map(|(name, m)| (name, m.milli)).collect();
    let (ratio, outcome) = measure(&used, &requests, subject.target)?;
    let done = |replicas: i32| Ok(Outcome { replicas, ..outcome });
    let tolerated =
        |ratio: f64| (1.0 - subject.tolerances.down..=1.0 + subject.tolerances.up).contains(&ratio);
    let with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !with_unready && groups.missing.is_empty() {
        return done(if tolerated(ratio) { current } else { ceil(ratio * groups.ready as f64) });
    }
    if ratio < 1.0 {
        // The worst of what could be: they use all that they are meant to.
        let busy = |name: &String| match subject.target {
            Target::Utilization(percent) => {
                requests.get(name).copied().unwrap_or(0).saturating_mul(i64::from(percent.max(100))) / 100
            }
            Target::AverageValue(value) => value,
        };
        used.extend(groups.missing.iter().map(|name| (name.clone(), busy(name))));
    } else {
        used.extend(groups.missing.iter().map(|name| (name.clone(), 0)));
    }
    if with_unready {
        used.extend(groups.unready.iter().map(|name| (name.clone(), 0)));
    }
    let (new_ratio, _) = measure(&used, &requests, subject.target)?;
    if tolerated(new_ratio) || (ratio < 1.0 && new_ratio > 1.0) || (ratio > 1.0 && new_ratio < 1.0) {
        return done(current);
    }
    let wanted = ceil(new_ratio * used.len() as f64);
    let contrary = (new_ratio < 1.0 && wanted > current) || (new_ratio > 1.0 && wanted < current);
    done(if contrary { current } else { wanted })
}

#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

fn group(all: &[Arc<Pod>], metrics: &PodMetrics, resource: &str, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for pod in all {
        let name = pod.metadata.name.clone().unwrap_or_default();
        if pods::is_terminating(pod) || pods::phase(pod) == "Failed" {
            groups.ignored.insert(name);
        } else if pods::phase(pod) == "Pending" {
            groups.unready.insert(name);
        } else {
            match metrics.get(&name) {
                None => drop(groups.missing.insert(name)),
                Some(metric)
                    if resource == "cpu" && is_unready(pod, metric.timestamp, metric.window, now) =>
                {
                    groups.unready.insert(name);
                }
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

/// Whether what a pod uses of CPU is what it needed to start.
fn is_unready(pod: &Pod, measured: Timestamp, window: SignedDuration, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let (Some(condition), Some(started)) = (pods::condition(pod, "Ready"), started) else { return true };
    let changed = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let not_ready = condition.status == "False";
    if now.duration_since(started) < CPU_INITIALIZATION {
        not_ready || measured.duration_since(changed) < window
    } else {
        not_ready && changed.duration_since(started) < INITIAL_READINESS
    }
}

/// What each pod requests, in thousandths.
fn requests(all: &[Arc<Pod>], subject: Subject<'_>) -> Result<BTreeMap<String, i64>, String> {
    let resource = subject.resource;
    let mut requests = BTreeMap::new();
    for pod in all {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(spec) = &pod.spec else { continue };
        let of = |r: Option<&k8s_openapi::api::core::v1::ResourceRequirements>| {
            Some(r?.requests.as_ref()?.get(resource)?.0.parse::<Quantity>().ok()?.milli_value())
        };
        let whole = of(spec.resources.as_ref()).filter(|_| subject.container.is_none());
        let sum = match whole {
            Some(whole) => whole,
            None => {
                let sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
                let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
                let mut sum = 0_i64;
                for container in spec.containers.iter().chain(sidecars) {
                    if subject.container.is_some_and(|wanted| wanted != container.name) {
                        continue;
                    }
                    let one = of(container.resources.as_ref()).ok_or_else(|| {
                        format!(
                            "missing request for {resource} in container {} of Pod {name}",
                            container.name
                        )
                    })?;
                    sum = sum.saturating_add(one);
                }
                sum
            }
        };
        requests.insert(name, sum);
    }
    Ok(requests)
}

/// The ratio of what is used to what is aimed at.
fn measure(
    used: &BTreeMap<String, i64>,
    requests: &BTreeMap<String, i64>,
    target: Target,
) -> Result<(f64, Outcome), String> {
    let count = i64::try_from(used.len()).unwrap_or(i64::MAX).max(1);
    match target {
        Target::AverageValue(wanted) => {
            let average = used.values().sum::<i64>() / count;
            let ratio = average as f64 / wanted.max(1) as f64;
            Ok((ratio, Outcome { replicas: 0, utilization: None, average_milli: average }))
        }
        Target::Utilization(wanted) => {
            let known = used.iter().filter_map(|(name, used)| Some((*used, *requests.get(name)?)));
            let (total, requested, count) =
                known.fold((0_i64, 0_i64, 0_i64), |(t, r, n), (used, asked)| (t + used, r + asked, n + 1));
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let percent = i32::try_from(total.saturating_mul(100) / requested).unwrap_or(i32::MAX);
            let ratio = f64::from(percent) / f64::from(wanted.max(1));
            let average_milli = total / count.max(1);
            Ok((ratio, Outcome { replicas: 0, utilization: Some(percent), average_milli }))
        }
    }
}

/// Saturates: a target of almost nothing calls for more than there can be.
fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}
