//! Events of the kubelet: about pods, their containers, and the node.

use crate::pod;
use client::{EventRecorder, EventType};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};

/// Records events on behalf of the kubelet. Cloning shares the queue.
#[derive(Clone)]
pub struct Events {
    recorder: EventRecorder,
    node_name: String,
}

impl Events {
    /// Events of the node `node_name`.
    pub fn new(recorder: EventRecorder, node_name: &str) -> Self {
        Self { recorder, node_name: node_name.to_owned() }
    }

    /// Something happened to a pod.
    pub fn pod(&self, pod: &Pod, warning: bool, reason: &str, message: &str) {
        self.recorder.event(&reference(pod, None), kind(warning), reason, message);
    }

    /// Something happened to one of a pod's containers.
    pub fn container(&self, pod: &Pod, container: &str, warning: bool, reason: &str, message: &str) {
        let path = pod::container_field_path(pod, container);
        self.recorder.event(&reference(pod, path), kind(warning), reason, message);
    }

    /// Something happened to the node. Its uid is its name, as `kubectl describe node` looks for it.
    pub fn node(&self, warning: bool, reason: &str, message: &str) {
        let reference = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.node_name.clone()),
            uid: Some(self.node_name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.event(&reference, kind(warning), reason, message);
    }
}

fn kind(warning: bool) -> EventType {
    if warning { EventType::Warning } else { EventType::Normal }
}

fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    let metadata = &pod.metadata;
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path,
    }
}
