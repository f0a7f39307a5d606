//! How sandboxes and containers remember what they are for: the labels and annotations by which a restarted
//! kubelet adopts them. Names are upstream's, so that `crictl` and log collectors understand them. Pure.

use crate::pod;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;

/// Label: name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: uid of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: hash of what makes a running container outdated when it changes.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was started before.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where the container leaves its last words.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the preStop hook as JSON, for pods whose object is gone.
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// Annotation: seconds between SIGTERM and SIGKILL, for pods whose object is gone.
pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation of a sandbox or pod: where its configuration came from.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// Labels of a pod's sandbox: the pod's own, then the identity.
pub fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod.metadata.labels.iter().flatten().map(cloned).collect();
    labels.extend(identity(pod));
    labels
}

/// Annotations of a pod's sandbox: the pod's own and its source.
pub fn sandbox_annotations(pod: &Pod) -> HashMap<String, String> {
    let mut annotations: HashMap<String, String> =
        pod.metadata.annotations.iter().flatten().map(cloned).collect();
    annotations.insert(CONFIG_SOURCE.to_owned(), "api".to_owned());
    annotations
}

/// Labels of one container.
pub fn container_labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut labels = identity(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

/// Annotations of one container.
pub fn container_annotations(
    pod: &Pod,
    container: &Container,
    restart_count: u32,
) -> HashMap<String, String> {
    let mut annotations = HashMap::from([
        (CONTAINER_HASH.to_owned(), format!("{:x}", container_hash(container))),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (TERMINATION_MESSAGE_PATH.to_owned(), termination_message_path(container).to_owned()),
        (TERMINATION_MESSAGE_POLICY.to_owned(), termination_message_policy(container).to_owned()),
        (GRACE.to_owned(), pod::spec_grace(pod).as_secs().to_string()),
    ]);
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        && let Ok(json) = serde_json::to_string(hook)
    {
        annotations.insert(PRE_STOP.to_owned(), json);
    }
    annotations
}

/// `terminationMessagePath`, or the API's default.
pub fn termination_message_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().unwrap_or("/dev/termination-log")
}

/// `terminationMessagePolicy`, or the API's default.
pub fn termination_message_policy(container: &Container) -> &str {
    container.termination_message_policy.as_deref().unwrap_or("File")
}

/// FNV-1a over name and image: the only fields that may change under a running container and need a restart.
///
/// It must never change between versions of Knarr, or an upgrade would restart every container.
pub fn container_hash(container: &Container) -> u32 {
    let text = format!("{}\0{}", container.name, container.image.as_deref().unwrap_or(""));
    text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn identity(pod: &Pod) -> HashMap<String, String> {
    HashMap::from([
        (POD_NAME.to_owned(), pod::name(pod).to_owned()),
        (POD_NAMESPACE.to_owned(), pod::namespace(pod).to_owned()),
        (POD_UID.to_owned(), pod::uid(pod).to_owned()),
    ])
}

fn cloned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_for_ever() {
        let container = |image: &str| Container {
            name: "a".to_owned(),
            image: Some(image.to_owned()),
            ..Container::default()
        };
        assert_eq!(container_hash(&container("nginx:1")), 0x814a_11dd);
        assert_ne!(container_hash(&container("nginx:1")), container_hash(&container("nginx:2")));
    }
}
