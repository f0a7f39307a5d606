//! Of typed objects what counts, as trees: a namespace may have very many pods.

use client::rest;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, PersistentVolumeClaim, Pod, PodSpec, PodStatus, Service, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

pub(super) fn pod(pod: &Pod) -> Result<Value, kube::Error> {
    let metadata = ObjectMeta {
        deletion_timestamp: pod.metadata.deletion_timestamp.clone(),
        deletion_grace_period_seconds: pod.metadata.deletion_grace_period_seconds,
        ..ObjectMeta::default()
    };
    let containers = |all: &[Container]| -> Vec<Container> {
        all.iter()
            .map(|container| Container {
                name: container.name.clone(),
                resources: container.resources.clone(),
                restart_policy: container.restart_policy.clone(),
                ..Container::default()
            })
            .collect()
    };
    let spec = pod.spec.as_ref().map(|spec| PodSpec {
        containers: containers(&spec.containers),
        init_containers: spec.init_containers.as_deref().map(containers),
        overhead: spec.overhead.clone(),
        resources: spec.resources.clone(),
        active_deadline_seconds: spec.active_deadline_seconds,
        priority_class_name: spec.priority_class_name.clone(),
        affinity: spec.affinity.clone(),
        ..PodSpec::default()
    });
    let statuses = |all: &Vec<ContainerStatus>| -> Vec<ContainerStatus> {
        all.iter()
            .map(|status| ContainerStatus {
                name: status.name.clone(),
                resources: status.resources.clone(),
                allocated_resources: status.allocated_resources.clone(),
                ..ContainerStatus::default()
            })
            .collect()
    };
    let status = pod.status.as_ref().map(|status| PodStatus {
        phase: status.phase.clone(),
        conditions: status.conditions.as_ref().map(|all| {
            all.iter().filter(|condition| condition.type_ == "PodResizePending").cloned().collect()
        }),
        container_statuses: status.container_statuses.as_ref().map(statuses),
        init_container_statuses: status.init_container_statuses.as_ref().map(statuses),
        ..PodStatus::default()
    });
    rest::to_value(&Pod { metadata, spec, status })
}

pub(super) fn service(service: &Service) -> Result<Value, kube::Error> {
    let spec = service.spec.as_ref().map(|spec| ServiceSpec {
        type_: spec.type_.clone(),
        ports: spec.ports.clone(),
        allocate_load_balancer_node_ports: spec.allocate_load_balancer_node_ports,
        ..ServiceSpec::default()
    });
    rest::to_value(&Service { metadata: ObjectMeta::default(), spec, status: None })
}

pub(super) fn claim(claim: &PersistentVolumeClaim) -> Result<Value, kube::Error> {
    let metadata = ObjectMeta { annotations: claim.metadata.annotations.clone(), ..ObjectMeta::default() };
    let (spec, status) = (claim.spec.clone(), claim.status.clone());
    rest::to_value(&PersistentVolumeClaim { metadata, spec, status })
}

/// Whether a pod changed in what it counts for.
pub(super) fn pod_differs(old: &Pod, new: &Pod) -> bool {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let wanted = |pod: &Pod| -> Vec<_> {
        pod.spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .map(|container| container.resources.clone())
            .collect()
    };
    let held = |pod: &Pod| -> Vec<_> {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        statuses.map(|status| (status.resources.clone(), status.allocated_resources.clone())).collect()
    };
    let ended = |pod: &Pod| matches!(phase(pod).as_deref(), Some("Failed" | "Succeeded"));
    ended(old) != ended(new)
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || wanted(old) != wanted(new)
        || held(old) != held(new)
}
