//! The audit log, as it is written.

use apiserver::audit::{Auditor, Delivery, LogOptions, Mode, Policy, Truncation, WebhookOptions};
use apiserver::authentication::UserInfo;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use testkit::{HttpsServer, TestServer, json_response};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Audited {
    server: TestServer,
    auditor: Arc<Auditor>,
    path: PathBuf,
    _directory: TempDir,
}

fn log_options(path: PathBuf) -> LogOptions {
    let delivery = Delivery::to_log();
    LogOptions { path, max_age_days: 0, max_backups: 0, max_size_megabytes: 0, delivery }
}

/// A kubeconfig file in a directory, for a webhook.
fn kubeconfig(directory: &TempDir, webhook: &HttpsServer) -> PathBuf {
    let path = directory.path().join("kubeconfig");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": webhook.url("/audit"), "certificate-authority-data": webhook.bundle()}}],
        "users": [{"name": "u", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A server with a policy; `jane` may do all with config maps.
async fn start(rules: &str) -> Audited {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("logs/audit.log");
    let policy = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n  users: [setup]\n{rules}"
    );
    let log = log_options(path.clone());
    let auditor = Auditor::new(Policy::parse(&policy).unwrap(), Some(log), None).unwrap();
    let given = Arc::clone(&auditor);
    let server = TestServer::start_with(|config| config.audit = Some(given)).await;
    let setup = || Some(UserInfo::new("setup", &["system:masters"]));
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "maps"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]});
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let uri = format!("/apis/rbac.authorization.k8s.io/v1/{plural}");
        server.request_as(setup(), "POST", &uri, &[], object.to_string()).await.expect(201);
    }
    Audited { server, auditor, path, _directory: directory }
}

impl Audited {
    async fn jane(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &Value) -> testkit::Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.request_as(Some(UserInfo::new("jane", &[])), method, uri, headers, body).await
    }

    async fn events(&self) -> Vec<Value> {
        self.auditor.flush().await;
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
}

