//! Groups and versions that another server serves.

use crate::remote::{Body, Remote, Seen, json};
use crate::support::connect;
use apiserver::authentication::UserInfo;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use testkit::{TestServer, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const GROUP: &str = "/apis/metrics.example/v1";
const AGGREGATED: (&str, &str) =
    ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");

/// Where the other server's Service is: on Linux, all of this network is this machine.
const CLUSTER_IP: [u8; 4] = [127, 77, 0, 20];

async fn start() -> TestServer {
    TestServer::start_with(|config| config.service_cidrs = vec!["127.77.0.0/24".parse().unwrap()]).await
}

/// What the other server answers.
fn answer(seen: &mut Seen) -> Response<Body> {
    let path = seen.uri.split('?').next().unwrap();
    match path {
        GROUP => json(
            200,
            &json!({"kind": "APIResourceList", "groupVersion": "metrics.example/v1", "resources": [
                {"name": "samples", "singularName": "sample", "namespaced": true, "kind": "Sample",
                    "verbs": ["get", "list", "watch"]}]}),
        ),
        "/openapi/v3" => json(
            200,
            &json!({"paths": {"apis/metrics.example/v1":
                {"serverRelativeURL": "/openapi/v3/apis/metrics.example/v1?hash=AB"}}}),
        ),
        "/openapi/v2" => json(
            200,
            &json!({"swagger": "2.0", "paths": {"/apis/metrics.example/v1/samples": {"get": {"operationId": "theirs"}}}}),
        ),
        "/openapi/v3/apis/metrics.example/v1" => json(200, &json!({"openapi": "3.0.0", "theirs": true})),
        "/apis/metrics.example/v1/away" => Response::builder()
            .status(302)
            .header("location", "https://elsewhere.example/")
            .body(json(200, &Value::Null).into_body())
            .unwrap(),
        _ if seen.headers.contains_key(header::UPGRADE) => {
            let upgrade = seen.upgrade.take().unwrap();
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut buffer = [0; 4];
                stream.read_exact(&mut buffer).await.unwrap();
                stream.write_all(&buffer).await.unwrap();
            });
            let mut response = json(101, &Value::Null);
            response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
            response.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
            response
        }
        _ if seen.uri.contains("watch=true") => {
            // An event, and then nothing more, for ever.
            let first = Frame::data(Bytes::from_static(b"{\"type\":\"ADDED\"}\n"));
            let events =
                futures::stream::iter([Ok::<_, Infallible>(first)]).chain(futures::stream::pending());
            Response::new(StreamBody::new(events).boxed_unsync())
        }
        _ => json(
            200,
            &json!({"method": seen.method, "uri": seen.uri, "certificate": seen.certificate,
                "user": seen.header("x-remote-user"), "groups": seen.header("x-remote-group"),
                "extra": seen.header("x-remote-extra-example.org%2fk"), "uid": seen.header("x-remote-uid"),
                "authorization": seen.header("authorization"), "body": seen.json()}),
        ),
    }
}

/// Makes a Service for another server, its endpoints, and its APIService.
async fn register(server: &TestServer, remote: &Remote) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"},
        "spec": {"clusterIP": remote.address.ip().to_string(), "ports": [{"port": remote.address.port()}]}});
    server.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    add_endpoints(server).await;
    let mut service = api_service(remote.address.port());
    let ca = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &remote.ca_pem);
    service["spec"]["caBundle"] = json!(ca);
    server.post(API_SERVICES, &service).await.expect(201);
    available(server, "Passed").await;
}

fn api_service(port: u16) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.metrics.example"},
        "spec": {"group": "metrics.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": "default", "name": "metrics", "port": port}}})
}

async fn add_endpoints(server: &TestServer) {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "metrics-1", "labels": {"kubernetes.io/service-name": "metrics"}},
        "ports": [{"name": "", "port": 443}],
        "endpoints": [{"addresses": ["10.1.0.7"], "conditions": {"ready": true}}]});
    server.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await.expect(201);
}

