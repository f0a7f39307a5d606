//! Claims and volumes finding each other, and parting.

use serde_json::{Value, json};

use crate::cluster::{Cluster, template};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

fn volume(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "hostPath": {"path": "/data"},
        },
    })
}

fn claim(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

fn class(name: &str, provisioner: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": provisioner, "volumeBindingMode": mode,
    })
}

async fn phase(cluster: &Cluster, path: &str, expected: &str) -> Value {
    cluster
        .eventually(&format!("{path} is {expected}"), || async {
            let found = cluster.get(path).await?;
            (found["status"]["phase"] == expected).then_some(found)
        })
        .await
}

async fn told(cluster: &Cluster, reason: &str) -> Value {
    cluster
        .eventually(reason, || async {
            let events = cluster.list("/api/v1/namespaces/default/events").await;
            events.into_iter().find(|event| event["reason"] == reason)
        })
        .await
}

#[tokio::test]
async fn a_claim_gets_the_volume_that_comes_and_leaves_it_behind() {
    let cluster = Cluster::start().await;
    cluster.create(CLAIMS, claim("c", "")).await;
    told(&cluster, "FailedBinding").await;
    cluster.create(VOLUMES, volume("v", "")).await;
    let bound = phase(&cluster, &format!("{CLAIMS}/c"), "Bound").await;
    assert_eq!(bound["spec"]["volumeName"], "v");
    assert_eq!(bound["status"]["capacity"]["storage"], "5Gi");
    assert_eq!(bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"], "yes");
    let found = phase(&cluster, &format!("{VOLUMES}/v"), "Bound").await;
    assert_eq!(found["spec"]["claimRef"]["uid"], bound["metadata"]["uid"]);
    cluster.delete(&format!("{CLAIMS}/c"), Value::Null).await;
    phase(&cluster, &format!("{VOLUMES}/v"), "Released").await;
    // Who comes next does not find another's data.
    cluster.create(CLAIMS, claim("c", "")).await;
    phase(&cluster, &format!("{CLAIMS}/c"), "Pending").await;
    // A person says that it may be used again.
    cluster.patch(&format!("{VOLUMES}/v"), json!({"spec": {"claimRef": null}})).await;
    phase(&cluster, &format!("{CLAIMS}/c"), "Bound").await;
    cluster.delete(&format!("{VOLUMES}/v"), Value::Null).await;
    cluster.patch(&format!("{VOLUMES}/v"), json!({"metadata": {"finalizers": null}})).await;
    phase(&cluster, &format!("{CLAIMS}/c"), "Lost").await;
}

#[tokio::test]
async fn a_claim_that_waits_for_its_consumer_is_left_to_the_scheduler() {
    let cluster = Cluster::start().await;
    cluster.create(CLASSES, class("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer")).await;
    cluster.create(VOLUMES, volume("v", "local")).await;
    phase(&cluster, &format!("{VOLUMES}/v"), "Available").await;
    let made = cluster.create(CLAIMS, claim("c", "local")).await;
    told(&cluster, "WaitForFirstConsumer").await;
    assert_eq!(cluster.get(&format!("{CLAIMS}/c")).await.unwrap()["status"]["phase"], "Pending");
    // What the scheduler does.
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": "c",
        "uid": made["metadata"]["uid"],
    });
    let choice = json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
        "spec": {"claimRef": reference},
    });
    cluster.patch(&format!("{VOLUMES}/v"), choice).await;
    phase(&cluster, &format!("{CLAIMS}/c"), "Bound").await;
}

#[tokio::test]
async fn who_makes_volumes_is_asked_for_one_also_by_a_default_class_that_came_late() {
    let cluster = Cluster::start().await;
    let mut unclassed = claim("c", "");
    unclassed["spec"].as_object_mut().unwrap().remove("storageClassName");
    cluster.create(CLAIMS, unclassed).await;
    let mut late = class("disk", "example.com/disk", "Immediate");
    late["metadata"]["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    cluster.create(CLASSES, late).await;
    let asked = cluster
        .eventually("the provisioner is asked", || async {
            let found = cluster.get(&format!("{CLAIMS}/c")).await?;
            let annotations = &found["metadata"]["annotations"];
            (annotations["volume.kubernetes.io/storage-provisioner"] == "example.com/disk")
                .then_some(found.clone())
        })
        .await;
    assert_eq!(asked["spec"]["storageClassName"], "disk");
    told(&cluster, "ExternalProvisioning").await;
    // What a provisioner does.
    let mut made = volume("made", "disk");
    made["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
    made["metadata"]["annotations"] = json!({"pv.kubernetes.io/provisioned-by": "example.com/disk"});
    made["spec"]["claimRef"] = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": "c",
        "uid": asked["metadata"]["uid"],
    });
    cluster.create(VOLUMES, made).await;
    phase(&cluster, &format!("{CLAIMS}/c"), "Bound").await;
}

#[tokio::test]
async fn an_ephemeral_volume_has_a_claim_as_long_as_its_pod() {
    let cluster = Cluster::start().await;
    let mut pod = template("a", "nginx");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("web");
    pod["spec"]["volumes"] = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {
        "spec": claim("", "")["spec"]}}}]);
    cluster.create("/api/v1/namespaces/default/pods", pod).await;
    let path = format!("{CLAIMS}/web-scratch");
    let made = cluster.eventually("the claim", || cluster.get(&path)).await;
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], "web");
}
