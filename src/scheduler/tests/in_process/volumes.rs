//! A pod whose claim waits for it, with the binder and a real API server.

use serde_json::json;
use testkit::eventually;

use crate::support::Cluster;

#[tokio::test]
async fn a_pod_goes_where_the_volume_for_its_claim_is() {
    let cluster = Cluster::start(&["n1", "n2"]).await;
    let server = &cluster.server;
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
