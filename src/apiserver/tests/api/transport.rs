//! Real connections: TLS, HTTP/1.1 and HTTP/2, client certificates, the end.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use pki::{Component, LeafRequest};
use serde_json::json;
use testkit::TestServer;

async fn remote(server: &TestServer) -> kube::Client {
    let address = server.serve().await;
    let leaf = server.pki.leaf(&LeafRequest::client(Component::Admin, "test"), Timestamp::now()).unwrap();
    let ca = server.pki.cluster_ca().pem().as_bytes().to_vec();
    client::mtls(
        &format!("https://{address}"),
        &ca,
        leaf.certificate_pem.as_bytes(),
        leaf.key_pem.as_bytes(),
        "transport-test",
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_certificate_does_its_work_over_tls() {
    let server = TestServer::start().await;
    let client = remote(&server).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
    let created = maps.create(&PostParams::default(), &map).await.unwrap();
    let from = created.metadata.resource_version.unwrap();
    let params = PatchParams::apply("transport-test").force();
    let patch =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "w"}});
    maps.patch("a", &params, &Patch::Apply(patch)).await.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    let event = events.try_next().await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Modified(map) if map.data.as_ref().unwrap()["k"] == "w"));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert!(namespaces.list(&ListParams::default()).await.unwrap().items.len() >= 4);
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_ends_watches_and_finishes() {
    let server = TestServer::start().await;
    let client = remote(&server).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Added(_)))));
    server.stop_serving();
    while let Some(event) = events.next().await {
        if event.is_err() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_clients_see_the_same_server() {
    let server = TestServer::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
    let created = maps.create(&PostParams::default(), &map).await.unwrap();
    let manager = created.metadata.managed_fields.unwrap()[0].manager.clone();
    assert_eq!(manager.as_deref(), Some("testkit"));
    let user = apiserver::authentication::UserInfo::new("jane", &[]);
    let refused = Api::<ConfigMap>::namespaced(server.client_as(user), "default").get("a").await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_comes_over_a_web_socket() {
    let server = TestServer::start().await;
    let client = remote(&server).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    server.post(maps, &json!({"metadata": {"name": "a"}, "data": {"text": "a\nb"}})).await.expect(201);
    let open = |query: &str| {
        let request = http::Request::get(format!("{maps}?watch=1&{query}")).body(Vec::new()).unwrap();
        client.connect(request)
    };
    // What there is comes in one piece, and as a message each all the same.
    server.post(maps, &json!({"metadata": {"name": "b"}})).await.expect(201);
    let mut all = open("").await.unwrap().into_stream();
    for name in ["a", "b"] {
        let text = all.next().await.unwrap().unwrap().into_text().unwrap();
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    server.delete(&format!("{maps}/a"), &serde_json::Value::Null).await.expect(200);
    let gone = all.next().await.unwrap().unwrap();
    assert!(gone.is_text() && gone.to_text().unwrap().starts_with("{\"type\":\"DELETED\""));
    server.stop_serving();
    server.server.begin_shutdown();
    while let Some(Ok(message)) = all.next().await {
        assert!(message.is_close(), "{message:?}");
    }
}
