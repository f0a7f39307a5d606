//! `oom_score_adj` of containers: whom the kernel kills first when memory runs out.

use crate::pod;
use crate::resources::{self, QosClass};
use k8s_openapi::api::core::v1::{Container, Pod};

/// Guaranteed pods go last, but before the kubelet (-999) and the runtime.
const GUARANTEED: i64 = -997;
/// Best-effort pods go first.
const BEST_EFFORT: i64 = 1000;

/// The adjustment for one container of a pod on a node of `memory_capacity` bytes.
///
/// A burstable container's is lower the more memory it asked for: one that uses no more than it asked for
/// outlives one that does.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    if pod::priority(pod) >= pod::NODE_CRITICAL_PRIORITY {
        return GUARANTEED;
    }
    match resources::qos_class(pod) {
        QosClass::Guaranteed => GUARANTEED,
        QosClass::BestEffort => BEST_EFFORT,
        QosClass::Burstable => {
            let own = burstable(container, memory_capacity);
            let is_sidecar = pod::is_sidecar(container)
                && pod::init_containers(pod).iter().any(|init| init.name == container.name);
            if !is_sidecar {
                return own;
            }
            // A sidecar serves the regular containers: it must not be killed before them.
            let regular = pod::containers(pod).iter().map(|other| burstable(other, memory_capacity)).min();
            regular.map_or(own, |regular| own.min(regular))
        }
    }
}

fn burstable(container: &Container, memory_capacity: i64) -> i64 {
    let request = resources::amount(resources::requests(container), "memory").unwrap_or(0);
    let share = i128::from(request) * 1000 / i128::from(memory_capacity.max(1));
    let adjusted = 1000 - i64::try_from(share).unwrap_or(1000);
    // Between guaranteed and best effort, never equal to either.
    adjusted.clamp(1000 + GUARANTEED, BEST_EFFORT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_more_is_asked_for_the_safer() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
            {"name": "none"},
            {"name": "half", "resources": {"requests": {"memory": "512Mi"}}},
            {"name": "all", "resources": {"requests": {"memory": "1Gi"}}}]}}))
        .unwrap();
        let score = |index: usize| oom_score_adj(&pod, &pod::containers(&pod)[index], 1 << 30);
        assert_eq!([score(0), score(1), score(2)], [999, 500, 3]);
    }
}