#[tokio::test]
async fn metadata_tells_who_did_what_and_why_they_may() {
    let audited = start("- level: Metadata\n").await;
    let headers = [("user-agent", "tester/1"), ("x-forwarded-for", "192.0.2.9, 192.0.2.8")];
    let answer = audited.jane("POST", MAPS, &headers, &map("a")).await;
    answer.expect(201);
    let events = audited.events().await;
    let stages: Vec<_> = events.iter().map(|event| event["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    let event = &events[1];
    assert_eq!(event["auditID"], answer.headers["audit-id"].to_str().unwrap());
    assert_eq!((&event["kind"], &event["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
    assert_eq!((&event["level"], &event["verb"]), (&json!("Metadata"), &json!("create")));
    assert_eq!((&event["requestURI"], &event["userAgent"]), (&json!(MAPS), &json!("tester/1")));
    assert_eq!(event["user"], json!({"username": "jane", "groups": ["system:authenticated"]}));
    assert_eq!(event["sourceIPs"], json!(["192.0.2.9", "192.0.2.8", "127.0.0.1"]));
    let object = json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"});
    assert_eq!(event["objectRef"], object);
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    let reason = "RBAC: allowed by ClusterRoleBinding \"maps\" of ClusterRole \"maps\" to User \"jane\"";
    assert_eq!(event["annotations"]["authorization.k8s.io/reason"], reason);
    assert!(event.get("requestObject").is_none() && event.get("responseObject").is_none());
    assert_eq!(events[0]["requestReceivedTimestamp"], events[0]["stageTimestamp"]);
    assert!(events[0].get("responseStatus").is_none());
}

#[tokio::test]
async fn objects_are_told_by_level_with_or_without_managed_fields() {
    let audited = start(
        "- {level: Request, verbs: [create], omitStages: [RequestReceived]}\n\
         - {level: RequestResponse, omitStages: [RequestReceived], omitManagedFields: true}\n",
    )
    .await;
    audited.jane("POST", MAPS, &[], &map("a")).await.expect(201);
    let patch = json!({"data": {"c": "d"}});
    let merge = [("content-type", "application/merge-patch+json")];
    let uri = format!("{MAPS}/a");
    audited.jane("PATCH", &uri, &merge, &patch).await.expect(200);
    let gzip = [("accept-encoding", "gzip")];
    let list = audited.jane("GET", MAPS, &gzip, &Value::Null).await.expect(200);
    assert!(list["items"][0]["metadata"]["managedFields"].is_array());
    let events = audited.events().await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["requestObject"], map("a"));
    assert!(events[0].get("responseObject").is_none());
    assert_eq!(events[1]["requestObject"], patch);
    assert_eq!(events[1]["responseObject"]["data"], json!({"a": "b", "c": "d"}));
    assert!(events[1]["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(events[2]["responseObject"]["kind"], "ConfigMapList");
    assert!(events[2]["responseObject"]["items"][0]["metadata"].get("managedFields").is_none());
}

#[tokio::test]
async fn failures_are_told_with_their_status() {
    let audited = start("- {level: Metadata, omitStages: [RequestReceived]}\n").await;
    audited.jane("GET", &format!("{MAPS}/none"), &[], &Value::Null).await.expect(404);
    audited.jane("GET", "/api/v1/nodes", &[], &Value::Null).await.expect(403);
    let bad = [("authorization", "Bearer nonsense")];
    assert_eq!(audited.server.request_as(None, "GET", "/api/v1/nodes", &bad, "").await.code, 401);
    let events = audited.events().await;
    assert_eq!(events[0]["responseStatus"]["reason"], "NotFound");
    assert_eq!(events[0]["responseStatus"]["message"], "configmaps \"none\" not found");
    assert_eq!(events[1]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[1]["responseStatus"]["code"], 403);
    assert_eq!((&events[2]["responseStatus"]["code"], &events[2]["user"]), (&json!(401), &json!({})));
}

#[tokio::test]
async fn who_acts_as_somebody_else_is_told_with_them() {
    let audited = start("- {level: Metadata, users: [admin], omitStages: [RequestReceived]}\n").await;
    let admin = UserInfo::new("admin", &["system:masters"]);
    let headers = [("impersonate-user", "jane")];
    audited.server.request_as(Some(admin), "GET", MAPS, &headers, "").await.expect(200);
    let event = &audited.events().await[0];
    assert_eq!(event["user"]["username"], "admin");
    assert_eq!(event["impersonatedUser"]["username"], "jane");
    assert_eq!(event["authenticationMetadata"], json!({"impersonationConstraint": "impersonate:user-info"}));
}

#[tokio::test]
async fn a_watch_is_told_when_it_begins_and_when_it_ends() {
    let audited = start("- {level: Metadata, verbs: [watch]}\n").await;
    // Something to be told at the beginning.
    audited.jane("POST", MAPS, &[], &map("a")).await.expect(201);
    let jane = Some(UserInfo::new("jane", &[]));
    let response = audited.server.open(jane, "GET", &format!("{MAPS}?watch=1"), &[], "").await;
    let stages = async || {
        let events = audited.events().await;
        events.iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(stages().await, ["RequestReceived", "ResponseStarted"]);
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.is_some());
    drop(body);
    assert_eq!(stages().await, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    let metrics = audited.server.get("/metrics").await.text();
    assert!(metrics.contains("apiserver_audit_event_total"), "{metrics}");
}

#[tokio::test]
async fn what_the_pod_security_standards_say_is_noted() {
    let audited = start("- {level: Metadata, verbs: [create], resources: [{resources: [pods]}, {group: apps, resources: [deployments]}], omitStages: [RequestReceived]}\n").await;
    let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}");
    let labels =
        json!({label("enforce"): "baseline", label("audit"): "restricted", label("audit-version"): "v1.30"});
    let server = &audited.server;
    let namespace = json!({"metadata": {"name": "strict", "labels": labels}});
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    let account = json!({"metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/strict/serviceaccounts", &account).await.expect(201);
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let spec = |host: bool| json!({"hostNetwork": host, "containers": [{"name": "c", "image": "i"}]});
    let pod = |host: bool| json!({"metadata": {"name": "p"}, "spec": spec(host)});
    server.post("/api/v1/namespaces/strict/pods", &pod(true)).await.expect(403);
    server.post("/api/v1/namespaces/strict/pods", &pod(false)).await.expect(201);
    server.post("/api/v1/namespaces/default/pods", &pod(true)).await.expect(201);
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec(false)}}});
    server.post("/apis/apps/v1/namespaces/strict/deployments", &deployment).await.expect(201);
    let events = audited.events().await;
    let note = |at: usize, key: &str| events[at]["annotations"][label(key)].as_str().unwrap_or("").to_owned();
    assert_eq!(events.len(), 4);
    assert_eq!(note(0, "enforce-policy"), "baseline:latest");
    assert_eq!(note(1, "enforce-policy"), "baseline:latest");
    assert_eq!(note(2, "enforce-policy"), "privileged:latest");
    assert_eq!(note(3, "enforce-policy"), "", "what makes pods is not refused");
    for at in [0, 1, 3] {
        let told = note(at, "audit-violations");
        assert!(told.starts_with("would violate PodSecurity \"restricted:v1.30\": "), "{at}: {told}");
    }
    assert_eq!(note(2, "audit-violations"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_posted_to_a_webhook_many_at_a_time_and_again_when_it_fails() {
    let directory = TempDir::new().unwrap();
    let posts: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&posts);
    let webhook = HttpsServer::start(&[], move |request: http::Request<Bytes>| {
        let list: Value = serde_json::from_slice(request.body()).unwrap();
        let mut posts = kept.lock().unwrap();
        posts.push(list);
        // The first is to be tried again.
        let code = if posts.len() == 1 { 500 } else { 200 };
        let mut response = json_response(&json!({}));
        *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
        async move { response }.boxed()
    })
    .await;
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Metadata, users: [jane], omitStages: [RequestReceived]}\n";
    let options = WebhookOptions {
        initial_backoff: std::time::Duration::from_millis(1),
        ..WebhookOptions::new(kubeconfig(&directory, &webhook))
    };
    let auditor = Auditor::new(Policy::parse(policy).unwrap(), None, Some(options)).unwrap();
    let given = Arc::clone(&auditor);
    let server = TestServer::start_with(|config| config.audit = Some(given)).await;
    for _ in 0..3 {
        server.request_as(Some(UserInfo::new("jane", &[])), "GET", MAPS, &[], "").await.expect(403);
    }
    auditor.flush().await;
    let posts = posts.lock().unwrap().clone();
    assert_eq!(posts.len(), 2);
    assert_eq!(
        (&posts[0]["kind"], &posts[0]["apiVersion"]),
        (&json!("EventList"), &json!("audit.k8s.io/v1"))
    );
    assert_eq!(posts[0], posts[1]);
    let items = posts[1]["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert!(items.iter().all(|event| event["user"]["username"] == "jane" && event["kind"] == "Event"));
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("apiserver_audit_error_total{plugin=\"webhook\"} 0\n"));
}

#[tokio::test]
async fn pods_of_exempt_namespaces_are_let_in_and_that_is_noted() {
    let directory = TempDir::new().unwrap();
    let (log, control) = (directory.path().join("audit.log"), directory.path().join("admission.yaml"));
    let configuration = json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "restricted"}, "exemptions": {"namespaces": ["free"]}});
    let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": configuration}]});
    std::fs::write(&control, file.to_string()).unwrap();
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Metadata, verbs: [create], resources: [{resources: [pods]}], omitStages: [RequestReceived]}\n";
    let options = log_options(log.clone());
    let auditor = Auditor::new(Policy::parse(policy).unwrap(), Some(options), None).unwrap();
    let given = Arc::clone(&auditor);
    let control = apiserver::admission::AdmissionControl::load(&control).unwrap();
    let server = TestServer::start_with(|config| {
        config.audit = Some(given);
        config.admission_control = control;
    })
    .await;
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    for (namespace, code) in [("free", 201), ("bound", 403)] {
        server.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await.expect(201);
        let uri = format!("/api/v1/namespaces/{namespace}");
        server
            .post(&format!("{uri}/serviceaccounts"), &json!({"metadata": {"name": "default"}}))
            .await
            .expect(201);
        server
            .post(&format!("{uri}/pods"), &json!({"metadata": {"name": "p"}, "spec": spec}))
            .await
            .expect(code);
    }
    auditor.flush().await;
    let text = std::fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let notes = |at: usize| &events[at]["annotations"];
    assert_eq!(notes(0)["pod-security.kubernetes.io/exempt"], "namespace");
    assert!(notes(0).get("pod-security.kubernetes.io/enforce-policy").is_none());
    assert_eq!(notes(1)["pod-security.kubernetes.io/enforce-policy"], "restricted:latest");
}

