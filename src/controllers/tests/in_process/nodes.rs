//! Nodes: addresses, taints, and pods of nodes that are gone.

use serde_json::{Value, json};

use crate::cluster::{Cluster, template};

#[tokio::test]
async fn nodes_get_ranges_of_their_own() {
    let cluster = Cluster::start().await;
    cluster.add_node("n2").await;
    let range = async |name: &str| {
        cluster
            .eventually("a pod range", || async {
                let node = cluster.get(&format!("/api/v1/nodes/{name}")).await?;
                node["spec"]["podCIDR"].as_str().map(str::to_owned)
            })
            .await
    };
    let ranges = [range("n1").await, range("n2").await];
    assert_eq!(ranges, ["10.1.0.0/24", "10.1.1.0/24"]);
}

#[tokio::test]
async fn taints_follow_readiness_and_cordoning() {
    let cluster = Cluster::start().await;
    cluster.add_node("n2").await;
    let taints = async |wanted: &[&str]| {
        cluster
            .eventually(&format!("taints {wanted:?}"), || async {
                let node = cluster.get("/api/v1/nodes/n2").await?;
                let mut found: Vec<String> = node["spec"]["taints"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|taint| {
                        format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap())
                    })
                    .collect();
                found.sort();
                (found == wanted).then_some(())
            })
            .await;
    };
    taints(&[]).await;
    cluster.set_ready("n2", "False").await;
    taints(&["node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/not-ready:NoSchedule"]).await;
    cluster.set_ready("n2", "True").await;
    taints(&[]).await;
    cluster.patch("/api/v1/nodes/n2", json!({"spec": {"unschedulable": true}})).await;
    taints(&["node.kubernetes.io/unschedulable:NoSchedule"]).await;
}

#[tokio::test]
async fn pods_leave_nodes_with_taints_that_they_do_not_tolerate() {
    let cluster = Cluster::start().await;
    let mut tolerant = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tolerant"}});
    tolerant["spec"] = template("x", "nginx")["spec"].clone();
    let mut plain = tolerant.clone();
    plain["metadata"]["name"] = json!("plain");
    tolerant["spec"]["tolerations"] = json!([{"key": "maintenance", "operator": "Exists"}]);
    cluster.create("/api/v1/namespaces/default/pods", tolerant).await;
    cluster.create("/api/v1/namespaces/default/pods", plain).await;
    cluster
        .eventually("both run", || async {
            let pods = cluster.list("/api/v1/namespaces/default/pods").await;
            pods.iter().all(|pod| pod["status"]["phase"] == "Running").then_some(())
        })
        .await;
    let taint = json!({"spec": {"taints": [{"key": "maintenance", "effect": "NoExecute"}]}});
    cluster.patch("/api/v1/nodes/n1", taint).await;
    cluster
        .eventually("the plain one leaves", || async {
            let pods = cluster.list("/api/v1/namespaces/default/pods").await;
            (pods.len() == 1 && pods[0]["metadata"]["name"] == "tolerant").then_some(())
        })
        .await;
}

#[tokio::test]
async fn pods_deleted_before_they_were_scheduled_go() {
    let cluster = Cluster::start().await;
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waiting"}});
    pod["spec"] = template("x", "nginx")["spec"].clone();
    // Nobody binds it: it waits for a gate.
    pod["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    cluster.create("/api/v1/namespaces/default/pods", pod).await;
    cluster.delete("/api/v1/namespaces/default/pods/waiting", Value::Null).await;
    cluster
        .eventually("it is gone", || async {
            cluster.get("/api/v1/namespaces/default/pods/waiting").await.is_none().then_some(())
        })
        .await;
}
