//! A kubelet reaches what its pods refer to, and nothing else.

use super::*;
use crate::authentication::UserInfo;
use crate::cached::testing::{create, registry};
use serde_json::json;

async fn cluster() -> Arc<NodeAuthorizer> {
    let registry = registry().await;
    let pod = |name: &str, node: &str, secret: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": {
            "nodeName": node, "serviceAccountName": "sa",
            "volumes": [
                {"name": "s", "secret": {"secretName": secret}},
                {"name": "c", "persistentVolumeClaim": {"claimName": format!("claim-{node}")}}]}})
    };
    for node in ["a", "b"] {
        create(&registry, pod(&format!("pod-{node}"), node, &format!("secret-{node}"))).await;
        create(
            &registry,
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": format!("claim-{node}"), "namespace": "ns"},
            "spec": {"volumeName": format!("volume-{node}")}}),
        )
        .await;
        create(
            &registry,
            json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": format!("volume-{node}")},
            "spec": {"csi": {"nodeStageSecretRef": {"namespace": "csi", "name": format!("stage-{node}")}}}}),
        )
        .await;
        create(
            &registry,
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
            "metadata": {"name": format!("attach-{node}")}, "spec": {"nodeName": node}}),
        )
        .await;
    }
    NodeAuthorizer::new(registry)
}

#[tokio::test]
async fn requests_are_decided_by_relationship() {
    let authorizer = cluster().await;
    let node = UserInfo::node("a");
    // group, resource, subresource, verb, namespace, name, field selector | allowed
    type Case<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str, bool);
    let table: &[Case<'_>] = &[
        ("", "secrets", "", "get", "ns", "secret-a", "", true),
        ("", "secrets", "", "watch", "ns", "", "metadata.name=secret-a", true),
        ("", "secrets", "", "get", "ns", "secret-b", "", false),
        ("", "secrets", "", "get", "other", "secret-a", "", false),
        ("", "secrets", "", "list", "ns", "", "", false),
        ("", "secrets", "", "list", "", "", "", false),
        ("", "secrets", "", "update", "ns", "secret-a", "", false),
        ("", "secrets", "", "get", "csi", "stage-a", "", true),
        ("", "secrets", "", "get", "csi", "stage-b", "", false),
        ("", "configmaps", "", "get", "ns", "secret-a", "", false),
        ("", "persistentvolumeclaims", "", "get", "ns", "claim-a", "", true),
        ("", "persistentvolumeclaims", "", "get", "ns", "claim-b", "", false),
        ("", "persistentvolumeclaims", "status", "patch", "ns", "claim-a", "", true),
        ("", "persistentvolumes", "", "get", "", "volume-a", "", true),
        ("", "persistentvolumes", "", "get", "", "volume-b", "", false),
        ("storage.k8s.io", "volumeattachments", "", "get", "", "attach-a", "", true),
        ("storage.k8s.io", "volumeattachments", "", "get", "", "attach-b", "", false),
        ("", "serviceaccounts", "token", "create", "ns", "sa", "", true),
        ("", "serviceaccounts", "token", "create", "ns", "other", "", false),
        ("", "serviceaccounts", "", "get", "ns", "sa", "", true),
        ("coordination.k8s.io", "leases", "", "update", "kube-node-lease", "a", "", true),
        ("coordination.k8s.io", "leases", "", "create", "kube-node-lease", "", "", true),
        ("coordination.k8s.io", "leases", "", "update", "kube-node-lease", "b", "", false),
        ("coordination.k8s.io", "leases", "", "update", "kube-system", "a", "", false),
        ("", "nodes", "", "get", "", "a", "", true),
        ("", "nodes", "", "get", "", "b", "", false),
        ("", "nodes", "", "list", "", "", "metadata.name=a", true),
        ("", "nodes", "", "list", "", "", "", false),
        ("", "nodes", "", "create", "", "", "", true),
        ("", "nodes", "status", "patch", "", "a", "", true),
        ("", "nodes", "status", "patch", "", "b", "", false),
        ("", "nodes", "", "delete", "", "a", "", false),
        ("", "pods", "", "list", "", "", "spec.nodeName=a", true),
        ("", "pods", "", "list", "", "", "spec.nodeName=b", false),
        ("", "pods", "", "watch", "", "", "", false),
        ("", "pods", "", "get", "ns", "pod-a", "", true),
        ("", "pods", "", "get", "ns", "pod-b", "", false),
        ("", "pods", "status", "patch", "ns", "pod-a", "", true),
        ("", "pods", "status", "patch", "ns", "pod-b", "", true),
        ("", "pods", "status", "patch", "ns", "gone", "", true),
        ("", "pods", "", "delete", "ns", "pod-a", "", true),
        ("", "services", "", "list", "", "", "", true),
        ("", "events", "", "create", "ns", "", "", true),
        ("node.k8s.io", "runtimeclasses", "", "watch", "", "", "", true),
        ("authentication.k8s.io", "tokenreviews", "", "create", "", "", "", true),
        ("apps", "deployments", "", "get", "ns", "x", "", false),
    ];
    for case in table {
        let (api_group, resource, subresource, verb, namespace, name, field_selector, allowed) = *case;
        let attributes = Attributes {
            verb,
            namespace,
            api_group,
            resource,
            subresource,
            name,
            field_selector,
            resource_request: true,
            ..Attributes::non_resource(&node, "", "")
        };
        let decision = authorizer.authorize(&attributes).await;
        assert_eq!(decision.allowed(), allowed, "{case:?} {decision:?}");
    }
}

#[tokio::test]
async fn reasons_say_what_is_missing_and_others_get_no_opinion() {
    let authorizer = cluster().await;
    let (node, other) = (UserInfo::node("a"), UserInfo::new("jane", &[]));
    let secret = |user| Attributes {
        verb: "get",
        namespace: "ns",
        resource: "secrets",
        name: "secret-b",
        resource_request: true,
        ..Attributes::non_resource(user, "", "")
    };
    assert_eq!(
        authorizer.authorize(&secret(&node)).await.reason(),
        "no relationship found between node 'a' and this object"
    );
    assert_eq!(authorizer.authorize(&secret(&other)).await, Decision::NoOpinion(String::new()));
}
