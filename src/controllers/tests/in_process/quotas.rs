//! Resource quotas: what is refused, and what comes back.

use serde_json::{Value, json};

use crate::cluster::{Cluster, template};

const QUOTA: &str = "/api/v1/namespaces/default/resourcequotas/q";

async fn used(cluster: &Cluster, expected: &Value) {
    cluster
        .eventually(&format!("used becomes {expected}"), || async {
            let quota = cluster.get(QUOTA).await?;
            (quota["status"]["used"] == *expected).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_quota_counts_what_is_there_and_gives_back_what_goes() {
    let cluster = Cluster::start().await;
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    cluster.create("/api/v1/namespaces/default/secrets", secret("before")).await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "1", "count/secrets": "2", "count/widgets.example.com": "5"}},
    });
    cluster.create("/api/v1/namespaces/default/resourcequotas", quota).await;
    used(&cluster, &json!({"pods": "0", "count/secrets": "1"})).await;

    let mut pod = template("a", "nginx");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    for (name, code) in [("one", 201), ("two", 403)] {
        pod["metadata"]["name"] = json!(name);
        let answer = cluster.server.post("/api/v1/namespaces/default/pods", &pod).await;
        assert_eq!(answer.code, code, "{}", answer.json());
    }
    cluster.create("/api/v1/namespaces/default/secrets", secret("second")).await;
    let answer = cluster.server.post("/api/v1/namespaces/default/secrets", &secret("third")).await;
    assert_eq!(
        answer.message(),
        "secrets \"third\" is forbidden: exceeded quota: q, requested: count/secrets=1, used: count/secrets=2, \
         limited: count/secrets=2"
    );
    used(&cluster, &json!({"pods": "1", "count/secrets": "2"})).await;

    cluster.delete("/api/v1/namespaces/default/pods/one", json!({"gracePeriodSeconds": 0})).await;
    cluster.delete("/api/v1/namespaces/default/secrets/before", Value::Null).await;
    used(&cluster, &json!({"pods": "0", "count/secrets": "1"})).await;
    cluster.create("/api/v1/namespaces/default/pods", pod).await;
}

#[tokio::test]
async fn a_pod_that_ends_makes_room_and_so_does_a_higher_limit() {
    let cluster = Cluster::start().await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}},
    });
    cluster.create("/api/v1/namespaces/default/resourcequotas", quota).await;
    used(&cluster, &json!({"pods": "0"})).await;
    let mut pod = template("a", "nginx");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("one");
    pod["metadata"]["labels"]["end"] = json!("Succeeded");
    cluster.create("/api/v1/namespaces/default/pods", pod).await;
    cluster
        .eventually("the pod has ended", || async {
            let pod = cluster.get("/api/v1/namespaces/default/pods/one").await?;
            (pod["status"]["phase"] == "Succeeded").then_some(())
        })
        .await;
    used(&cluster, &json!({"pods": "0"})).await;
    cluster.patch(QUOTA, json!({"spec": {"hard": {"pods": "3"}}})).await;
    cluster
        .eventually("the limit is taken up", || async {
            (cluster.get(QUOTA).await?["status"]["hard"]["pods"] == "3").then_some(())
        })
        .await;
}