#[tokio::test]
async fn requests_wait_for_a_log_that_blocks() {
    let audited = start("- level: Metadata\n").await;
    for name in ["a", "b"] {
        audited.jane("POST", MAPS, &[], &map(name)).await.expect(201);
    }
    // Nothing is flushed here: it was in the file when the answers came.
    let text = std::fs::read_to_string(&audited.path).unwrap();
    assert_eq!(text.lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_fails_when_it_cannot_be_told_to_a_strict_webhook() {
    let directory = TempDir::new().unwrap();
    let posts: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&posts);
    let webhook = HttpsServer::start(&[], move |request: http::Request<Bytes>| {
        let list: Value = serde_json::from_slice(request.body()).unwrap();
        let refused = list["items"][0]["objectRef"]["resource"] == "secrets";
        kept.lock().unwrap().push(list);
        let mut response = json_response(&json!({}));
        // Not one that is tried again.
        *response.status_mut() = http::StatusCode::from_u16(if refused { 400 } else { 200 }).unwrap();
        async move { response }.boxed()
    })
    .await;
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Metadata, users: [jane]}\n";
    for (mode, code) in [(Mode::BlockingStrict, 500), (Mode::Blocking, 403)] {
        let mut options = WebhookOptions::new(kubeconfig(&directory, &webhook));
        options.delivery.mode = mode;
        let auditor = Auditor::new(Policy::parse(policy).unwrap(), None, Some(options)).unwrap();
        let server = TestServer::start_with(|config| config.audit = Some(auditor)).await;
        posts.lock().unwrap().clear();
        let jane = || Some(UserInfo::new("jane", &[]));
        server.request_as(jane(), "GET", MAPS, &[], "").await.expect(403);
        // Both events were posted, each by itself, before the answer came.
        let told = posts.lock().unwrap().clone();
        let stages: Vec<_> = told.iter().map(|list| list["items"][0]["stage"].clone()).collect();
        assert_eq!(stages, ["RequestReceived", "ResponseComplete"], "{mode:?}");
        let answer = server.request_as(jane(), "GET", "/api/v1/secrets", &[], "").await;
        let status = answer.expect(code);
        let metrics = server.get("/metrics").await.text();
        let rejected = u8::from(mode == Mode::BlockingStrict);
        if mode == Mode::BlockingStrict {
            assert!(status["message"].as_str().unwrap().contains("failed to store audit event"), "{status}");
        }
        assert!(
            metrics.contains(&format!("apiserver_audit_requests_rejected_total {rejected}\n")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn large_events_go_without_their_objects() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("audit.log");
    let mut options = log_options(path.clone());
    options.delivery.truncation = Some(Truncation { max_event_bytes: 2_000, ..Truncation::default() });
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Request, verbs: [create], resources: [{resources: [configmaps]}], omitStages: [RequestReceived]}\n";
    let auditor = Auditor::new(Policy::parse(policy).unwrap(), Some(options), None).unwrap();
    let server = TestServer::start_with(|config| config.audit = Some(auditor)).await;
    for (name, size) in [("small", 10), ("large", 4_000)] {
        let object = json!({"metadata": {"name": name}, "data": {"a": "x".repeat(size)}});
        server.post(MAPS, &object).await.expect(201);
    }
    // Too large even so.
    let agent = "x".repeat(1_000);
    let headers = [("user-agent", agent.as_str())];
    let uri = format!("{MAPS}?fieldManager=m&{}", "y".repeat(1_000));
    server.request("POST", &uri, &headers, &json!({"metadata": {"name": "lost"}})).await.expect(201);
    let text = std::fs::read_to_string(&path).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["objectRef"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["small", "large"]);
    assert_eq!(events[0]["requestObject"]["metadata"]["name"], "small");
    assert!(events[0]["annotations"].get("audit.k8s.io/truncated").is_none());
    assert!(events[1].get("requestObject").is_none());
    assert_eq!(events[1]["annotations"]["audit.k8s.io/truncated"], "true");
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("apiserver_audit_error_total{plugin=\"log\"} 1\n"), "{metrics}");
}
