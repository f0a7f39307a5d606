//! Resource quantities of pods: requests, limits, QoS class. Pure.

use crate::pod;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// A list of named quantities, as `requests`, `limits`, `capacity` hold it.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Whole units, rounded up; 0 for text that is no quantity (the API server refuses such).
pub fn value(quantity: &Quantity) -> i64 {
    parse(quantity).map_or(0, |parsed| parsed.value())
}

/// Thousandths, rounded up; 0 for text that is no quantity.
pub fn milli_value(quantity: &Quantity) -> i64 {
    parse(quantity).map_or(0, |parsed| parsed.milli_value())
}

fn parse(quantity: &Quantity) -> Option<apimachinery::quantity::Quantity> {
    quantity.0.parse().ok()
}

/// A named quantity of a list in the unit the resource is counted in: CPU in millicores, else whole units.
pub fn amount(list: Option<&ResourceList>, resource: &str) -> Option<i64> {
    let quantity = list?.get(resource)?;
    Some(if resource == "cpu" { milli_value(quantity) } else { value(quantity) })
}

/// The requirements of a container, or none.
pub fn requests(container: &Container) -> Option<&ResourceList> {
    container.resources.as_ref()?.requests.as_ref()
}

/// The limits of a container, or none.
pub fn limits(container: &Container) -> Option<&ResourceList> {
    container.resources.as_ref()?.limits.as_ref()
}

/// What the pod as a whole asks for of one resource (KEP-753 sums sidecars; KEP-2837 pod-level requests win).
///
/// The largest of: all regular containers and sidecars together; each init container together with the
/// sidecars that were started before it. Pod overhead is added.
pub fn pod_request(pod: &Pod, resource: &str) -> i64 {
    pod_total(pod, resource, |requirements| requirements.requests.as_ref(), true)
}

/// The same for limits; a limit is only meaningful when `every_container_limits` holds.
pub fn pod_limit(pod: &Pod, resource: &str) -> i64 {
    pod_total(pod, resource, |requirements| requirements.limits.as_ref(), true)
}

/// Whether the pod is bounded in the resource: by itself or in each of its containers.
pub fn is_limited(pod: &Pod, resource: &str) -> bool {
    let spec = pod::spec(pod);
    if amount(spec.resources.as_ref().and_then(|r| r.limits.as_ref()), resource).is_some_and(|v| v > 0) {
        return true;
    }
    pod::containers(pod)
        .iter()
        .chain(pod::init_containers(pod))
        .all(|container| amount(limits(container), resource).is_some_and(|v| v > 0))
}

fn pod_total<'a>(
    pod: &'a Pod,
    resource: &str,
    list: impl Fn(&'a ResourceRequirements) -> Option<&'a ResourceList>,
    with_overhead: bool,
) -> i64 {
    let spec = pod::spec(pod);
    let of = |container: &'a Container| {
        container.resources.as_ref().and_then(&list).and_then(|l| amount(Some(l), resource)).unwrap_or(0)
    };
    let overhead = if with_overhead { amount(spec.overhead.as_ref(), resource).unwrap_or(0) } else { 0 };
    if let Some(own) = spec.resources.as_ref().and_then(&list).and_then(|l| amount(Some(l), resource)) {
        return own.saturating_add(overhead);
    }
    let mut sidecars = 0_i64;
    let mut peak = 0_i64;
    for container in pod::init_containers(pod) {
        if pod::is_sidecar(container) {
            sidecars = sidecars.saturating_add(of(container));
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.saturating_add(of(container)));
        }
    }
    let regular = pod::containers(pod).iter().map(of).fold(sidecars, i64::saturating_add);
    regular.max(peak).saturating_add(overhead)
}

/// Quality of service class of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QosClass {
    /// Nothing asked, nothing limited.
    BestEffort,
    /// In between.
    Burstable,
    /// CPU and memory limited in every container, requests equal to limits.
    Guaranteed,
}

impl QosClass {
    /// As `status.qosClass` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "BestEffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
        }
    }
}

/// The class that the API server put in the status, or else the one that the spec gives.
pub fn qos_class(pod: &Pod) -> QosClass {
    match pod::status(pod).qos_class.as_deref() {
        Some("Guaranteed") => QosClass::Guaranteed,
        Some("Burstable") => QosClass::Burstable,
        Some("BestEffort") => QosClass::BestEffort,
        _ => compute_qos_class(pod),
    }
}

fn compute_qos_class(pod: &Pod) -> QosClass {
    const COMPUTE: [&str; 2] = ["cpu", "memory"];
    let positive = |list: Option<&ResourceList>, name| amount(list, name).filter(|value| *value > 0);
    let mut anything = false;
    let mut guaranteed = true;
    let own = pod::spec(pod).resources.as_ref();
    let scopes: Vec<Option<&ResourceRequirements>> = match own {
        Some(requirements) => vec![Some(requirements)],
        None => pod::containers(pod)
            .iter()
            .chain(pod::init_containers(pod))
            .map(|container| container.resources.as_ref())
            .collect(),
    };
    for requirements in scopes {
        for name in COMPUTE {
            let request = positive(requirements.and_then(|r| r.requests.as_ref()), name);
            let limit = positive(requirements.and_then(|r| r.limits.as_ref()), name);
            anything |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (anything, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        assert_eq!(compute_qos_class(&pod(json!({"containers": [{"name": "a"}]}))), QosClass::BestEffort);
        let burstable = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}]});
        assert_eq!(compute_qos_class(&pod(burstable)), QosClass::Burstable);
        let guaranteed = json!({"containers": [{"name": "a", "resources": {
            "limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}}]});
        assert_eq!(compute_qos_class(&pod(guaranteed)), QosClass::Guaranteed);
    }

    #[test]
    fn the_peak_of_initialisation_counts() {
        let pod = pod(json!({
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "big", "resources": {"requests": {"cpu": "2"}}}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}],
            "overhead": {"cpu": "10m"}}));
        assert_eq!(pod_request(&pod, "cpu"), 2110);
    }
}
