//! What a pod asks for and a node offers, as plain numbers.

use apimachinery::quantity::Quantity as Parsed;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// CPU and memory that a container without requests counts for when nodes are scored, so that many such
/// pods do not pile up (upstream's values: 100m, 200 MB).
const UNREQUESTED_MILLI_CPU: i64 = 100;
const UNREQUESTED_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// Amounts by resource name: CPU in thousandths of a core, everything else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i64>);

impl Resources {
    /// The amount of one resource; 0 when it is not named.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds other amounts.
    pub fn add(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let entry = self.0.entry(name.clone()).or_insert(0);
            *entry = entry.saturating_add(*amount);
        }
    }

    /// Takes other amounts away.
    pub fn subtract(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            if let Some(entry) = self.0.get_mut(name) {
                *entry = entry.saturating_sub(*amount);
            }
        }
    }

    /// The larger of both for each resource.
    fn max(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let entry = self.0.entry(name.clone()).or_insert(0);
            *entry = (*entry).max(*amount);
        }
    }

    /// From the quantities of an object. What does not parse was refused by validation and counts as 0.
    pub fn of(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amounts = quantities.into_iter().flatten().map(|(name, quantity)| {
            let parsed: Parsed = quantity.0.parse().unwrap_or_default();
            (name.clone(), if name == "cpu" { parsed.milli_value() } else { parsed.value() })
        });
        Self(amounts.collect())
    }

    /// What a node offers to pods.
    pub fn allocatable(node: &Node) -> Self {
        let status = node.status.as_ref();
        Self::of(status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref())))
    }

    /// What a pod asks for: the larger of its containers together (with sidecars) and each step of its
    /// initialisation, plus overhead. Sidecars follow KEP-753, pod-level resources KEP-2837.
    pub fn requested(pod: &Pod) -> Self {
        Self::total(pod, |container| Self::of(container.resources.as_ref().and_then(|r| r.requests.as_ref())))
    }

    /// The same, with a default for containers that ask for no CPU or memory; used for scores only.
    pub fn requested_or_default(pod: &Pod) -> Self {
        Self::total(pod, |container| {
            let mut amounts = Self::of(container.resources.as_ref().and_then(|r| r.requests.as_ref()));
            amounts.0.entry("cpu".to_owned()).or_insert(UNREQUESTED_MILLI_CPU);
            amounts.0.entry("memory".to_owned()).or_insert(UNREQUESTED_MEMORY_BYTES);
            amounts
        })
    }

    fn total(pod: &Pod, of: impl Fn(&Container) -> Resources) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let mut running = Self::default();
        for container in &spec.containers {
            running.add(&of(container));
        }
        let (mut sidecars, mut initialising) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let amounts = of(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&amounts);
                initialising.max(&sidecars);
            } else {
                let mut step = sidecars.clone();
                step.add(&amounts);
                initialising.max(&step);
            }
        }
        running.add(&sidecars);
        running.max(&initialising);
        let pod_level = Self::of(spec.resources.as_ref().and_then(|r| r.requests.as_ref()));
        for (name, amount) in pod_level.0 {
            running.0.insert(name, amount);
        }
        running.add(&Self::of(spec.overhead.as_ref()));
        running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::json;

    #[test]
    fn initialisation_counts_only_where_it_is_larger() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = pod(json!({
            "initContainers": [
                {"name": "i", "resources": asks("2")},
                {"name": "s", "restartPolicy": "Always", "resources": asks("100m")},
            ],
            "containers": [{"name": "a", "resources": asks("500m")}, {"name": "b", "resources": asks("1")}],
            "overhead": {"cpu": "10m", "memory": "1Mi"},
        }));
        let requested = Resources::requested(&pod);
        assert_eq!(requested.get("cpu"), 2010);
        assert_eq!(requested.get("memory"), 1 << 20);
    }

    #[test]
    fn sidecars_run_beside_the_containers() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = pod(json!({
            "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": asks("1")}],
            "containers": [{"name": "a", "resources": asks("1500m")}],
        }));
        assert_eq!(Resources::requested(&pod).get("cpu"), 2500);
        assert_eq!(Resources::requested_or_default(&pod).get("memory"), 2 * UNREQUESTED_MEMORY_BYTES);
    }
}
