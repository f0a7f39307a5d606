//! What nodes that join rely on, and the addresses of Services.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::cluster::Cluster;

const INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn token(id: &str, expiration: &str) -> Value {
    let data = [
        ("token-id", id),
        ("token-secret", "0123456789abcdef"),
        ("usage-bootstrap-signing", "true"),
        ("expiration", expiration),
    ];
    let data: serde_json::Map<String, Value> =
        data.into_iter().map(|(key, text)| (key.to_owned(), json!(STANDARD.encode(text)))).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{id}")}, "data": data,
    })
}

#[tokio::test]
async fn tokens_sign_the_cluster_information_until_they_expire() {
    let cluster = Cluster::start().await;
    let info = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-info"},
        "data": {"kubeconfig": "hello"},
    });
    cluster.create("/api/v1/namespaces/kube-public/configmaps", info).await;
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    cluster.create(secrets, token("abcdef", "2999-01-01T00:00:00Z")).await;
    cluster
        .eventually("the token has signed", || async {
            cluster.get(INFO).await?["data"]["jws-kubeconfig-abcdef"].as_str().map(str::to_owned)
        })
        .await;
    cluster.create(secrets, token("zzzzzz", "2020-01-01T00:00:00Z")).await;
    cluster
        .eventually("the expired token is gone", || async {
            let found = cluster.get(&format!("{secrets}/bootstrap-token-zzzzzz")).await;
            found.is_none().then_some(())
        })
        .await;
    cluster.delete(&format!("{secrets}/bootstrap-token-abcdef"), Value::Null).await;
    cluster
        .eventually("its signature is gone", || async {
            (cluster.get(INFO).await?["data"] == json!({"kubeconfig": "hello"})).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_service_network_is_ready_and_stays_as_long_as_its_addresses() {
    let cluster = Cluster::start().await;
    let ready = |name: &'static str| {
        let cluster = &cluster;
        async move {
            let found = cluster.get(&format!("{CIDRS}/{name}")).await?;
            let condition = found["status"]["conditions"].as_array()?.first()?.clone();
            assert_eq!(found["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
            Some(condition)
        }
    };
    let condition = cluster.eventually("the default network is ready", || ready("kubernetes")).await;
    assert_eq!(condition["message"], "Kubernetes Service CIDR is ready");
    let more = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
        "spec": {"cidrs": ["10.99.0.0/24"]},
    });
    cluster.create(CIDRS, more).await;
    cluster.eventually("the network is ready", || ready("more")).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "10.99.0.5", "ports": [{"port": 80}]},
    });
    cluster.create("/api/v1/namespaces/default/services", service).await;
    cluster.delete(&format!("{CIDRS}/more"), Value::Null).await;
    cluster
        .eventually("the network says what holds it", || async {
            let condition = ready("more").await?;
            (condition["status"] == "False" && condition["reason"] == "Terminating").then_some(())
        })
        .await;
}
