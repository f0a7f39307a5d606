//! Endpoints and EndpointSlices.

use serde_json::{Value, json};

use crate::cluster::{Cluster, template};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dweb";

fn service(selector: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

async fn ready_addresses(cluster: &Cluster) -> Vec<String> {
    let mut found: Vec<String> = cluster
        .list(SLICES)
        .await
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .map(|endpoint| endpoint["addresses"][0].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn slices_and_endpoints_follow_the_pods_of_a_service() {
    let cluster = Cluster::start().await;
    cluster.create("/api/v1/namespaces/default/services", service(json!({"app": "web"}))).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "nginx")},
    });
    cluster.create("/apis/apps/v1/namespaces/default/deployments", deployment).await;
    let addresses = cluster
        .eventually("three endpoints", || async {
            Some(ready_addresses(&cluster).await).filter(|all| all.len() == 3)
        })
        .await;
    let slice = cluster.list(SLICES).await.remove(0);
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(slice["addressType"], "IPv4");
    assert_eq!(slice["endpoints"][0]["nodeName"], "n1");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    let endpoints = cluster
        .eventually("endpoints", || async {
            let endpoints = cluster.get("/api/v1/namespaces/default/endpoints/web").await?;
            (endpoints["subsets"][0]["addresses"].as_array()?.len() == 3).then_some(endpoints)
        })
        .await;
    let mut mirrored: Vec<&str> = endpoints["subsets"][0]["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|address| address["ip"].as_str().unwrap())
        .collect();
    mirrored.sort_unstable();
    assert_eq!(mirrored, addresses);
    let scale = json!({"spec": {"replicas": 1}});
    cluster.patch("/apis/apps/v1/namespaces/default/deployments/web", scale).await;
    cluster
        .eventually("one endpoint", || async { (ready_addresses(&cluster).await.len() == 1).then_some(()) })
        .await;
    assert_eq!(cluster.list(SLICES).await.len(), 1);
    cluster.delete("/api/v1/namespaces/default/services/web", Value::Null).await;
    cluster
        .eventually("nothing is left", || async {
            let endpoints = cluster.get("/api/v1/namespaces/default/endpoints/web").await;
            (endpoints.is_none() && cluster.list(SLICES).await.is_empty()).then_some(())
        })
        .await;
}

#[tokio::test]
async fn endpoints_written_by_hand_are_mirrored() {
    let cluster = Cluster::start().await;
    cluster.create("/api/v1/namespaces/default/services", service(Value::Null)).await;
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"},
        "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"name": "http", "port": 8443}]}],
    });
    cluster.create("/api/v1/namespaces/default/endpoints", endpoints).await;
    cluster
        .eventually("a mirrored slice", || async {
            (ready_addresses(&cluster).await == ["192.0.2.7"]).then_some(())
        })
        .await;
    let change =
        json!({"subsets": [{"addresses": [{"ip": "192.0.2.8"}], "ports": [{"name": "http", "port": 8443}]}]});
    cluster.patch("/api/v1/namespaces/default/endpoints/web", change).await;
    cluster
        .eventually("the slice follows", || async {
            (ready_addresses(&cluster).await == ["192.0.2.8"]).then_some(())
        })
        .await;
    assert_eq!(cluster.list(SLICES).await.len(), 1);
}
