//! A pod's claims have to exist and be bound, and the volumes have to be reachable from the node.

use super::matches_node_selector;
use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use k8s_openapi::api::core::v1::Pod;

/// See the module.
pub struct VolumeBinding;

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::VolumeChanged, ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]
    }

    fn pre_filter(&self, pod: &Pod, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        for claim in claims(pod) {
            match snapshot.volumes.claim(namespace, &claim) {
                None => {
                    return Err(Unfit::because(format!("persistentvolumeclaim \"{claim}\" not found")));
                }
                Some(found) if found.metadata.deletion_timestamp.is_some() => {
                    return Err(Unfit::because(format!(
                        "persistentvolumeclaim \"{claim}\" is being deleted"
                    )));
                }
                Some(found) => {
                    let bound = found.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
                    if !bound {
                        return Err(Unfit::because(UNBOUND));
                    }
                }
            }
        }
        Ok(())
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let Some(node) = &node.node else { return Ok(()) };
        for claim in claims(pod) {
            let found = snapshot.volumes.claim(namespace, &claim);
            let name = found.and_then(|c| c.spec.as_ref()?.volume_name.clone()).unwrap_or_default();
            let Some(volume) = snapshot.volumes.volume(&name) else { continue };
            let required =
                volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref()).and_then(|a| a.required.as_ref());
            if required.is_some_and(|selector| !matches_node_selector(selector, node)) {
                return Err(Unfit::because(CONFLICT));
            }
        }
        Ok(())
    }
}

/// Names of the claims that a pod uses, generic ephemeral volumes (KEP-1698) among them.
fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_ref());
    volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name.clone()),
            (None, Some(_)) => {
                Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or(""), volume.name))
            }
            (None, None) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::run::Volumes;
    use crate::schedule_one::tests::Nowhere;
    use crate::testing::{node, pod};
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn claims_have_to_be_there_bound_and_reachable() {
        let wants = pod(
            json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
        );
        let mut cache = Cache::default();
        cache.apply_node(Arc::new(node("n", json!({}))));
        let check = |volumes: &Volumes| {
            let snapshot = Snapshot { cache: &cache, volumes, namespaces: &Nowhere };
            VolumeBinding.pre_filter(&wants, &snapshot)?;
            VolumeBinding.filter(&wants, cache.nodes().next().unwrap(), &snapshot)
        };
        let mut volumes = Volumes::default();
        assert_eq!(check(&volumes), Err(Unfit::because("persistentvolumeclaim \"c\" not found")));
        let claim = |phase: &str| {
            serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "default"},
                "spec": {"volumeName": "pv"}, "status": {"phase": phase}}))
            .unwrap()
        };
        volumes.apply_claim(Arc::new(claim("Pending")));
        assert_eq!(check(&volumes), Err(Unfit::because(UNBOUND)));
        volumes.apply_claim(Arc::new(claim("Bound")));
        assert_eq!(check(&volumes), Ok(()));
        volumes.apply_volume(Arc::new(
            serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": {"nodeAffinity":
            {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": ["other"]}]}]}}}}))
            .unwrap(),
        ));
        assert_eq!(check(&volumes), Err(Unfit::because(CONFLICT)));
    }
}
