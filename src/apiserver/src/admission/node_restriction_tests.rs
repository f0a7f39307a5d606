//! What a kubelet may write.

use super::*;
use crate::admission::Warnings;
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::cached::testing::{create, registry};
use apimachinery::gvk::{Gvk, Gvr};
use serde_json::json;

struct Ask<'a> {
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    operation: Operation,
}

async fn plugin() -> (Registry, NodeRestriction, String, Value) {
    let registry = registry().await;
    let node =
        create(&registry, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}})).await;
    let pod = create(
        &registry,
        json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": "a"}}),
    )
    .await;
    let uid = node["metadata"]["uid"].as_str().unwrap().to_owned();
    (registry.clone(), NodeRestriction::new(registry), uid, pod)
}

async fn judge(
    plugin: &NodeRestriction,
    ask: Ask<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let resource = Gvr::new(ask.group, "v1", ask.resource);
    let request = Request {
        user: &UserInfo::node("a"),
        operation: ask.operation,
        resource: &resource,
        kind: &Gvk::default(),
        subresource: ask.subresource,
        namespace: ask.namespace,
        name: ask.name,
        old,
        dry_run: false,
        options: &Value::Null,
        warnings: &Warnings::default(),
        annotations: &Annotations::default(),
        served: None,
        reinvocation: None,
    };
    plugin.admit(&request, &mut object.clone()).await.map_err(|status| status.message)
}

fn pods(subresource: &str, operation: Operation) -> Ask<'_> {
    Ask { group: "", resource: "pods", subresource, namespace: "ns", name: "p", operation }
}

#[tokio::test]
async fn only_mirror_pods_of_its_own_are_created() {
    let (_registry, plugin, uid, _) = plugin().await;
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "a", "uid": uid, "controller": true});
    let mirror = json!({
        "metadata": {"name": "p", "annotations": {MIRROR_ANNOTATION: "x"}, "ownerReferences": [owner]},
        "spec": {"nodeName": "a", "containers": [{"name": "c"}]},
    });
    let create = |object: Value| {
        let plugin = &plugin;
        async move { judge(plugin, pods("", Operation::Create), &object, None).await }
    };
    create(mirror.clone()).await.unwrap();
    let mut bad = mirror.clone();
    bad["metadata"].as_object_mut().unwrap().remove("annotations");
    assert!(create(bad).await.unwrap_err().contains("can only create mirror pods"));
    for (pointer, value) in [
        ("/spec/nodeName", json!("b")),
        ("/metadata/ownerReferences", json!([])),
        ("/metadata/ownerReferences/0/uid", json!("other")),
        ("/metadata/ownerReferences/0/controller", json!(false)),
    ] {
        let mut bad = mirror.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(create(bad).await.is_err(), "{pointer}");
    }
    for (field, value, what) in [
        ("serviceAccountName", json!("sa"), "a service account"),
        ("volumes", json!([{"name": "v", "secret": {"secretName": "s"}}]), "secrets"),
        ("volumes", json!([{"name": "v", "configMap": {"name": "s"}}]), "configmaps"),
        (
            "volumes",
            json!([{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]),
            "persistentvolumeclaims",
        ),
    ] {
        let mut bad = mirror.clone();
        bad["spec"][field] = value;
        assert!(
            create(bad).await.unwrap_err().ends_with(&format!("can not create pods that reference {what}"))
        );
    }
}

