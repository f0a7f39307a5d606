//! What a pod asks for as a whole: sums of its containers, quality of service, pod-level resources (KEP-2837).

use crate::validation::{quantity, quantity_text};
use crate::value::{ensure_object, entries, field, has, list, set, text};
use apimachinery::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeMap;

/// The lists of containers of a pod's spec.
pub const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The resources that decide about the quality of service.
const COMPUTE: [&str; 2] = ["cpu", "memory"];

type Amounts = BTreeMap<String, Quantity>;

fn amounts(container: &Value, which: &str) -> Amounts {
    entries(field(container, "resources"), which)
        .filter_map(|(name, value)| Some((name.to_owned(), quantity(value)?)))
        .collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |before| *before + *amount);
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        if to.get(name).is_none_or(|before| before < amount) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// What the containers ask for together (`which` is `requests` or `limits`): the sum of those that run side by
/// side, or what an init container needs at its time if that is more (KEP-753 for restartable ones). No overhead.
pub fn aggregate(spec: &Value, which: &str) -> BTreeMap<String, Quantity> {
    let mut total = Amounts::new();
    for container in list(spec, "containers") {
        add(&mut total, &amounts(container, which));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in list(spec, "initContainers") {
        let mut now = amounts(container, which);
        if text(container, "restartPolicy") == "Always" {
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now.clone_from(&sidecars);
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, &now);
    }
    raise(&mut total, &peak);
    total
}

/// Pod-level requests that follow from pod-level limits and from what the containers ask for (KEP-2837).
pub fn default_pod_level(spec: &mut Value) {
    let limits = field(field(spec, "resources"), "limits");
    let has_requests = has(field(spec, "resources"), "requests");
    if limits.as_object().is_none_or(serde_json::Map::is_empty) && !has_requests {
        return;
    }
    let limits = limits.clone();
    let asked = aggregate(spec, "requests");
    let Some(requests) = ensure_object(spec, "resources").and_then(|r| ensure_object(r, "requests")) else {
        return;
    };
    for (name, amount) in asked {
        if is_pod_level(&name) && !name.starts_with("hugepages-") && !has(requests, &name) {
            set(requests, &name, amount.to_string());
        }
    }
    for (name, limit) in limits.as_object().into_iter().flatten() {
        if is_pod_level(name) && !has(requests, name) {
            set(requests, name, limit.clone());
        }
    }
}

/// Whether a resource may be set for the pod as a whole.
pub fn is_pod_level(name: &str) -> bool {
    COMPUTE.contains(&name) || name.starts_with("hugepages-")
}

/// The pod's quality of service: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn quality_of_service(spec: &Value) -> &'static str {
    let whole = field(spec, "resources");
    if has(whole, "requests") || has(whole, "limits") {
        return class_of([whole].into_iter());
    }
    class_of(
        list(spec, "containers").iter().chain(list(spec, "initContainers")).map(|c| field(c, "resources")),
    )
}

fn class_of<'a>(all: impl Iterator<Item = &'a Value>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for resources in all {
        let positive = |which| -> Amounts {
            entries(resources, which)
                .filter(|(name, _)| COMPUTE.contains(name))
                .filter_map(|(name, value)| Some((name.to_owned(), quantity(value)?)))
                .filter(|(_, amount)| !amount.is_zero())
                .collect()
        };
        let (asked, limited) = (positive("requests"), positive("limits"));
        any |= !asked.is_empty() || !limited.is_empty();
        guaranteed &= limited.len() == COMPUTE.len();
        add(&mut requests, &asked);
        add(&mut limits, &limited);
    }
    match (any, guaranteed && (requests.is_empty() || requests == limits)) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The canonical text of a quantity in JSON.
pub fn canonical(value: &Value) -> String {
    quantity(value).map_or_else(|| quantity_text(value).into_owned(), |q| q.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(resources: Value) -> Value {
        json!({"resources": resources})
    }

    #[test]
    fn quality_of_service_follows_from_requests_and_limits() {
        let class = |containers: Value| quality_of_service(&json!({"containers": containers}));
        let full =
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(class(json!([container(json!({}))])), "BestEffort");
        assert_eq!(class(json!([container(full.clone())])), "Guaranteed");
        assert_eq!(class(json!([container(full.clone()), container(json!({}))])), "Burstable");
        assert_eq!(class(json!([container(json!({"requests": {"cpu": "1"}}))])), "Burstable");
        assert_eq!(class(json!([container(json!({"requests": {"nvidia.com/gpu": "1"}}))])), "BestEffort");
    }

    #[test]
    fn init_containers_count_for_their_peak_and_sidecars_stay() {
        let asks = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = asks("1");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [asks("1")], "initContainers": [sidecar, asks("4")]});
        assert_eq!(aggregate(&spec, "requests").get("cpu").unwrap().milli_value(), 5000);
    }
}
