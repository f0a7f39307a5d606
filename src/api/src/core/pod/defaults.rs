//! Defaults of pods and of the pod templates of every workload.

use super::resources::{self, CONTAINER_LISTS};
use crate::value::{
    at_mut, default, default_int, default_text, ensure_object, field, has, is_true, list, list_mut,
    object_mut, text,
};
use serde_json::{Map, Value, json};

/// Mode of files from ConfigMaps, Secrets and the like: 0644.
const FILE_MODE: i64 = 0o644;
/// Seconds a pod gets to end by itself.
const GRACE_SECONDS: i64 = 30;
/// Life of a projected service account token in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Defaults of a pod, which has some that templates have not.
pub fn pod(object: &mut Value) {
    let Some(spec) = object_mut(object, "spec") else { return };
    default(spec, "enableServiceLinks", true);
    if is_true(spec, "hostNetwork") {
        for name in ["containers", "initContainers"] {
            list_mut(spec, name).iter_mut().for_each(default_host_ports);
        }
    }
    for name in ["containers", "initContainers"] {
        for container in list_mut(spec, name) {
            if let Some(resources) = object_mut(container, "resources") {
                default_requests_from_limits(resources);
            }
        }
    }
    resources::default_pod_level(spec);
    pod_spec(spec);
}

/// Defaults of the template in field `template` of a workload's spec.
pub fn template(workload_spec: &mut Value) {
    if let Some(spec) = at_mut(workload_spec, &["template", "spec"]) {
        pod_spec(spec);
    }
}

/// Defaults of a pod's spec, in pods and in templates.
pub fn pod_spec(spec: &mut Value) {
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", GRACE_SECONDS);
    default(spec, "securityContext", Value::Object(Map::new()));
    // The old name of serviceAccountName: both are always shown, the new one wins.
    let account = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount").to_owned(),
        new => new.to_owned(),
    };
    if !account.is_empty() {
        crate::value::set(spec, "serviceAccountName", account.clone());
        crate::value::set(spec, "serviceAccount", account);
    }
    list_mut(spec, "volumes").iter_mut().for_each(volume);
    for name in CONTAINER_LISTS {
        list_mut(spec, name).iter_mut().for_each(container);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    ensure_object(container, "resources");
    for port in list_mut(container, "ports") {
        default_text(port, "protocol", "TCP");
    }
    for env in list_mut(container, "env") {
        if let Some(reference) = at_mut(env, &["valueFrom", "fieldRef"]) {
            default_text(reference, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = object_mut(container, name) {
            default_int(probe, "timeoutSeconds", 1);
            default_int(probe, "periodSeconds", 10);
            default_int(probe, "successThreshold", 1);
            default_int(probe, "failureThreshold", 3);
            handler(probe);
        }
    }
    for name in ["postStart", "preStop"] {
        if let Some(hook) = at_mut(container, &["lifecycle", name]) {
            handler(hook);
        }
    }
}

fn handler(handler: &mut Value) {
    if let Some(http) = object_mut(handler, "httpGet") {
        default_text(http, "path", "/");
        default_text(http, "scheme", "HTTP");
    }
    if let Some(grpc) = object_mut(handler, "grpc") {
        default(grpc, "service", "");
    }
}

/// When an image is pulled if nobody says so: always for the tag `latest`, said or unsaid.
pub fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let latest = !image.is_empty()
        && !name.contains('@')
        && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if latest { "Always" } else { "IfNotPresent" }
}

fn default_host_ports(container: &mut Value) {
    for port in list_mut(container, "ports") {
        let number = field(port, "containerPort").as_i64().unwrap_or(0);
        default_int(port, "hostPort", number);
    }
}

/// A limit without a request is a request too.
fn default_requests_from_limits(resources: &mut Value) {
    let Some(limits) = field(resources, "limits").as_object().filter(|l| !l.is_empty()).cloned() else {
        return;
    };
    if let Some(requests) = ensure_object(resources, "requests") {
        for (name, limit) in limits {
            default(requests, &name, limit);
        }
    }
}

fn volume(volume: &mut Value) {
    let Some(fields) = volume.as_object_mut() else { return };
    if fields.keys().all(|name| name == "name") {
        fields.insert("emptyDir".to_owned(), json!({}));
        return;
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = object_mut(volume, name) {
            default(source, "defaultMode", FILE_MODE);
            downward_items(source);
        }
    }
    if let Some(source) = object_mut(volume, "hostPath") {
        default(source, "type", "");
    }
    if let Some(projected) = object_mut(volume, "projected") {
        for source in list_mut(projected, "sources") {
            if let Some(token) = object_mut(source, "serviceAccountToken") {
                default_int(token, "expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(items) = object_mut(source, "downwardAPI") {
                downward_items(items);
            }
        }
    }
    if let Some(image) = object_mut(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        default_text(image, "pullPolicy", policy);
    }
    if let Some(claim) = at_mut(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
        default(claim, "volumeMode", "Filesystem");
    }
    network_volume(volume);
}

/// Defaults of volume types that need a server or a cloud.
pub fn network_volume(volume: &mut Value) {
    if let Some(iscsi) = object_mut(volume, "iscsi") {
        default_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = object_mut(volume, "rbd") {
        default_text(rbd, "pool", "rbd");
        default_text(rbd, "user", "admin");
        default_text(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(azure) = object_mut(volume, "azureDisk") {
        default(azure, "cachingMode", "ReadWrite");
        default(azure, "fsType", "ext4");
        default(azure, "kind", "Shared");
        default(azure, "readOnly", false);
    }
    if let Some(scale) = object_mut(volume, "scaleIO") {
        default_text(scale, "storageMode", "ThinProvisioned");
        default_text(scale, "fsType", "xfs");
    }
}

fn downward_items(source: &mut Value) {
    if list(source, "items").iter().any(|item| has(item, "fieldRef")) {
        for item in list_mut(source, "items") {
            if let Some(reference) = object_mut(item, "fieldRef") {
                default_text(reference, "apiVersion", "v1");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_and_untagged_images_are_always_pulled() {
        for always in ["nginx", "nginx:latest", "localhost:5000/nginx", "a.b/c/d:latest"] {
            assert_eq!(pull_policy(always), "Always", "{always}");
        }
        for present in ["nginx:1.27", "localhost:5000/nginx:1", "nginx@sha256:abc", ""] {
            assert_eq!(pull_policy(present), "IfNotPresent", "{present}");
        }
    }

    #[test]
    fn a_small_pod_gets_all_defaults() {
        let mut object = json!({"spec": {"volumes": [{"name": "v"}], "containers": [{
            "name": "c", "image": "nginx", "resources": {"limits": {"cpu": "1"}},
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
        }]}});
        pod(&mut object);
        assert_eq!(
            object,
            json!({"spec": {
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true,
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{
                    "name": "c", "image": "nginx", "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "readinessProbe": {
                        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 5,
                        "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
                    },
                }],
            }})
        );
    }
}
