//! Pods: compute resources for as long as they may run.

use super::scopes::Scope;
use super::{Amounts, amounts, one};
use crate::core::pod::resources::{aggregate, is_pod_level, quality_of_service};
use crate::core::pod::validation::is_extended;
use crate::value::{at, field, has, int, int_at, list, list_at, list_mut, set, text, text_at};
use apimachinery::{meta, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 10] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "pods",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// What every container has to say when a quota limits it.
const REQUIRED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";

pub(super) fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
        || name.starts_with(HUGE_PAGES)
        || name.strip_prefix(REQUESTS).is_some_and(|of| of.starts_with(HUGE_PAGES) || is_extended(of))
}

/// Whether a pod still counts for more than its existence: it has not ended, and is not stuck in its end.
pub fn counts(pod: &Value, now: Timestamp) -> bool {
    if matches!(text_at(pod, &["status", "phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let metadata = field(pod, "metadata");
    let (Some(deleted), Some(grace)) =
        (time::parse(meta::string(pod, "deletionTimestamp")), int(metadata, "deletionGracePeriodSeconds"))
    else {
        return true;
    };
    deleted.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now <= end)
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    if counts(pod, now) { compute(&total(pod, "requests"), &total(pod, "limits")) } else { Amounts::new() }
}

/// What a pod needs as a whole: containers, what is set for the pod itself (KEP-2837), overhead.
fn total(pod: &Value, which: &str) -> Amounts {
    let mut spec = field(pod, "spec").clone();
    raise_to_status(pod, &mut spec, which);
    let mut total = aggregate(&spec, which);
    for (name, amount) in amounts(field(&spec, "resources"), which) {
        if is_pod_level(&name) {
            total.insert(name, amount);
        }
    }
    for (name, overhead) in amounts(&spec, "overhead") {
        match total.get_mut(&name) {
            Some(amount) if which == "requests" || !amount.is_zero() => *amount = *amount + overhead,
            None if which == "requests" => drop(total.insert(name, overhead)),
            _ => {}
        }
    }
    total
}

/// What a container still holds counts while it is resized to less (KEP-1287); what it cannot have does not.
fn raise_to_status(pod: &Value, spec: &mut Value, which: &str) {
    let status = field(pod, "status");
    let infeasible = list(status, "conditions")
        .iter()
        .any(|c| text(c, "type") == "PodResizePending" && text(c, "reason") == "Infeasible");
    for (containers, statuses) in
        [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")]
    {
        let statuses = list(status, statuses);
        for container in list_mut(spec, containers) {
            let Some(status) = statuses.iter().find(|s| text(s, "name") == text(container, "name")) else {
                continue;
            };
            let mut held = amounts(field(status, "resources"), which);
            if which == "requests" {
                raise(&mut held, amounts(status, "allocatedResources"));
            }
            if held.is_empty() {
                continue;
            }
            if !infeasible {
                raise(&mut held, amounts(field(container, "resources"), which));
            }
            if !has(container, "resources") {
                set(container, "resources", json!({}));
            }
            if let Some(resources) = container.get_mut("resources") {
                set(resources, which, super::to_value(&held));
            }
        }
    }
}

fn raise(to: &mut Amounts, least: Amounts) {
    for (name, amount) in least {
        let entry = to.entry(name).or_insert(amount);
        *entry = (*entry).max(amount);
    }
}

fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), one())]);
    for (name, amount) in requests {
        let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if plain || name.starts_with(HUGE_PAGES) {
            usage.insert(name.clone(), *amount);
        }
        if plain || name.starts_with(HUGE_PAGES) || is_extended(name) {
            usage.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

/// Every container says what is limited, unless the pod says it for all of them.
pub(super) fn constraints(hard: &Amounts, pod: &Value) -> Result<(), String> {
    let spec = field(pod, "spec");
    let said = |of: &Value| compute(&amounts(of, "requests"), &amounts(of, "limits"));
    let by_pod = said(field(spec, "resources"));
    let required: BTreeSet<&str> =
        REQUIRED.into_iter().filter(|name| hard.contains_key(*name) && !by_pod.contains_key(*name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in list(spec, "containers").iter().chain(list(spec, "initContainers")) {
        let said = said(field(container, "resources"));
        for name in required.iter().filter(|name| !said.contains_key(**name)) {
            missing.entry(name).or_default().insert(text(container, "name"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| {
            format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
        })
        .collect();
    Err(format!("must specify {}", texts.join("; ")))
}

pub(super) fn in_scope(scope: &Scope, pod: &Value) -> bool {
    let spec = field(pod, "spec");
    let best_effort = || quality_of_service(spec) == "BestEffort";
    let ends = int_at(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0);
    match scope.name.as_str() {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = text(spec, "priorityClassName");
            scope.holds(if class.is_empty() { &[] } else { std::slice::from_ref(&class) })
        }
        "CrossNamespacePodAffinity" => reaches_other_namespaces(spec),
        _ => false,
    }
}

/// Whether the pod's affinity or anti-affinity looks at other namespaces (KEP-2249).
fn reaches_other_namespaces(spec: &Value) -> bool {
    let reaches = |term: &Value| !list(term, "namespaces").is_empty() || has(term, "namespaceSelector");
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let affinity = at(spec, &["affinity", kind]);
        list(affinity, "requiredDuringSchedulingIgnoredDuringExecution").iter().any(reaches)
            || list_at(affinity, &["preferredDuringSchedulingIgnoredDuringExecution"])
                .iter()
                .any(|weighted| reaches(field(weighted, "podAffinityTerm")))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Scopes, pretty};
    use super::*;

    fn hard(names: &[&str]) -> Amounts {
        names.iter().map(|name| ((*name).to_owned(), one())).collect()
    }

    #[test]
    fn a_pod_counts_with_what_its_containers_and_its_overhead_need() {
        let pod = json!({"spec": {"overhead": {"cpu": "100m", "memory": "1Mi"}, "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "2"}, "limits": {"cpu": "2", "nvidia.com/gpu": "2"}}},
            {"name": "b", "resources": {"requests": {"cpu": "500m", "hugepages-2Mi": "4Mi"}}}]}});
        assert_eq!(
            pretty(&usage(&pod, Timestamp::UNIX_EPOCH)),
            "cpu=1600m,hugepages-2Mi=4Mi,limits.cpu=2100m,memory=1Mi,pods=1,requests.cpu=1600m,\
             requests.hugepages-2Mi=4Mi,requests.memory=1Mi,requests.nvidia.com/gpu=2"
        );
    }

    #[test]
    fn a_pod_that_shrinks_counts_with_what_it_still_holds() {
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"containerStatuses": [{"name": "a", "allocatedResources": {"cpu": "2"}}]}});
        assert_eq!(pretty(&usage(&pod, Timestamp::UNIX_EPOCH)), "cpu=2,pods=1,requests.cpu=2");
    }

    #[test]
    fn what_has_ended_or_is_stuck_in_its_end_counts_no_more() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert!(!counts(&json!({"status": {"phase": "Succeeded"}}), at(0)));
        let going = json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:10Z", "deletionGracePeriodSeconds": 5}});
        assert!(counts(&going, at(15)) && !counts(&going, at(16)));
    }

    #[test]
    fn containers_have_to_say_what_is_limited() {
        let pod = json!({"spec": {"containers": [
            {"name": "b", "resources": {"limits": {"cpu": "1"}}}, {"name": "c"}, {"name": "a"}]}});
        assert_eq!(
            constraints(&hard(&["limits.cpu", "requests.memory", "pods"]), &pod).unwrap_err(),
            "must specify limits.cpu for: a,c; requests.memory for: a,b,c"
        );
        let whole = json!({"spec": {"resources": {"limits": {"cpu": "1"}}, "containers": [{"name": "c"}]}});
        assert_eq!(constraints(&hard(&["limits.cpu"]), &whole), Ok(()));
    }

    #[test]
    fn scopes_tell_pods_apart() {
        let within = |scope: &str, spec: &Value| {
            let scopes = Scopes::of(&json!({"scopes": [scope]}));
            scopes.iter().all(|scope| in_scope(scope, &json!({"spec": spec})))
        };
        let plain = json!({"containers": [{"name": "c"}]});
        for (scope, expected) in [
            ("BestEffort", true),
            ("NotBestEffort", false),
            ("Terminating", false),
            ("NotTerminating", true),
            ("PriorityClass", false),
            ("CrossNamespacePodAffinity", false),
        ] {
            assert_eq!(within(scope, &plain), expected, "{scope}");
        }
        let other = json!({"activeDeadlineSeconds": 5, "priorityClassName": "high",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "x", "namespaceSelector": {}}}]}}});
        for scope in ["NotBestEffort", "Terminating", "PriorityClass", "CrossNamespacePodAffinity"] {
            assert!(within(scope, &other), "{scope}");
        }
    }
}
