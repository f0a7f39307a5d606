//! Admission webhooks: real TLS servers that change and refuse what clients write.

use base64::Engine;
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use testkit::{HttpsServer, TestServer, json_response};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub(crate) const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// The requests that a webhook has seen (`AdmissionReview.request`), with their paths.
pub(crate) type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// A webhook that answers each review's request with what `decide` makes of it, besides the uid.
pub(crate) async fn webhook(decide: fn(&str, &Value) -> Value) -> (HttpsServer, Seen) {
    let seen: Seen = Arc::default();
    let kept = Arc::clone(&seen);
    let answer = move |request: Request<Bytes>| -> Response<Bytes> {
        let review: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(review["kind"], "AdmissionReview");
        let asked = review["request"].clone();
        let path = request.uri().path_and_query().unwrap().to_string();
        let mut response = decide(request.uri().path(), &asked);
        response["uid"] = asked["uid"].clone();
        kept.lock().unwrap().push((path, asked));
        json_response(
            &json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response}),
        )
    };
    let server = HttpsServer::start(&[], move |request| {
        let response = answer(request);
        async move { response }.boxed()
    })
    .await;
    (server, seen)
}

fn allow(_: &str, _: &Value) -> Value {
    json!({"allowed": true})
}

fn patch(operations: &Value) -> Value {
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"})
}

pub(crate) fn rule(operations: &[&str], group: &str, version: &str, resource: &str) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
}

/// A webhook's entry in a configuration, for creates of ConfigMaps; `more` is put over it.
pub(crate) fn hook(server: &HttpsServer, name: &str, more: &Value) -> Value {
    let mut hook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"url": server.url(&format!("/{name}")), "caBundle": server.bundle()},
        "rules": [rule(&["CREATE", "UPDATE"], "", "v1", "configmaps")],
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 7,
    });
    hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hook
}