#[tokio::test]
async fn pods_of_other_nodes_are_out_of_reach() {
    let (_registry, plugin, _, own) = plugin().await;
    let other = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "b"}});
    for (subresource, operation) in [("", Operation::Delete), ("status", Operation::Update)] {
        judge(&plugin, pods(subresource, operation), &own, Some(&own)).await.unwrap();
        assert!(judge(&plugin, pods(subresource, operation), &other, Some(&other)).await.is_err());
    }
    let mut labelled = own.clone();
    meta::set_label(&mut labelled, "a", "b");
    let refused = judge(&plugin, pods("status", Operation::Update), &labelled, Some(&own)).await.unwrap_err();
    assert!(refused.contains("cannot update labels"), "{refused}");
    assert!(judge(&plugin, pods("", Operation::Update), &own, Some(&own)).await.is_err());
    assert!(judge(&plugin, pods("exec", Operation::Connect), &own, None).await.is_err());
    judge(&plugin, pods("eviction", Operation::Create), &json!({"metadata": {"name": "p"}}), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_node_is_its_own_but_for_taints_labels_and_owners() {
    let (_registry, plugin, _, _) = plugin().await;
    let ask = |name, operation| Ask {
        group: "",
        resource: "nodes",
        subresource: "",
        namespace: "",
        name,
        operation,
    };
    let node = json!({"metadata": {"name": "a", "labels": {"kubernetes.io/hostname": "a"}}, "spec": {}});
    judge(&plugin, ask("a", Operation::Create), &node, None).await.unwrap();
    let mut tainted = node.clone();
    tainted["spec"]["taints"] = json!([{"key": "x", "effect": "NoSchedule"}]);
    judge(&plugin, ask("a", Operation::Create), &tainted, None).await.unwrap();
    let refused = judge(&plugin, ask("a", Operation::Update), &tainted, Some(&node)).await.unwrap_err();
    assert!(refused.ends_with("node \"a\" is not allowed to modify taints"), "{refused}");
    let mut labelled = node.clone();
    meta::set_label(&mut labelled, "node-role.kubernetes.io/control-plane", "");
    let refused = judge(&plugin, ask("a", Operation::Update), &labelled, Some(&node)).await.unwrap_err();
    assert!(
        refused.ends_with("is not allowed to modify labels: node-role.kubernetes.io/control-plane"),
        "{refused}"
    );
    assert!(judge(&plugin, ask("a", Operation::Create), &labelled, None).await.is_err());
    let other = json!({"metadata": {"name": "b"}});
    let refused = judge(&plugin, ask("b", Operation::Update), &other, Some(&other)).await.unwrap_err();
    assert!(refused.ends_with("node \"a\" is not allowed to modify node \"b\""), "{refused}");
}

#[tokio::test]
async fn tokens_are_for_its_own_pods() {
    let (registry, plugin, _, pod) = plugin().await;
    let ask = || Ask {
        group: "",
        resource: "serviceaccounts",
        subresource: "token",
        namespace: "ns",
        name: "sa",
        operation: Operation::Create,
    };
    let request = |pod: &Value| {
        json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod",
            "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}})
    };
    judge(&plugin, ask(), &request(&pod), None).await.unwrap();
    let refused = judge(&plugin, ask(), &json!({"spec": {}}), None).await.unwrap_err();
    assert!(refused.ends_with("node requested token not bound to a pod"), "{refused}");
    let foreign = create(
        &registry,
        json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "q", "namespace": "ns"}, "spec": {"nodeName": "b"}}),
    )
    .await;
    let refused = judge(&plugin, ask(), &request(&foreign), None).await.unwrap_err();
    assert!(refused.contains("different node"), "{refused}");
}

#[tokio::test]
async fn leases_and_the_like_have_its_name() {
    let (_registry, plugin, _, _) = plugin().await;
    let lease = |namespace, name| Ask {
        group: "coordination.k8s.io",
        resource: "leases",
        subresource: "",
        namespace,
        name,
        operation: Operation::Create,
    };
    judge(&plugin, lease("kube-node-lease", ""), &json!({"metadata": {"name": "a"}}), None).await.unwrap();
    assert!(
        judge(&plugin, lease("kube-node-lease", ""), &json!({"metadata": {"name": "b"}}), None)
            .await
            .is_err()
    );
    assert!(judge(&plugin, lease("ns", ""), &json!({"metadata": {"name": "a"}}), None).await.is_err());
}
