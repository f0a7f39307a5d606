//! A claim of access mode `ReadWriteOncePod` is for one pod (KEP-2485).

use crate::cache::{NodeInfo, uid};
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use k8s_openapi::api::core::v1::Pod;
use volume_binding::pod_claims;

/// See the module.
pub struct VolumeRestrictions;

const IN_USE: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::PodDeleted, ClusterEvent::NodeAdded, ClusterEvent::VolumeChanged]
    }

    fn filter(&self, pod: &Pod, _: &NodeInfo, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        for (name, _) in pod_claims(pod) {
            let modes = snapshot
                .volumes
                .claim(namespace, &name)
                .and_then(|claim| claim.spec.as_ref()?.access_modes.as_ref());
            if !modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod")) {
                continue;
            }
            let in_use = snapshot.cache.pods().any(|(_, other)| {
                uid(other) != uid(pod)
                    && other.metadata.namespace.as_deref() == Some(namespace)
                    && pod_claims(other).any(|(claim, _)| claim == name)
            });
            if in_use {
                return Err(Unfit::because(IN_USE));
            }
        }
        Ok(())
    }
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
    fn only_one_pod_has_a_claim_for_one_pod() {
        let uses = |name: &str, claim: &str| {
            named_pod(
                name,
                json!({"containers": [],
                    "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}),
            )
        };
        let mut volumes = Volumes::default();
        for (name, mode) in [("one", "ReadWriteOncePod"), ("many", "ReadWriteOnce")] {
            let claim =
                json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"accessModes": [mode]}});
            volumes.apply_claim(Arc::new(serde_json::from_value(claim).unwrap()));
        }
        let mut cache = Cache::default();
        for name in ["m", "n"] {
            cache.apply_node(Arc::new(node(name, json!({}))));
        }
        let fits = |cache: &Cache, pod: &Pod| {
            let snapshot = Snapshot { cache, volumes: &volumes, namespaces: &Nowhere, workloads: &Nowhere };
            VolumeRestrictions.filter(pod, cache.node("n").unwrap(), &snapshot)
        };
        assert_eq!(fits(&cache, &uses("a", "one")), Ok(()));
        cache.assume(Arc::new(uses("a", "one")), "m");
        cache.assume(Arc::new(uses("b", "many")), "m");
        assert_eq!(fits(&cache, &uses("c", "one")), Err(Unfit::because(IN_USE)));
        assert_eq!(fits(&cache, &uses("a", "one")), Ok(()), "itself");
        assert_eq!(fits(&cache, &uses("c", "many")), Ok(()));
    }
}
