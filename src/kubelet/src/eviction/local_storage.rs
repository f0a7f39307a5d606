//! Pods that use more local storage than they may. Pure: usage is measured elsewhere.

use crate::pod;
use crate::resources;
use crate::status::Override;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;

/// What a pod uses of local storage, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalUsage {
    /// By emptyDir volume on disk.
    pub volumes: BTreeMap<String, u64>,
    /// Writable layer and logs by container.
    pub containers: BTreeMap<String, u64>,
}

/// The emptyDir volumes with a size limit that are on disk; those in memory are bounded by the kernel.
pub fn limited_volumes(pod: &Pod) -> BTreeMap<String, (i64, String)> {
    let volumes = pod::spec(pod).volumes.iter().flatten();
    volumes
        .filter_map(|volume| {
            let source = volume.empty_dir.as_ref()?;
            let on_disk = source.medium.as_deref().unwrap_or("").is_empty();
            let limit = source.size_limit.as_ref().filter(|limit| on_disk && resources::value(limit) > 0)?;
            Some((volume.name.clone(), (resources::value(limit), limit.0.clone())))
        })
        .collect()
}

/// Whether a pod has any limit of local storage at all.
pub fn is_limited(pod: &Pod) -> bool {
    let container_limit = pod::containers(pod)
        .iter()
        .any(|container| resources::amount(resources::limits(container), "ephemeral-storage").is_some());
    container_limit || !limited_volumes(pod).is_empty()
}

/// The verdict on a pod that uses more than it may.
pub fn over_limit(pod: &Pod, usage: &LocalUsage) -> Option<Override> {
    let evicted = |message: String| Some(Override { reason: "Evicted".to_owned(), message });
    let exceeds = |used: u64, limit: i64| u64::try_from(limit).is_ok_and(|limit| used > limit);
    for (name, (limit, text)) in limited_volumes(pod) {
        if exceeds(usage.volumes.get(&name).copied().unwrap_or(0), limit) {
            return evicted(format!("Usage of EmptyDir volume {name:?} exceeds the limit {text:?}. "));
        }
    }
    let total: u64 = usage.volumes.values().chain(usage.containers.values()).sum();
    if resources::is_limited(pod, "ephemeral-storage") {
        let limit = resources::pod_limit(pod, "ephemeral-storage");
        if exceeds(total, limit) {
            let text =
                apimachinery::quantity::Quantity::from_units(limit, apimachinery::quantity::Format::BinarySi);
            return evicted(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {text}. "
            ));
        }
    }
    for container in pod::containers(pod) {
        let Some(quantity) = resources::limits(container).and_then(|limits| limits.get("ephemeral-storage"))
        else {
            continue;
        };
        let used = usage.containers.get(&container.name).copied().unwrap_or(0);
        if exceeds(used, resources::value(quantity)) {
            return evicted(format!(
                "Container {} exceeded its local ephemeral storage limit {:?}. ",
                container.name, quantity.0
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_limit_is_kept() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Ki"}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}],
            "containers": [{"name": "a", "resources": {"limits": {"ephemeral-storage": "2Ki"}}}, {"name": "b"}]}}))
        .unwrap();
        let usage = |volume, container| LocalUsage {
            volumes: BTreeMap::from([("v".to_owned(), volume)]),
            containers: BTreeMap::from([("a".to_owned(), container)]),
        };
        assert!(is_limited(&pod));
        assert_eq!(over_limit(&pod, &usage(1024, 2048)), None);
        let verdict = over_limit(&pod, &usage(1025, 0)).unwrap();
        assert_eq!(verdict.message, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Ki\". ");
        let verdict = over_limit(&pod, &usage(0, 2049)).unwrap();
        assert_eq!(verdict.message, "Container a exceeded its local ephemeral storage limit \"2Ki\". ");
    }
}