/// Waits for the reason of the condition; returns status and message.
async fn available(server: &TestServer, reason: &str) -> (String, String) {
    eventually(&format!("the APIService has the condition {reason}"), || async {
        let object = server.get(&format!("{API_SERVICES}/v1.metrics.example")).await.json();
        let condition = &object["status"]["conditions"][0];
        let text = |field: &str| condition[field].as_str().unwrap_or("").to_owned();
        (condition["type"] == "Available" && condition["reason"] == reason)
            .then(|| (text("status"), text("message")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_here_has_its_api_services() {
    let server = TestServer::start().await;
    let apps = server.get(&format!("{API_SERVICES}/v1.apps")).await.expect(200);
    assert_eq!(apps["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    let condition = &apps["status"]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("Local")));
    assert_eq!(condition["message"], "Local APIServices are always available");
    let core = server.get(&format!("{API_SERVICES}/v1.")).await.expect(200);
    assert_eq!(core["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
    server.get(&format!("{API_SERVICES}/v1.apiregistration.k8s.io")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_to_who_serves_them_as_their_user() {
    let server = start().await;
    let remote = Remote::start(&server.pki, "metrics.default.svc", CLUSTER_IP, answer).await;
    register(&server, &remote).await;
    let mut jane = UserInfo::new("jane", &["dev"]);
    jane.uid = "7".into();
    jane.extra.insert("example.org/k".into(), vec!["a".into(), "b".into()]);
    let samples = format!("{GROUP}/namespaces/default/samples");
    let headers = [("authorization", "Bearer secret"), ("x-remote-group", "system:masters")];
    let ask = async |method: &str, uri: &str, body: &str| {
        server.request_as(Some(jane.clone()), method, uri, &headers, body.to_owned()).await
    };
    let refused = ask("GET", &samples, "").await.expect(403);
    assert_eq!(
        refused["message"],
        "samples.metrics.example is forbidden: User \"jane\" cannot list resource \"samples\" in API group \"metrics.example\" in the namespace \"default\""
    );
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "s"},
        "rules": [{"apiGroups": ["metrics.example"], "resources": ["*"], "verbs": ["*"]}]});
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "s"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "s"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    let told = ask("POST", &format!("{samples}?dryRun=All&a=%2F"), "{\"b\":1}").await.expect(200);
    assert_eq!(
        told,
        json!({"method": "POST", "uri": format!("{samples}?dryRun=All&a=%2F"), "certificate": true,
            "user": ["jane"], "groups": ["dev", "system:authenticated"], "extra": ["a", "b"], "uid": ["7"],
            "authorization": [], "body": {"b": 1}})
    );
    // A watch is passed on while it goes.
    let watch = server.open(Some(UserInfo::admin()), "GET", &format!("{samples}?watch=true"), &[], "").await;
    let mut body = watch.into_body();
    let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(event, "{\"type\":\"ADDED\"}\n");
    let away = server.get(&format!("{GROUP}/away")).await;
    assert_eq!(
        (away.code, away.text().as_str()),
        (502, "the backend attempted to redirect this request, which is not permitted\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_openapi_show_both() {
    let server = start().await;
    let remote = Remote::start(&server.pki, "metrics.default.svc", CLUSTER_IP, answer).await;
    register(&server, &remote).await;
    let find = |document: &Value, field: &str| {
        let all = document[field].as_array().unwrap().clone();
        all.into_iter().find(|group| {
            group["name"] == "metrics.example" || group["metadata"]["name"] == "metrics.example"
        })
    };
    let groups = eventually("the group is in discovery", || async {
        let document = server.get("/apis").await.expect(200);
        find(&document, "groups").map(|_| document)
    })
    .await;
    assert_eq!(
        find(&groups, "groups").unwrap(),
        json!({"name": "metrics.example", "versions": [{"groupVersion": "metrics.example/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "metrics.example/v1", "version": "v1"}})
    );
    // Its rank is lowest of all.
    assert_eq!(groups["groups"].as_array().unwrap().last().unwrap()["name"], "metrics.example");
    let group = server.get("/apis/metrics.example").await.expect(200);
    assert_eq!((&group["kind"], &group["name"]), (&json!("APIGroup"), &json!("metrics.example")));
    assert_eq!(server.get(GROUP).await.expect(200)["resources"][0]["name"], "samples");
    let aggregated = async || {
        let document = server.request("GET", "/apis", &[AGGREGATED], &Value::Null).await.expect(200);
        find(&document, "items").unwrap()["versions"][0].clone()
    };
    let version = eventually("its resources are known", || async {
        let version = aggregated().await;
        (version["freshness"] == "Current").then_some(version)
    })
    .await;
    assert_eq!(
        version["resources"],
        json!([{"resource": "samples", "scope": "Namespaced", "singularResource": "sample",
            "responseKind": {"group": "metrics.example", "version": "v1", "kind": "Sample"},
            "verbs": ["get", "list", "watch"]}])
    );
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/metrics.example/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert_eq!(url, "/openapi/v3/apis/metrics.example/v1?hash=AB");
    assert_eq!(server.get(&url).await.expect(200)["theirs"], true);
    assert!(index["paths"]["apis/apps/v1"].is_object());
    let whole = server.get("/openapi/v2").await.expect(200);
    assert_eq!(whole["paths"]["/apis/metrics.example/v1/samples"]["get"]["operationId"], "theirs");
    assert!(whole["paths"]["/apis/apps/v1/"].is_object());
    // Without its endpoints it is shown as it was, and stale.
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    server.delete(&format!("{slices}/metrics-1"), &Value::Null).await.expect(200);
    eventually("it is stale", || async { (aggregated().await["freshness"] == "Stale").then_some(()) }).await;
    server.delete(&format!("{API_SERVICES}/v1.metrics.example"), &Value::Null).await.expect(200);
    eventually("it is gone", || async {
        find(&server.get("/apis").await.expect(200), "groups").is_none().then_some(())
    })
    .await;
    server.get(GROUP).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_group_from_being_served_is_told() {
    let server = start().await;
    let remote =
        Remote::start(&server.pki, "metrics.default.svc", CLUSTER_IP, |_| json(404, &json!({}))).await;
    let port = remote.address.port();
    let mut wanted = api_service(port);
    wanted["spec"]["insecureSkipTLSVerify"] = json!(true);
    server.post(API_SERVICES, &wanted).await.expect(201);
    let (status, message) = available(&server, "ServiceNotFound").await;
    assert_eq!(
        (status.as_str(), message.as_str()),
        ("False", "service/metrics in \"default\" is not present")
    );
    let refused = server.get(&format!("{GROUP}/samples")).await;
    assert_eq!((refused.code, refused.text().as_str()), (503, "service unavailable\n"));
    assert_eq!(refused.headers["content-type"], "text/plain; charset=utf-8");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"},
        "spec": {"clusterIP": "127.77.0.20", "ports": [{"port": 1}]}});
    server.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    let (_, message) = available(&server, "ServicePortError").await;
    assert_eq!(message, format!("service/metrics in \"default\" is not listening on port {port}"));
    let ports = json!({"spec": {"ports": [{"port": port}]}});
    server.patch("merge", "/api/v1/namespaces/default/services/metrics", &ports).await.expect(200);
    let (_, message) = available(&server, "MissingEndpoints").await;
    assert_eq!(message, "endpoints for service/metrics in \"default\" have no addresses with port name \"\"");
    add_endpoints(&server).await;
    let (status, message) = available(&server, "FailedDiscoveryCheck").await;
    let url = format!("https://127.77.0.20:{port}{GROUP}");
    assert_eq!(status, "False");
    assert_eq!(message, format!("failing or missing response from {url}: bad status from {url}: 404"));
    assert_eq!(remote.count(GROUP) % 5, 0);
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let uri = format!("{API_SERVICES}/v1.metrics.example");
    let shown = server.request("GET", &uri, &[table], &Value::Null).await.expect(200);
    assert_eq!(shown["rows"][0]["cells"][2], "False (FailedDiscoveryCheck)");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_goes_through() {
    let server = start().await;
    let remote = Remote::start(&server.pki, "metrics.default.svc", CLUSTER_IP, answer).await;
    register(&server, &remote).await;
    let mut sender = connect(&server).await;
    let request = Request::builder()
        .uri(format!("{GROUP}/namespaces/default/samples/a/connect"))
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "echo")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_custom_resources_have_api_services_while_they_are_defined() {
    let server = TestServer::start().await;
    let version = |name: &str, served: bool, storage: bool| {
        json!({"name": name, "served": served, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object"}}})
    };
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.shop.example"},
        "spec": {"group": "shop.example", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [version("v1", true, true), version("v1beta1", false, false)]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    server.post(definitions, &definition).await.expect(201);
    let uri = format!("{API_SERVICES}/v1.shop.example");
    let made = eventually("the APIService is made", || async {
        let answer = server.get(&uri).await;
        (answer.code == 200).then(|| answer.json())
    })
    .await;
    assert_eq!(made["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    assert_eq!(
        made["spec"],
        json!({"group": "shop.example", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );
    server.get(&format!("{API_SERVICES}/v1beta1.shop.example")).await.expect(404);
    server.delete(&format!("{definitions}/widgets.shop.example"), &Value::Null).await.expect(200);
    eventually("the APIService is gone", || async { (server.get(&uri).await.code == 404).then_some(()) })
        .await;
}

/// A server of the time before OpenAPI v3.
fn old_answer(seen: &mut Seen) -> Response<Body> {
    match seen.uri.split('?').next().unwrap() {
        "/openapi/v2" => json(
            200,
            &json!({"swagger": "2.0",
                "paths": {"/apis/metrics.example/v1/samples": {"get": {"operationId": "theirs", "produces": ["application/json"],
                    "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Sample"}}}}}},
                "definitions": {"Sample": {"type": "object"}}}),
        ),
        path if path.starts_with("/openapi") => json(404, &Value::Null),
        _ => answer(seen),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_of_a_server_that_has_the_old_form_only_is_shown_in_the_new_one() {
    let server = start().await;
    let remote = Remote::start(&server.pki, "metrics.default.svc", CLUSTER_IP, old_answer).await;
    register(&server, &remote).await;
    let url = eventually("it is in the index", || async {
        let index = server.get("/openapi/v3").await.expect(200);
        index["paths"]["apis/metrics.example/v1"]["serverRelativeURL"].as_str().map(str::to_owned)
    })
    .await;
    let answer = server.get(&url).await;
    assert!(answer.headers["cache-control"].to_str().unwrap().contains("immutable"));
    let document = answer.expect(200);
    let get = &document["paths"]["/apis/metrics.example/v1/samples"]["get"];
    assert_eq!(
        get["responses"]["200"]["content"]["application/json"]["schema"],
        json!({"$ref": "#/components/schemas/Sample"})
    );
    assert_eq!(document["components"]["schemas"], json!({"Sample": {"type": "object"}}));
    // Another version of it is elsewhere.
    let other = format!("{}0", url);
    assert_eq!(server.get(&other).await.code, 301);
    server.get("/openapi/v3/apis/metrics.example/v2").await.expect(404);
}
