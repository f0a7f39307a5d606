//! Who goes first. Pure.

use super::thresholds::Signal;
use crate::pod;
use crate::resources;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Reverse;
use std::sync::Arc;

/// A pod and what it uses.
#[derive(Debug, Clone)]
pub struct PodUsage {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Working set in bytes.
    pub memory: u64,
    /// Bytes on disk: volumes, logs, writable layers.
    pub disk: u64,
    /// Processes.
    pub processes: u64,
}

/// Pods in the order in which they should go: those that use more than they asked for, then by priority
/// ascending, then by how much more they use.
pub fn rank(mut pods: Vec<PodUsage>, signal: Signal) -> Vec<PodUsage> {
    pods.retain(|usage| !pod::is_critical(&usage.pod));
    pods.sort_by_key(|usage| {
        let over = over_request(usage, signal);
        (Reverse(over > 0), pod::priority(&usage.pod), Reverse(over))
    });
    pods
}

/// What the pod uses beyond its request; process ids and inodes cannot be requested.
fn over_request(usage: &PodUsage, signal: Signal) -> i128 {
    let (used, request) = match signal {
        Signal::MemoryAvailable => (usage.memory, resources::pod_request(&usage.pod, "memory")),
        Signal::PidAvailable => (usage.processes, 0),
        Signal::NodeFsAvailable | Signal::ImageFsAvailable => {
            (usage.disk, resources::pod_request(&usage.pod, "ephemeral-storage"))
        }
        Signal::NodeFsInodesFree | Signal::ImageFsInodesFree => (usage.disk, 0),
    };
    i128::from(used) - i128::from(request)
}

/// What the pod's status and the event say.
pub fn message(usage: &PodUsage, signal: Signal, limit: u64, available: u64) -> String {
    let quantity = |bytes: u64| {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        apimachinery::quantity::Quantity::from_units(bytes, apimachinery::quantity::Format::BinarySi)
            .to_string()
    };
    let mut text = format!(
        "The node was low on resource: {}. Threshold quantity: {}, available: {}. ",
        signal.resource(),
        quantity(limit),
        quantity(available / 1024 * 1024)
    );
    let resource = match signal {
        Signal::MemoryAvailable => Some(("memory", usage.memory)),
        Signal::NodeFsAvailable | Signal::ImageFsAvailable => Some(("ephemeral-storage", usage.disk)),
        _ => None,
    };
    // Usage is known per pod: naming it for each of several containers would count it several times.
    if let (Some((resource, used)), [container]) = (resource, pod::containers(&usage.pod)) {
        let request = resources::amount(resources::requests(container), resource).unwrap_or(0);
        text.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
            container.name,
            quantity(used / 1024 * 1024),
            quantity(u64::try_from(request).unwrap_or(0)),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn usage(name: &str, request: &str, memory: u64, priority: i32) -> PodUsage {
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"priority": priority,
            "containers": [{"name": "a", "resources": {"requests": {"memory": request}}}]}}));
        PodUsage { pod: Arc::new(pod.unwrap()), memory, disk: 0, processes: 0 }
    }

    #[test]
    fn the_greedy_go_before_the_modest_and_the_unimportant_before_the_important() {
        let ranked = rank(
            vec![
                usage("modest", "1Gi", 1 << 20, 0),
                usage("greedy", "1Mi", 10 << 20, 0),
                usage("greedier", "1Mi", 20 << 20, 0),
                usage("important", "1Mi", 90 << 20, 1000),
                usage("critical", "0", 900 << 20, pod::CRITICAL_PRIORITY),
            ],
            Signal::MemoryAvailable,
        );
        let names: Vec<&str> = ranked.iter().map(|usage| pod::name(&usage.pod)).collect();
        assert_eq!(names, ["greedier", "greedy", "important", "modest"]);
    }
}
