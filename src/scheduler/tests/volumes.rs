//! A pod whose claim waits for it, with the binder and a real API server.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use apiserver::authentication::UserInfo;
use client::SharedInformers;
use serde_json::json;
use testkit::{TestServer, eventually};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_pod_goes_where_the_volume_for_its_claim_is() {
    let server = TestServer::start().await;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let client = |user: &str| client::in_process(server.server.in_process(UserInfo::new(user, &[])), "test");
    let informers = SharedInformers::new(server.client());
    let controllers = controllers::Config {
        client: client("system:kube-controller-manager"),
        informers: informers.clone(),
        identity: None,
        cluster_cidrs: Vec::new(),
        service_cidrs: Vec::new(),
        pki: None,
        root_ca_pem: "x".to_owned(),
        storage_version_migrator: false,
    };
    tokio::spawn(controllers::run(controllers, stop.clone()));
    let scheduler = scheduler::Config {
        client: client("system:kube-scheduler"),
        informers,
        identity: "test".to_owned(),
        leader_elect: false,
    };
    tokio::spawn(scheduler::run(scheduler, stop));

    for name in ["n1", "n2"] {
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        server.post("/api/v1/nodes", &node).await.expect(201);
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "",
                "lastHeartbeatTime": now, "lastTransitionTime": now}]}});
        server.patch("strategic-merge", &format!("/api/v1/nodes/{name}/status"), &status).await.expect(200);
    }
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local"},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
    server.post("/apis/storage.k8s.io/v1/storageclasses", &class).await.expect(201);
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {
        "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
        "local": {"path": "/data"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}}}});
    server.post("/api/v1/persistentvolumes", &volume).await.expect(201);
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
        "resources": {"requests": {"storage": "1Gi"}}}});
    server.post(claims, &claim).await.expect(201);
    eventually("the default service account", || async {
        let account = server.get("/api/v1/namespaces/default/serviceaccounts/default").await;
        (account.code == 200).then_some(())
    })
    .await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "nginx"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    let pods = "/api/v1/namespaces/default/pods";
    server.post(pods, &pod).await.expect(201);
    let node = eventually("the pod has a node", || async {
        let pod = server.get(&format!("{pods}/p")).await.json();
        pod["spec"]["nodeName"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(node, "n2");
    let bound = server.get(&format!("{claims}/c")).await.expect(200);
    assert_eq!((&bound["status"]["phase"], &bound["spec"]["volumeName"]), (&json!("Bound"), &json!("v")));
}
