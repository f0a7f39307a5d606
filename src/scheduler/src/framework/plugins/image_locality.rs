//! A node that has the pod's images already is liked more: the larger they are, and the more nodes have them.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, MAX_SCORE, Plugin, Snapshot};
use k8s_openapi::api::core::v1::Pod;

/// See the module.
pub struct ImageLocality;

/// Bytes of images below which a node is not worth more than another, and beyond which, for each container, it cannot
/// be worth more (upstream's values).
const LEAST: i64 = 23 * 1024 * 1024;
const MOST_EACH: i64 = 1000 * 1024 * 1024;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[]
    }

    fn score(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> i64 {
        let images = images(pod);
        let nodes = i64::try_from(snapshot.cache.nodes().count()).unwrap_or(i64::MAX).max(1);
        let sum: i64 = images
            .iter()
            .filter_map(|image| {
                let size = size_on(node, image)?;
                let having = snapshot.cache.nodes().filter(|node| size_on(node, image).is_some()).count();
                // An image that one node alone has would draw every pod to it.
                Some(size.saturating_mul(i64::try_from(having).unwrap_or(i64::MAX)) / nodes)
            })
            .sum();
        let most = MOST_EACH.saturating_mul(i64::try_from(images.len()).unwrap_or(i64::MAX).max(1));
        MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }

    fn weight(&self) -> i64 {
        1
    }
}

/// The images that a pod starts from, with their tags.
fn images(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let names = containers.filter_map(|container| container.image.as_deref());
    names
        .map(|name| {
            let is_tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
            if is_tagged { name.to_owned() } else { format!("{name}:latest") }
        })
        .collect()
}

fn size_on(node: &NodeInfo, image: &str) -> Option<i64> {
    let images = node.node.as_ref()?.status.as_ref()?.images.as_ref()?;
    let found = images.iter().find(|one| one.names.iter().flatten().any(|name| name == image))?;
    Some(found.size_bytes.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::schedule_one::tests::Nowhere;
    use crate::testing::{named_pod, node};
    use crate::volumes::Volumes;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_node_with_the_image_is_worth_more_the_larger_it_is() {
        let mut cache = Cache::default();
        let having = |bytes: i64| json!({"status": {"images": [{"names": ["r/big:latest", "r/big@sha256:0"], "sizeBytes": bytes}]}});
        cache.apply_node(Arc::new(node("a", having(900 << 20))));
        cache.apply_node(Arc::new(node("b", having(10 << 20))));
        cache.apply_node(Arc::new(node("c", json!({}))));
        let snapshot = Snapshot {
            cache: &cache,
            volumes: &Volumes::default(),
            namespaces: &Nowhere,
            workloads: &Nowhere,
        };
        let score = |image: &str, name: &str| {
            let pod = named_pod("p", json!({"containers": [{"name": "c", "image": image}]}));
            ImageLocality.score(&pod, cache.node(name).unwrap(), &snapshot)
        };
        // Two of three nodes have it: 600 MiB count.
        assert_eq!(score("r/big", "a"), 59);
        assert_eq!(score("r/big@sha256:0", "a"), 59);
        assert_eq!((score("r/big", "b"), score("r/big", "c"), score("r/big:v2", "a")), (0, 0, 0));
    }
}
