//! Patches of all kinds, and server-side apply.

use serde_json::{Value, json};
use testkit::TestServer;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn deployment(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_defaulted_and_patched_in_every_way() {
    let server = TestServer::start().await;
    let created = server.post(DEPLOYMENTS, &deployment("nginx")).await.expect(201);
    assert_eq!(created["spec"]["strategy"]["type"], "RollingUpdate");
    assert_eq!(created["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(created["metadata"]["generation"], 1);
    let web = format!("{DEPLOYMENTS}/web");

    let strategic =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}});
    let patched = server.patch("strategic-merge", &web, &strategic).await.expect(200);
    assert_eq!(patched["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 2);
    assert_eq!(patched["metadata"]["generation"], 2);

    let merge = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = server.patch("merge", &web, &merge).await.expect(200);
    assert_eq!(patched["metadata"]["labels"]["a"], "b");
    assert_eq!(patched["metadata"]["generation"], 2, "labels are no desired state");

    let ops = json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]);
    assert_eq!(server.patch("json", &web, &ops).await.expect(200)["spec"]["replicas"], 5);
    let test = json!([{"op": "test", "path": "/spec/replicas", "value": 4}]);
    assert_eq!(server.patch("json", &web, &test).await.code, 422);
    let stale = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 1}});
    assert_eq!(server.patch("merge", &web, &stale).await.code, 409);
    let media = [("content-type", "application/json")];
    assert_eq!(server.request("PATCH", &web, &media, &merge).await.code, 415);
    let strict = format!("{web}?fieldValidation=Strict");
    let unknown = server.patch("merge", &strict, &json!({"spec": {"foo": 1}})).await;
    unknown.expect(422);
    assert!(
        unknown.message().contains("strict decoding error: unknown field \"spec.foo\""),
        "{}",
        unknown.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_scales() {
    let server = TestServer::start().await;
    server.post(DEPLOYMENTS, &deployment("nginx")).await.expect(201);
    let uri = format!("{DEPLOYMENTS}/web/scale");
    let mut scale = server.get(&uri).await.expect(200);
    assert_eq!((scale["kind"].as_str(), scale["spec"]["replicas"].as_i64()), (Some("Scale"), Some(2)));
    assert_eq!(scale["status"]["selector"], "app=web");
    scale["spec"]["replicas"] = json!(4);
    assert_eq!(server.put(&uri, &scale).await.expect(200)["spec"]["replicas"], 4);
    assert_eq!(server.put(&uri, &scale).await.code, 409, "the scale is as old as its object");
    let patched = server.patch("merge", &uri, &json!({"spec": {"replicas": 1}})).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 1);
    let negative = server.patch("merge", &uri, &json!({"spec": {"replicas": -1}})).await;
    negative.expect(422);
    assert_eq!(server.get(&format!("{DEPLOYMENTS}/web")).await.expect(200)["spec"]["replicas"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_conflict_until_one_forces() {
    let server = TestServer::start().await;
    let config = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}});
    let uri = |manager: &str| format!("{MAPS}/a?fieldManager={manager}");
    let created = server.patch("apply", &uri("one"), &config("1")).await.expect(201);
    assert_eq!(created["metadata"]["managedFields"][0]["manager"], "one");
    assert_eq!(created["metadata"]["managedFields"][0]["operation"], "Apply");
    let again = server.patch("apply", &uri("one"), &config("1")).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let conflict = server.patch("apply", &uri("two"), &config("2")).await;
    let status = conflict.expect(409);
    assert!(conflict.message().contains("conflict with \"one\""), "{}", conflict.message());
    assert_eq!(status["details"]["causes"][0]["field"], ".data.k");
    let forced = server.patch("apply", &format!("{}&force=true", uri("two")), &config("2")).await.expect(200);
    assert_eq!(forced["data"]["k"], "2");
    server.patch("apply", &format!("{MAPS}/a"), &config("2")).await.expect(422);
    server.patch("merge", &format!("{MAPS}/a?force=true"), &config("2")).await.expect(422);
    let unknown = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "foo": 1});
    server.patch("apply", &uri("two"), &unknown).await.expect(400);
    let removed = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let without = server.patch("apply", &uri("two"), &removed).await.expect(200);
    assert!(without.get("data").is_none(), "{without}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_all_count() {
    let server = TestServer::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let uri = format!("{MAPS}/a");
    let patches = (0..4).map(|n| {
        let (server, uri) = (&server, &uri);
        async move { server.patch("merge", uri, &json!({"data": {format!("k{n}"): "v"}})).await.expect(200) }
    });
    futures::future::join_all(patches).await;
    assert_eq!(server.get(&uri).await.expect(200)["data"].as_object().unwrap().len(), 4);
}
