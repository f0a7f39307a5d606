//! Creating, reading, updating and deleting objects.

use serde_json::{Value, json};
use testkit::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_from_create_to_delete() {
    let server = TestServer::start().await;
    let created = server.post(MAPS, &config_map("a", &json!({"k": "v"}))).await.expect(201);
    assert_eq!(created["metadata"]["namespace"], "default");
    assert!(created["metadata"]["uid"].is_string());
    assert!(created["metadata"]["creationTimestamp"].is_string());
    assert!(created["metadata"]["managedFields"].is_array());
    let got = server.get(&format!("{MAPS}/a")).await.expect(200);
    assert_eq!(got, created);

    let mut changed = got.clone();
    changed["data"]["k"] = json!("w");
    let updated = server.put(&format!("{MAPS}/a"), &changed).await.expect(200);
    assert_eq!(updated["data"]["k"], "w");
    assert_ne!(updated["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);

    let deleted = server.delete(&format!("{MAPS}/a"), &Value::Null).await.expect(200);
    assert_eq!(deleted["kind"], "Status");
    assert_eq!(deleted["status"], "Success");
    assert_eq!(deleted["details"]["name"], "a");
    let gone = server.get(&format!("{MAPS}/a")).await;
    gone.expect(404);
    assert_eq!(gone.message(), "configmaps \"a\" not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_update_conflicts_and_an_unconditional_one_wins() {
    let server = TestServer::start().await;
    let first = server.post(MAPS, &config_map("a", &json!({"n": "1"}))).await.expect(201);
    let mut second = first.clone();
    second["data"]["n"] = json!("2");
    server.put(&format!("{MAPS}/a"), &second).await.expect(200);
    let stale = server.put(&format!("{MAPS}/a"), &second).await;
    stale.expect(409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let unconditional = server.put(&format!("{MAPS}/a"), &config_map("a", &json!({"n": "3"}))).await;
    assert_eq!(unconditional.expect(200)["data"]["n"], "3");
    let mut wrong_uid = config_map("a", &json!({}));
    wrong_uid["metadata"]["uid"] = json!("other");
    server.put(&format!("{MAPS}/a"), &wrong_uid).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_changes_nothing_writes_nothing() {
    let server = TestServer::start().await;
    let created = server.post(MAPS, &config_map("a", &json!({"n": "1"}))).await.expect(201);
    let same = server.put(&format!("{MAPS}/a"), &created).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let patched = server.patch("merge", &format!("{MAPS}/a"), &json!({"data": {"n": "1"}})).await.expect(200);
    assert_eq!(patched["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_to_say_which_revision_it_replaces() {
    let server = TestServer::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "me"}});
    server.post(leases, &lease).await.expect(201);
    let refused = server.put(&format!("{leases}/l"), &lease).await;
    refused.expect(422);
    assert!(
        refused
            .message()
            .contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_generated_and_taken_names_refused() {
    let server = TestServer::start().await;
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "web-"}});
    let created = server.post(MAPS, &generated).await.expect(201);
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    server.post(MAPS, &config_map("a", &json!({}))).await.expect(201);
    let taken = server.post(MAPS, &config_map("a", &json!({}))).await;
    taken.expect(409);
    assert_eq!(taken.message(), "configmaps \"a\" already exists");
    assert_eq!(taken.json()["reason"], "AlreadyExists");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_keeps_nothing() {
    let server = TestServer::start().await;
    let dry = server.post(&format!("{MAPS}?dryRun=All"), &config_map("a", &json!({}))).await.expect(201);
    assert!(dry["metadata"]["uid"].is_string());
    server.get(&format!("{MAPS}/a")).await.expect(404);
    let real = server.post(MAPS, &config_map("a", &json!({}))).await.expect(201);
    server.post(&format!("{MAPS}?dryRun=All"), &config_map("a", &json!({}))).await.expect(409);
    let patch = json!({"data": {"x": "y"}});
    let patched = server.patch("merge", &format!("{MAPS}/a?dryRun=All"), &patch).await.expect(200);
    assert_eq!(patched["data"]["x"], "y");
    server.delete(&format!("{MAPS}/a?dryRun=All"), &Value::Null).await.expect(200);
    assert_eq!(server.get(&format!("{MAPS}/a")).await.expect(200), real);
    server.post(&format!("{MAPS}?dryRun=Some"), &config_map("b", &json!({}))).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_duplicate_fields_are_refused_told_or_dropped() {
    let server = TestServer::start().await;
    let body =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1","x":"2"},"foo":1}"#;
    let send = async |uri: &str| {
        let user = Some(apiserver::authentication::UserInfo::admin());
        server.request_as(user, "POST", uri, &[], body).await
    };
    let strict = send(&format!("{MAPS}?fieldValidation=Strict")).await;
    strict.expect(400);
    assert_eq!(
        strict.message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"data.x\", unknown field \"foo\""
    );
    let warned = send(&format!("{MAPS}?dryRun=All")).await;
    let created = warned.expect(201);
    assert!(created.get("foo").is_none());
    assert_eq!(
        warned.warnings(),
        ["299 - \"duplicate field \\\"data.x\\\"\"", "299 - \"unknown field \\\"foo\\\"\""]
    );
    assert!(send(&format!("{MAPS}?fieldValidation=Ignore")).await.warnings().is_empty());
    assert_eq!(send(&format!("{MAPS}?fieldValidation=Perhaps")).await.code, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_something_else_are_refused() {
    let server = TestServer::start().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    assert_eq!(server.post(MAPS, &pod).await.code, 400);
    let other_namespace = json!({"metadata": {"name": "a", "namespace": "other"}});
    let refused = server.post(MAPS, &other_namespace).await;
    refused.expect(400);
    assert!(refused.message().contains("does not match the namespace sent on the request"));
    let wrong_type = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": 5});
    assert_eq!(server.post(MAPS, &wrong_type).await.code, 400);
    assert_eq!(server.post(MAPS, &json!([])).await.code, 400);
    let yaml = server
        .request_as(
            Some(apiserver::authentication::UserInfo::admin()),
            "POST",
            MAPS,
            &[("content-type", "application/yaml"), ("accept", "application/yaml")],
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-yaml\ndata:\n  a: b\n",
        )
        .await;
    assert_eq!(yaml.code, 201, "{}", yaml.text());
    assert!(yaml.text().contains("name: from-yaml"), "{}", yaml.text());
    assert_eq!(server.request("POST", MAPS, &[("content-type", "text/plain")], &pod).await.code, 415);
    assert_eq!(server.request("GET", MAPS, &[("accept", "text/plain")], &Value::Null).await.code, 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_refused() {
    let server = TestServer::start().await;
    let big = config_map("a", &json!({"k": "x".repeat(4 << 20)}));
    let refused = server.post(MAPS, &big).await;
    refused.expect(413);
    assert_eq!(refused.json()["reason"], "RequestEntityTooLarge");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_objects_are_told_field_by_field() {
    let server = TestServer::start().await;
    let refused = server.post(MAPS, &config_map("Bad_Name", &json!({"no spaces": "x"}))).await;
    let status = refused.expect(422);
    assert_eq!(status["reason"], "Invalid");
    assert_eq!(status["details"]["kind"], "ConfigMap");
    let causes = status["details"]["causes"].as_array().unwrap();
    assert!(causes.iter().any(|c| c["field"] == "metadata.name" && c["reason"] == "FieldValueInvalid"));
    let nameless = server.post(MAPS, &json!({"metadata": {}})).await;
    assert!(nameless.message().contains("metadata.name: Required value: name or generateName is required"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_kubernetes_words() {
    let server = TestServer::start().await;
    let unknown = server.get("/apis/nope/v1/things").await;
    unknown.expect(404);
    assert_eq!(unknown.message(), "the server could not find the requested resource");
    server.get("/nope").await.expect(404);
    server.request("PUT", MAPS, &[], &json!({})).await.expect(405);
    let user = apiserver::authentication::UserInfo::new("jane", &[]);
    let forbidden = server.request_as(Some(user), "GET", "/api/v1/namespaces/default/pods", &[], "").await;
    let status = forbidden.expect(403);
    assert_eq!(
        status["message"],
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let anonymous = server.request_as(None, "GET", "/readyz", &[], "").await;
    assert_eq!((anonymous.code, anonymous.text().as_str()), (200, "ok"));
    server.request_as(None, "GET", MAPS, &[], "").await.expect(403);
    let bad = server.request_as(None, "GET", MAPS, &[("authorization", "Bearer nonsense")], "").await;
    bad.expect(401);
    assert_eq!(bad.message(), "Unauthorized");
    assert!(bad.headers.contains_key("audit-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_spec_are_written_apart() {
    let server = TestServer::start().await;
    let uri = "/api/v1/namespaces/default/services";
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"a": "b"}}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}}});
    let created = server.post(uri, &service).await.expect(201);
    assert!(created["status"]["loadBalancer"].get("ingress").is_none());
    let mut both = created.clone();
    both["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}});
    both["spec"]["selector"] = json!({"a": "c"});
    let updated = server.put(&format!("{uri}/s/status"), &both).await.expect(200);
    assert_eq!(updated["status"]["loadBalancer"]["ingress"][0]["ip"], "1.2.3.4");
    assert_eq!(updated["spec"]["selector"]["a"], "b");
    both["metadata"]["resourceVersion"] = Value::Null;
    both["status"] = json!({});
    let updated = server.put(&format!("{uri}/s"), &both).await.expect(200);
    assert_eq!(updated["status"]["loadBalancer"]["ingress"][0]["ip"], "1.2.3.4");
    assert_eq!(updated["spec"]["selector"]["a"], "c");
}