pub(crate) async fn configure(server: &TestServer, path: &str, name: &str, hooks: &[Value]) {
    server.post(path, &json!({"metadata": {"name": name}, "webhooks": hooks})).await.expect(201);
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_says_who_does_what_and_a_refusal_reaches_the_client() {
    let server = TestServer::start().await;
    let (hooks, seen) = webhook(|_, request| {
        let refused = request["object"]["data"]["k"] == "bad";
        json!({"allowed": !refused, "warnings": ["mind the gap"],
            "status": {"message": "not that", "code": 418, "reason": "Forbidden"}})
    })
    .await;
    configure(&server, VALIDATING, "v", &[hook(&hooks, "check", &json!({}))]).await;
    let made = server.post(&format!("{MAPS}?fieldManager=me"), &map("a")).await;
    made.expect(201);
    assert_eq!(made.warnings(), ["299 - \"mind the gap\""]);
    {
        let seen = seen.lock().unwrap();
        let (path, request) = &seen[0];
        assert_eq!(path, "/check?timeout=7s");
        assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
        assert_eq!(
            request["requestResource"],
            json!({"group": "", "version": "v1", "resource": "configmaps"})
        );
        assert_eq!((&request["operation"], &request["name"]), (&json!("CREATE"), &json!("a")));
        assert_eq!(request["namespace"], "default");
        assert_eq!(request["userInfo"]["username"], "system:admin");
        assert_eq!(request["object"]["data"], json!({"k": "v"}));
        assert!(request["object"]["metadata"]["uid"].is_string());
        assert_eq!(request["oldObject"], Value::Null);
        assert_eq!(request["dryRun"], false);
        assert_eq!(
            request["options"],
            json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"})
        );
    }
    let refused = server.patch("merge", &format!("{MAPS}/a"), &json!({"data": {"k": "bad"}})).await;
    refused.expect(418);
    assert_eq!(refused.message(), "admission webhook \"check.example.com\" denied the request: not that");
    assert_eq!(refused.json()["reason"], "Forbidden");
    assert_eq!(seen.lock().unwrap()[1].1["oldObject"]["data"], json!({"k": "v"}));
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains(
        "apiserver_admission_webhook_rejection_count{error_type=\"no_error\",name=\"check.example.com\",operation=\"UPDATE\",rejection_code=\"418\",type=\"validating\"} 1"
    ), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_in_order_of_names_and_are_seen_by_those_after() {
    let server = TestServer::start().await;
    let (hooks, _) = webhook(|path, request| {
        let order = request["object"]["data"]["order"].as_str().unwrap_or("").to_owned();
        patch(&json!([{"op": "add", "path": "/data/order", "value": order + &path[1..]},
            {"op": "add", "path": "/nonsense", "value": 1}]))
    })
    .await;
    configure(&server, MUTATING, "z", &[hook(&hooks, "c", &json!({}))]).await;
    configure(&server, MUTATING, "a", &[hook(&hooks, "b", &json!({})), hook(&hooks, "a", &json!({}))]).await;
    let made = server.post(MAPS, &map("m")).await.expect(201);
    assert_eq!(made["data"]["order"], "bac");
    assert_eq!(made["nonsense"], Value::Null);
    // What admission adds belongs to nobody.
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"]["f:data"], json!({".": {}, "f:k": {}}));
    // A change that makes no valid object is refused by validation.
    let (bad, _) =
        webhook(|_, _| patch(&json!([{"op": "add", "path": "/data/no space", "value": "x"}]))).await;
    configure(&server, MUTATING, "zz", &[hook(&bad, "bad", &json!({}))]).await;
    server.post(MAPS, &map("n")).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_asked_again_when_a_later_one_changed_the_object() {
    let server = TestServer::start().await;
    let (hooks, seen) = webhook(|path, request| {
        if path == "/late" && request["object"]["data"]["late"].is_null() {
            return patch(&json!([{"op": "add", "path": "/data/late", "value": "1"}]));
        }
        json!({"allowed": true})
    })
    .await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let list =
        [hook(&hooks, "early", &again), hook(&hooks, "once", &json!({})), hook(&hooks, "late", &again)];
    configure(&server, MUTATING, "m", &list).await;
    server.post(MAPS, &map("m")).await.expect(201);
    let seen = seen.lock().unwrap();
    let paths: Vec<&str> = seen.iter().map(|(path, _)| path.split('?').next().unwrap()).collect();
    assert_eq!(paths, ["/early", "/once", "/late", "/early"]);
    assert_eq!(seen[3].1["object"]["data"]["late"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_policy_decides_when_a_webhook_cannot_be_asked() {
    let server = TestServer::start().await;
    let (hooks, _) = webhook(allow).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = json!({"clientConfig": {"url": format!("https://{free}/x")}, "failurePolicy": "Ignore"});
    configure(&server, VALIDATING, "v", &[hook(&hooks, "away", &away)]).await;
    server.post(MAPS, &map("a")).await.expect(201);
    let fail = json!({"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"});
    server.patch("json", &format!("{VALIDATING}/v"), &json!([fail])).await.expect(200);
    let refused = server.post(MAPS, &map("b")).await;
    refused.expect(500);
    assert_eq!(
        refused.message(),
        format!(
            "Internal error occurred: failed calling webhook \"away.example.com\": failed to call webhook: Post \"https://{free}/x?timeout=7s\": dial tcp {free}: connect: connection refused"
        )
    );
    // The configurations themselves are never kept from being repaired.
    server.delete(&format!("{VALIDATING}/v"), &Value::Null).await.expect(200);
    server.post(MAPS, &map("b")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_are_failures_of_the_webhook() {
    let server = TestServer::start().await;
    let (hooks, _) = webhook(|_, _| patch(&json!([{"op": "remove", "path": "/nothing"}]))).await;
    configure(&server, VALIDATING, "v", &[hook(&hooks, "patching", &json!({}))]).await;
    let refused = server.post(MAPS, &map("a")).await;
    refused.expect(500);
    assert_eq!(
        refused.message(),
        "Internal error occurred: failed calling webhook \"patching.example.com\": received invalid webhook response: validating webhook may not return response.patch"
    );
    server.delete(&format!("{VALIDATING}/v"), &Value::Null).await.expect(200);
    let broken = HttpsServer::start(&[], |_| {
        let mut response = Response::new(Bytes::from_static(b"out of order\n"));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        async move { response }.boxed()
    })
    .await;
    configure(&server, MUTATING, "m", &[hook(&broken, "broken", &json!({}))]).await;
    assert_eq!(
        server.post(MAPS, &map("a")).await.message(),
        "Internal error occurred: failed calling webhook \"broken.example.com\": failed to call webhook: an error on the server (\"out of order\") has prevented the request from succeeding"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reaches_only_webhooks_without_side_effects() {
    let server = TestServer::start().await;
    let (hooks, seen) = webhook(allow).await;
    configure(&server, VALIDATING, "v", &[hook(&hooks, "pure", &json!({"sideEffects": "NoneOnDryRun"}))])
        .await;
    server.post(&format!("{MAPS}?dryRun=All"), &map("a")).await.expect(201);
    assert_eq!(seen.lock().unwrap()[0].1["dryRun"], true);
    assert_eq!(seen.lock().unwrap()[0].1["options"]["dryRun"], json!(["All"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_scope_and_operations_restrict_who_is_asked() {
    let server = TestServer::start().await;
    let (hooks, seen) = webhook(allow).await;
    let labels = json!({"objectSelector": {"matchLabels": {"asked": "yes"}}});
    let spaces =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}});
    let deletes = json!({"rules": [rule(&["DELETE"], "", "v1", "configmaps")]});
    let list =
        [hook(&hooks, "labels", &labels), hook(&hooks, "spaces", &spaces), hook(&hooks, "deletes", &deletes)];
    configure(&server, VALIDATING, "v", &list).await;
    server.post(MAPS, &map("plain")).await.expect(201);
    assert!(seen.lock().unwrap().is_empty());
    let labelled = json!({"metadata": {"name": "labelled", "labels": {"asked": "yes"}}});
    server.post(MAPS, &labelled).await.expect(201);
    // Taking the label off is still asked about: the old object had it.
    let off = json!({"metadata": {"labels": null}});
    server.patch("merge", &format!("{MAPS}/labelled"), &off).await.expect(200);
    server.post("/api/v1/namespaces/kube-system/configmaps", &map("system")).await.expect(201);
    server.delete(&format!("{MAPS}/plain"), &Value::Null).await.expect(200);
    let seen = seen.lock().unwrap();
    let asked: Vec<String> =
        seen.iter().map(|(path, r)| format!("{} {}", path, r["operation"].as_str().unwrap())).collect();
    assert_eq!(
        asked,
        [
            "/labels?timeout=7s CREATE",
            "/labels?timeout=7s UPDATE",
            "/spaces?timeout=7s CREATE",
            "/deletes?timeout=7s DELETE"
        ]
    );
    assert_eq!(seen[3].1["object"], Value::Null);
    assert_eq!(seen[3].1["oldObject"]["metadata"]["name"], "plain");
    assert_eq!(seen[3].1["options"]["kind"], "DeleteOptions");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_a_resource_matches_and_is_converted() {
    let server = TestServer::start().await;
    let (hooks, seen) = webhook(|path, request| match path {
        "/old" => {
            assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
            patch(&json!([{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 33}]))
        }
        _ => json!({"allowed": true}),
    })
    .await;
    let resource = |policy: &str, version: &str| json!({"matchPolicy": policy, "rules": [rule(&["CREATE"], "autoscaling", version, "horizontalpodautoscalers")]});
    let list = [
        hook(&hooks, "exact", &resource("Exact", "v1")),
        hook(&hooks, "old", &resource("Equivalent", "v1")),
        hook(&hooks, "new", &resource("Exact", "v2")),
    ];
    configure(&server, MUTATING, "m", &list).await;
    let scaler = json!({"metadata": {"name": "s"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "metrics": [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = server.post(path, &scaler).await.expect(201);
    assert_eq!(made["apiVersion"], "autoscaling/v2");
    assert_eq!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 33);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].1["resource"]["version"], "v1");
    assert_eq!(seen[0].1["requestResource"]["version"], "v2");
    assert_eq!(seen[0].1["requestKind"]["version"], "v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn scales_and_connections_have_kinds_of_their_own() {
    let server = TestServer::start().await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    server.post(path, &deployment).await.expect(201);
    let (hooks, seen) = webhook(|path, request| match path {
        "/scale" => {
            assert_eq!(request["kind"]["kind"], "Scale");
            patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]))
        }
        _ => json!({"allowed": false, "status": {"message": "no shells"}}),
    })
    .await;
    let scale = json!({"rules": [rule(&["UPDATE"], "apps", "v1", "deployments/scale")]});
    configure(&server, MUTATING, "m", &[hook(&hooks, "scale", &scale)]).await;
    let connects = json!({"rules": [rule(&["CONNECT"], "", "v1", "pods/exec")]});
    configure(&server, VALIDATING, "v", &[hook(&hooks, "connect", &connects)]).await;
    let scaled = server.patch("merge", &format!("{path}/d/scale"), &json!({"spec": {"replicas": 2}})).await;
    assert_eq!(scaled.expect(200)["spec"]["replicas"], 4);
    let exec =
        server.post("/api/v1/namespaces/default/pods/p/exec?command=ls&command=-l&stdin", &Value::Null);
    let refused = exec.await;
    assert_eq!(refused.message(), "admission webhook \"connect.example.com\" denied the request: no shells");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].1["oldObject"]["spec"]["replicas"], 1);
    assert_eq!(seen[0].1["subResource"], "scale");
    assert_eq!(
        seen[1].1["object"],
        json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "command": ["ls", "-l"]})
    );
    assert_eq!(seen[1].1["options"], Value::Null);
    assert_eq!(seen[1].1["operation"], "CONNECT");
}

#[tokio::test(flavor = "multi_thread")]
async fn match_conditions_decide_before_the_webhook_is_called() {
    let server = TestServer::start().await;
    let (hooks, seen) = webhook(allow).await;
    let conditions = json!({"matchConditions": [
        {"name": "not-me", "expression": "!authorizer.requestResource.check('update').allowed() || object.data.k != 'skip'"},
        {"name": "broken", "expression": "object.data.number > 1"}]});
    configure(&server, VALIDATING, "v", &[hook(&hooks, "conditional", &conditions)]).await;
    // One that is unmet settles it, whatever the others are.
    server.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "skip"}})).await.expect(201);
    let refused = server.post(MAPS, &map("b")).await;
    refused.expect(403);
    assert_eq!(
        refused.message(),
        "configmaps \"b\" is forbidden: expression 'object.data.number > 1' resulted in error: no such key: number"
    );
    assert!(seen.lock().unwrap().is_empty());
    let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    server.patch("json", &format!("{VALIDATING}/v"), &ignore).await.expect(200);
    server.post(MAPS, &map("b")).await.expect(201);
    assert!(seen.lock().unwrap().is_empty());
    let drop = json!([{"op": "remove", "path": "/webhooks/0/matchConditions/1"}]);
    server.patch("json", &format!("{VALIDATING}/v"), &drop).await.expect(200);
    server.post(MAPS, &map("c")).await.expect(201);
    assert_eq!(seen.lock().unwrap().len(), 1);
    let wrong = json!({"metadata": {"name": "w"}, "webhooks": [hook(&hooks, "w",
        &json!({"matchConditions": [{"name": "n", "expression": "1"}]}))]});
    let refused = server.post(VALIDATING, &wrong).await;
    assert_eq!(
        refused.message(),
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io \"w\" is invalid: webhooks[0].matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool but got int"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_shown_the_credentials_of_their_server() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let hooks = HttpsServer::start(&[], move |request: Request<Bytes>| {
        let shown = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
        kept.lock().unwrap().push(format!("{} {shown}", request.uri().path()));
        let review: Value = serde_json::from_slice(request.body()).unwrap();
        let response = json!({"uid": review["request"]["uid"], "allowed": true});
        let answer =
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
        async move { json_response(&answer) }.boxed()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admission.yaml");
    let users = json!({"users": [{"name": hooks.address.to_string(), "user": {"token": "secret"}}]});
    std::fs::write(folder.path().join("users"), users.to_string()).unwrap();
    let api = "apiserver.config.k8s.io/v1";
    let webhooks =
        json!({"apiVersion": api, "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": "users"});
    let plugins = json!([{"name": "ValidatingAdmissionWebhook", "configuration": webhooks}]);
    let control = json!({"apiVersion": api, "kind": "AdmissionConfiguration", "plugins": plugins});
    std::fs::write(&path, control.to_string()).unwrap();
    let control = apiserver::admission::AdmissionControl::load(&path).unwrap();
    let server = TestServer::start_with(|config| config.admission_control = control).await;
    configure(&server, MUTATING, "m", &[hook(&hooks, "change", &json!({}))]).await;
    configure(&server, VALIDATING, "v", &[hook(&hooks, "check", &json!({}))]).await;
    server.post(MAPS, &map("a")).await.expect(201);
    assert_eq!(*seen.lock().unwrap(), ["/change ", "/check Bearer secret"]);
}
