//! One item of a LimitRange, checked against a pod or a claim.

use std::collections::BTreeMap;
use std::str::FromStr;

use apimachinery::quantity::Quantity;
use serde::Deserialize;
use serde_json::Value;

use super::support::{items, text};

/// `core/v1` LimitRangeItem.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LimitItem {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) min: BTreeMap<String, String>,
    pub(super) max: BTreeMap<String, String>,
    pub(super) default: BTreeMap<String, String>,
    pub(super) default_request: BTreeMap<String, String>,
    pub(super) max_limit_request_ratio: BTreeMap<String, String>,
}

/// Quantities by resource name.
type Resources = BTreeMap<String, Quantity>;

/// Adds what is wrong with a pod.
pub(super) fn check_pod(item: &LimitItem, pod: &Value, errors: &mut Vec<String>) {
    match item.kind.as_str() {
        "Container" => {
            for list in ["/spec/containers", "/spec/initContainers"] {
                for container in items(pod, list) {
                    check(item, &resources(container, "requests"), &resources(container, "limits"), errors);
                }
            }
        }
        "Pod" => check(item, &pod_total(pod, "requests"), &pod_total(pod, "limits"), errors),
        _ => {}
    }
}

/// Adds what is wrong with a PersistentVolumeClaim.
pub(super) fn check_claim(item: &LimitItem, claim: &Value, errors: &mut Vec<String>) {
    if item.kind != "PersistentVolumeClaim" {
        return;
    }
    let spec = claim.get("spec").cloned().unwrap_or_default();
    let requests = resources(&spec, "requests");
    for (name, bound) in &item.min {
        minimum(&item.kind, name, bound, requests.get(name), None, errors);
    }
    for (name, bound) in &item.max {
        let Ok(limit) = Quantity::from_str(bound) else { continue };
        if let Some(request) = requests.get(name)
            && *request > limit
        {
            errors
                .push(format!("maximum {name} usage per {} is {bound}, but request is {request}", item.kind));
        }
    }
}

fn check(item: &LimitItem, requests: &Resources, limits: &Resources, errors: &mut Vec<String>) {
    for (name, bound) in &item.min {
        minimum(&item.kind, name, bound, requests.get(name), limits.get(name), errors);
    }
    for (name, bound) in &item.max {
        maximum(&item.kind, name, bound, requests.get(name), limits.get(name), errors);
    }
    for (name, bound) in &item.max_limit_request_ratio {
        ratio(&item.kind, name, bound, requests.get(name), limits.get(name), errors);
    }
}

fn minimum(
    kind: &str,
    name: &str,
    bound: &str,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    errors: &mut Vec<String>,
) {
    let Ok(least) = Quantity::from_str(bound) else { return };
    let text = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => errors.push(format!("{text}.  No request is specified")),
        (Some(request), _) if *request < least => errors.push(format!("{text}, but request is {request}")),
        (_, Some(limit)) if *limit < least => errors.push(format!("{text}, but limit is {limit}")),
        _ => {}
    }
}

fn maximum(
    kind: &str,
    name: &str,
    bound: &str,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    errors: &mut Vec<String>,
) {
    let Ok(most) = Quantity::from_str(bound) else { return };
    let text = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => errors.push(format!("{text}.  No limit is specified")),
        (_, Some(limit)) if *limit > most => errors.push(format!("{text}, but limit is {limit}")),
        (Some(request), _) if *request > most => errors.push(format!("{text}, but request is {request}")),
        _ => {}
    }
}

fn ratio(
    kind: &str,
    name: &str,
    bound: &str,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    errors: &mut Vec<String>,
) {
    let Ok(most) = Quantity::from_str(bound) else { return };
    let text = format!("{name} max limit to request ratio per {kind} is {bound}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        errors.push(format!("{text}, but no request is specified or request is 0"));
        return;
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        errors.push(format!("{text}, but no limit is specified or limit is 0"));
        return;
    };
    // Exact up to 2^53 thousandths, and only compared.
    #[allow(clippy::cast_precision_loss)]
    let actual = limit.milli_value() as f64 / request.milli_value().max(1) as f64;
    #[allow(clippy::cast_precision_loss)]
    let allowed = most.milli_value() as f64 / 1000.0;
    if actual > allowed {
        errors.push(format!("{text}, but provided ratio is {actual:.6}"));
    }
}

fn resources(container: &Value, kind: &str) -> Resources {
    let values = container.pointer(&format!("/resources/{kind}")).and_then(Value::as_object);
    let parsed = values.into_iter().flatten().filter_map(|(name, value)| {
        // Numbers are quantities too.
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((name.clone(), Quantity::from_str(&text).ok()?))
    });
    parsed.collect()
}

/// What the containers of a pod need together. A resource that not every one of them names is left out of
/// the limits: a container without a limit makes the pod unlimited. Init containers run one after the
/// other, so the largest counts, except those that stay (sidecars), which add to all that come after.
fn pod_total(pod: &Value, kind: &str) -> Resources {
    let regular: Vec<Resources> =
        items(pod, "/spec/containers").iter().map(|one| resources(one, kind)).collect();
    let mut total = Resources::new();
    for container in &regular {
        for (name, quantity) in container {
            if kind == "limits" && !regular.iter().all(|other| other.contains_key(name)) {
                continue;
            }
            add(&mut total, name, *quantity);
        }
    }
    let mut sidecars = Resources::new();
    let mut peak = Resources::new();
    for container in items(pod, "/spec/initContainers") {
        let needed = resources(container, kind);
        if text(container, "/restartPolicy") == "Always" {
            for (name, quantity) in needed {
                add(&mut total, &name, quantity);
                add(&mut sidecars, &name, quantity);
            }
            continue;
        }
        for (name, quantity) in needed {
            let at_once = sidecars.get(&name).map_or(quantity, |already| *already + quantity);
            let most = peak.get(&name).map_or(at_once, |most| (*most).max(at_once));
            peak.insert(name, most);
        }
    }
    for (name, quantity) in peak {
        if total.get(&name).is_none_or(|total| *total < quantity) {
            total.insert(name, quantity);
        }
    }
    total
}

fn add(total: &mut Resources, name: &str, quantity: Quantity) {
    let sum = total.get(name).map_or(quantity, |so_far| *so_far + quantity);
    total.insert(name.to_owned(), sum);
}
