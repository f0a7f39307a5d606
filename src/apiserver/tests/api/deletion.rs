//! Deletion: grace, finalizers, preconditions, propagation.

use serde_json::{Value, json};
use testkit::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]}})
}

async fn with_account(server: &TestServer) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
}

async fn bind(server: &TestServer, name: &str) {
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    server.post(&format!("{PODS}/{name}/binding"), &binding).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let server = TestServer::start().await;
    let object = json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}});
    server.post(MAPS, &object).await.expect(201);
    let uri = format!("{MAPS}/a");
    let pending = server.delete(&uri, &Value::Null).await.expect(200);
    assert!(pending["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pending["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = server.delete(&uri, &Value::Null).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], pending["metadata"]["resourceVersion"]);
    let more = json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}});
    assert_eq!(server.patch("merge", &uri, &more).await.code, 422);
    server.patch("merge", &uri, &json!({"metadata": {"finalizers": null}})).await.expect(200);
    server.get(&uri).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_have_to_hold() {
    let server = TestServer::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let uri = format!("{MAPS}/a");
    let wrong = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}});
    assert_eq!(server.delete(&uri, &wrong).await.code, 409);
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(server.delete(&uri, &stale).await.code, 409);
    let object = server.get(&uri).await.expect(200);
    server.delete(&uri, &json!({"preconditions": {"uid": object["metadata"]["uid"]}})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn propagation_leaves_its_finalizer() {
    let server = TestServer::start().await;
    for (policy, finalizer, code) in [("Orphan", "orphan", 200), ("Foreground", "foregroundDeletion", 202)] {
        server.post(MAPS, &json!({"metadata": {"name": policy.to_lowercase()}})).await.expect(201);
        let uri = format!("{MAPS}/{}", policy.to_lowercase());
        let pending = server.delete(&uri, &json!({"propagationPolicy": policy})).await.expect(code);
        assert_eq!(pending["metadata"]["finalizers"], json!([finalizer]));
    }
    assert_eq!(
        server.delete(&format!("{MAPS}/x"), &json!({"propagationPolicy": "Sideways"})).await.code,
        422
    );
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    assert_eq!(server.delete(&format!("{MAPS}/x"), &both).await.code, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_waits_for_its_kubelet() {
    let server = TestServer::start().await;
    with_account(&server).await;
    server.post(PODS, &pod("nowhere")).await.expect(201);
    server.delete(&format!("{PODS}/nowhere"), &Value::Null).await.expect(200);
    server.get(&format!("{PODS}/nowhere")).await.expect(404);

    server.post(PODS, &pod("p")).await.expect(201);
    bind(&server, "p").await;
    let uri = format!("{PODS}/p");
    let pending = server.delete(&uri, &Value::Null).await.expect(200);
    assert_eq!(pending["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = server.delete(&uri, &json!({"gracePeriodSeconds": 5})).await.expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let longer = server.delete(&uri, &json!({"gracePeriodSeconds": 60})).await.expect(200);
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 5);
    let gone = server.delete(&uri, &json!({"gracePeriodSeconds": 0})).await.expect(200);
    assert_eq!(gone["kind"], "Pod");
    server.get(&uri).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_when_its_finalizer_does() {
    let server = TestServer::start().await;
    let created = server.post("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await.expect(201);
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(created["status"]["phase"], "Active");
    let pending = server.delete("/api/v1/namespaces/n", &Value::Null).await.expect(200);
    assert_eq!(pending["status"]["phase"], "Terminating");
    let refused = server.post("/api/v1/namespaces/n/configmaps", &json!({"metadata": {"name": "a"}})).await;
    refused.expect(403);
    let mut finalized = pending.clone();
    finalized["spec"] = json!({});
    server.put("/api/v1/namespaces/n/finalize", &finalized).await.expect(200);
    server.get("/api/v1/namespaces/n").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once_and_evicted_within_its_budget() {
    let server = TestServer::start().await;
    with_account(&server).await;
    let mut labelled = pod("p");
    labelled["metadata"]["labels"] = json!({"app": "x"});
    server.post(PODS, &labelled).await.expect(201);
    bind(&server, "p").await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n2"}});
    assert_eq!(server.post(&format!("{PODS}/p/binding"), &binding).await.code, 409);
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    server.patch("strategic-merge", &format!("{PODS}/p/status"), &ready).await.expect(200);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}});
    server.post(budgets, &budget).await.expect(201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let refused = server.post(&format!("{PODS}/p/eviction"), &eviction).await;
    refused.expect(429);
    assert_eq!(refused.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    let allowed = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2}});
    server.patch("merge", &format!("{budgets}/b/status"), &allowed).await.expect(200);
    server.post(&format!("{PODS}/p/eviction"), &eviction).await.expect(201);
    let evicted = server.get(&format!("{PODS}/p")).await.expect(200);
    assert!(evicted["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(server.get(&format!("{budgets}/b")).await.expect(200)["status"]["disruptionsAllowed"], 0);
}
