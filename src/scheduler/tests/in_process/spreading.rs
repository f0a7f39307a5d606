//! Pods of one workload on several nodes, without constraints of their own.

use crate::support::Cluster;
use serde_json::json;
use std::collections::BTreeSet;
use testkit::eventually;

#[tokio::test]
async fn replicas_land_on_different_nodes_even_when_one_has_more_free() {
    let cluster = Cluster::start(&["n1", "n2"]).await;
    let server = &cluster.server;
    cluster.node("roomy", "16").await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": "i",
                "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}}]}}}});
    server.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await.expect(201);
    let nodes = eventually("all replicas have a node", || async {
        let pods = server.get("/api/v1/namespaces/default/pods").await.json();
        let nodes =
            pods["items"].as_array()?.iter().map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned));
        nodes.collect::<Option<Vec<_>>>().filter(|nodes| nodes.len() == 3)
    })
    .await;
    let different: BTreeSet<_> = nodes.iter().map(String::as_str).collect();
    assert_eq!(different, BTreeSet::from(["n1", "n2", "roomy"]));
}
