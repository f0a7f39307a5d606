//! What an informer leaves out of objects that are many.

use k8s_openapi::api::core::v1::{Container, Pod, Volume};

/// Annotations of these domains are Kubernetes' own; components read some of them.
const DOMAIN: &str = "kubernetes.io";
/// The largest of Kubernetes' own annotations; only kubectl reads it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Leaves out what only the kubelet needs: a pod with a service account's token takes 6 KB instead of 12, one with
/// an environment still less. What scheduler and controllers read stays: resources, ports, images, claims, disks,
/// affinities, tolerations and the status.
pub(super) fn pod(pod: &mut Pod) {
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|key, _| {
            key != LAST_APPLIED
                && key.split_once('/').is_some_and(|(domain, _)| {
                    domain.strip_suffix(DOMAIN).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                })
        });
    }
    let Some(spec) = &mut pod.spec else { return };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let kept = Container {
            name: std::mem::take(&mut container.name),
            image: container.image.take(),
            ports: container.ports.take(),
            resources: container.resources.take(),
            resize_policy: container.resize_policy.take(),
            restart_policy: container.restart_policy.take(),
            restart_policy_rules: container.restart_policy_rules.take(),
            ..Container::default()
        };
        *container = kept;
    }
    spec.ephemeral_containers = None;
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(is_placed);
        volumes.shrink_to_fit();
    }
    if let Some(tolerations) = &mut spec.tolerations {
        tolerations.shrink_to_fit();
    }
}

/// Whether a volume has a say in where its pod can run, or a life of its own.
fn is_placed(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || volume.csi.is_some()
        || volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.azure_disk.is_some()
        || volume.iscsi.is_some()
        || volume.rbd.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_keeps_what_places_and_counts_it() {
        let given = json!({
            "metadata": {"name": "p", "annotations": {"note": "x", "example.com/a": "x", LAST_APPLIED: "{}",
                "notkubernetes.io/a": "x", "controller.kubernetes.io/pod-deletion-cost": "5", "kubernetes.io/a": "x"}},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "c", "image": "i", "command": ["x"], "env": [{"name": "A", "value": "b"}],
                    "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": "1"}},
                    "volumeMounts": [{"name": "t", "mountPath": "/t"}]}],
                "initContainers": [{"name": "s", "restartPolicy": "Always", "args": ["x"]}],
                "volumes": [{"name": "t", "projected": {"sources": []}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "d"}}],
                "tolerations": [{"operator": "Exists"}]},
            "status": {"phase": "Running"}});
        let mut slim: Pod = serde_json::from_value(given).unwrap();
        pod(&mut slim);
        assert_eq!(
            serde_json::to_value(&slim).unwrap(),
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "annotations": {
                    "controller.kubernetes.io/pod-deletion-cost": "5", "kubernetes.io/a": "x"}},
                "spec": {
                    "nodeName": "n",
                    "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                        "resources": {"requests": {"cpu": "1"}}}],
                    "initContainers": [{"name": "s", "restartPolicy": "Always"}],
                    "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}],
                    "tolerations": [{"operator": "Exists"}]},
                "status": {"phase": "Running"}})
        );
    }
}
