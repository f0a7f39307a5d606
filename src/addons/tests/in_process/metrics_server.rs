//! What kubelets count becomes what `kubectl top` shows.

use crate::wire::get;
use addons::http::{self, Ready};
use addons::metrics_server::{self, Config, Kubelets};
use async_trait::async_trait;
use client::{Rest, mtls};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use pki::{Component, LeafRequest};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use testkit::{TestServer, eventually};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Kubelets where each answer is a second later, in which half a core was used.
#[derive(Default)]
struct Played {
    seconds: AtomicI64,
}

#[async_trait]
impl Kubelets for Played {
    async fn ask(&self, node: &Node) -> Result<String, String> {
        if node.metadata.name.as_deref() == Some("broken") {
            return Err("no".to_owned());
        }
        let second = self.seconds.fetch_add(1, Ordering::Relaxed);
        let (cpu, at) = (second as f64 / 2.0, 1_700_000_000_000 + second * 1000);
        Ok(format!(
            "node_cpu_usage_seconds_total {cpu} {at}\nnode_memory_working_set_bytes 2048 {at}\n\
             container_cpu_usage_seconds_total{{container=\"c\",namespace=\"default\",pod=\"p\"}} {cpu} {at}\n\
             container_memory_working_set_bytes{{container=\"c\",namespace=\"default\",pod=\"p\"}} 4096 {at}\n"
        ))
    }
}

async fn served() -> (TestServer, SocketAddr, DropGuard) {
    let server = TestServer::start().await;
    for name in ["n", "broken"] {
        let node =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"disk": name}}});
        assert_eq!(server.post("/api/v1/nodes", &node).await.code, 201);
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "x"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(
        server
            .post(
                "/api/v1/namespaces/default/serviceaccounts",
                &json!({"apiVersion": "v1",
        "kind": "ServiceAccount", "metadata": {"name": "default"}})
            )
            .await
            .code,
        201
    );
    let made = server.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let stop = CancellationToken::new();
    let ready = Ready::default();
    let config = Config {
        informers: server.informers(),
        kubelets: Arc::new(Played::default()),
        period: Duration::from_millis(30),
        ready: ready.clone(),
    };
    let metrics = metrics_server::start(config, stop.clone()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve(listener, None, metrics, stop.clone()));
    eventually("it is ready", || async { ready.get().then_some(()) }).await;
    (server, address, stop.drop_guard())
}

#[tokio::test]
async fn nodes_and_pods_are_told_with_what_they_use() {
    let (server, address, _stop) = served().await;
    let base = "/apis/metrics.k8s.io/v1beta1";
    let node = get(address, &format!("{base}/nodes/n")).await;
    assert_eq!(node.code, 200);
    assert_eq!(node.json()["usage"], json!({"cpu": "500000000n", "memory": "2Ki"}));
    // One that does not answer hinders no other.
    let nodes = get(address, &format!("{base}/nodes")).await.json();
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);
    assert_eq!(nodes["items"][0]["metadata"]["labels"]["disk"], "n");
    assert_eq!(get(address, &format!("{base}/nodes/broken")).await.code, 404);
    let pod = get(address, &format!("{base}/namespaces/default/pods/p")).await.json();
    assert_eq!(pod["containers"], json!([{"name": "c", "usage": {"cpu": "500000000n", "memory": "4Ki"}}]));
    for (selector, count) in [("app%3Dx", 1), ("app%3Dy", 0)] {
        let pods =
            get(address, &format!("{base}/namespaces/default/pods?labelSelector={selector}")).await.json();
        assert_eq!(pods["kind"], "PodMetricsList");
        assert_eq!(pods["items"].as_array().unwrap().len(), count, "{selector}");
    }
    assert_eq!(get(address, &format!("{base}/pods?labelSelector=%21%21")).await.code, 400);
    assert_eq!(get(address, base).await.json()["kind"], "APIResourceList");
    assert_eq!(get(address, "/secrets").await.code, 404);
    // Those that come and go later are known, too.
    let path = "/api/v1/namespaces/default/pods/p";
    assert_eq!(server.delete(path, &json!({"gracePeriodSeconds": 0})).await.code, 200);
    eventually("the pod is gone", || async {
        (get(address, &format!("{base}/namespaces/default/pods/p")).await.code == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_front_proxy_gets_in() {
    let (server, _, _stop) = served().await;
    let informers = server.informers();
    let (authority, _changed) = metrics_server::watch_front_proxy(&informers).await.unwrap();
    let tls = metrics_server::front_proxy(&authority, "localhost").unwrap();
    let metrics = metrics_server::start(
        Config {
            informers,
            kubelets: Arc::new(Played::default()),
            period: Duration::from_secs(1),
            ready: Ready::default(),
        },
        CancellationToken::new(),
    )
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(http::serve(listener, Some(tls.acceptor), metrics, CancellationToken::new()));
    let ask = async |component| {
        let leaf = server.pki.leaf(&LeafRequest::client(component, "test"), Timestamp::now()).unwrap();
        let (chain, key) = (leaf.certificate_pem.clone(), leaf.key_pem.clone());
        let client =
            mtls(&url, tls.certificate_pem.as_bytes(), chain.as_bytes(), key.as_bytes(), "test").unwrap();
        Rest::new(client).raw(::http::Method::GET, "/apis/metrics.k8s.io/v1beta1", None).await
    };
    assert!(ask(Component::FrontProxyClient).await.unwrap().contains("NodeMetrics"));
    assert!(ask(Component::Admin).await.is_err(), "a certificate of another authority");
    assert!(metrics_server::front_proxy("", "localhost").is_err());
}
