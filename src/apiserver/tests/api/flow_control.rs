//! API Priority and Fairness as clients see it.

use apiserver::BoxError;
use apiserver::authentication::UserInfo;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use testkit::{TestServer, eventually};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

fn header<'a>(answer: &'a testkit::Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn uid(server: &TestServer, plural: &str, name: &str) -> String {
    let object = server.get(&format!("{GROUP}/{plural}/{name}")).await.expect(200);
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn schema(name: &str, level: &str, user: &str) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
        "spec": {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": 50,
            "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "clusterScope": true, "namespaces": ["*"]}]}]}})
}

#[tokio::test]
async fn answers_name_the_schema_and_the_level_by_uid() {
    let server = TestServer::start().await;
    let answer = server.get("/api/v1/namespaces").await;
    assert_eq!(
        header(&answer, "x-kubernetes-pf-flowschema-uid"),
        uid(&server, "flowschemas", "exempt").await
    );
    let jane = Some(UserInfo::new("jane", &[]));
    // Before it is known whether she may.
    let answer = server.request_as(jane, "GET", "/api/v1/namespaces", &[], "").await;
    assert_eq!(answer.code, 403);
    let level = uid(&server, "prioritylevelconfigurations", "global-default").await;
    assert_eq!(header(&answer, "x-kubernetes-pf-prioritylevel-uid"), level);
}

#[tokio::test]
async fn schemas_say_whether_their_level_exists_and_take_effect_while_running() {
    let server = TestServer::start().await;
    server.post(&format!("{GROUP}/flowschemas"), &schema("mine", "own", "jane")).await.expect(201);
    let condition = async || {
        let object = server.get(&format!("{GROUP}/flowschemas/mine")).await.expect(200);
        let condition = &object["status"]["conditions"][0];
        (condition["type"] == "Dangling").then(|| condition["status"].as_str().unwrap_or("").to_owned())
    };
    let dangles = async |expected: &str| (condition().await.as_deref() == Some(expected)).then_some(());
    eventually("the schema dangles", || dangles("True")).await;
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "own"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}});
    server.post(&format!("{GROUP}/prioritylevelconfigurations"), &level).await.expect(201);
    eventually("the schema has its level", || dangles("False")).await;
    let wanted = uid(&server, "flowschemas", "mine").await;
    eventually("jane's requests go by it", async || {
        let jane = Some(UserInfo::new("jane", &[]));
        let answer = server.request_as(jane, "GET", "/api/v1/nodes", &[], "").await;
        (header(&answer, "x-kubernetes-pf-flowschema-uid") == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_finds_no_seat_is_told_to_come_back() {
    let server = TestServer::start_with(|config| config.max_requests_in_flight = 1).await;
    server.post(&format!("{GROUP}/flowschemas"), &schema("mine", "catch-all", "jane")).await.expect(201);
    let uri = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let body = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
    let ask = || server.request_as(Some(UserInfo::new("jane", &[])), "POST", uri, &[], body);
    let wanted = uid(&server, "flowschemas", "mine").await;
    eventually("jane's requests go by it", async || {
        (header(&ask().await, "x-kubernetes-pf-flowschema-uid") == wanted).then_some(())
    })
    .await;
    // The body of this one never comes: it keeps the only seat.
    let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, BoxError>>());
    let mut request = http::Request::post(uri).body(never.boxed_unsync()).unwrap();
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request.extensions_mut().insert(UserInfo::new("jane", &[]));
    let mut kept = Box::pin(server.server.handle(request));
    assert!(futures::poll!(&mut kept).is_pending());
    let refused = ask().await;
    assert_eq!(refused.code, 429);
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(refused.text(), "Too many requests, please try again later.\n");
    drop(kept);
    assert_eq!(ask().await.code, 201);
    let metrics = server.get("/metrics").await.text();
    let line = "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"mine\",priority_level=\"catch-all\",reason=\"concurrency-limit\"}";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn suggested_objects_that_somebody_edited_stay_and_mandatory_ones_do_not() {
    let server = TestServer::start().await;
    for name in ["workload-low", "global-default"] {
        let uri = format!("{GROUP}/prioritylevelconfigurations/{name}");
        let annotations = json!({"apf.kubernetes.io/autoupdate-spec": if name == "workload-low" { "false" } else { "true" }});
        let change = json!({"metadata": {"annotations": annotations},
            "spec": {"limited": {"nominalConcurrencyShares": 77}}});
        server.patch("merge", &uri, &change).await.expect(200);
    }
    let server = server.restart().await;
    for (name, shares) in [("workload-low", 77), ("global-default", 20)] {
        let object = server.get(&format!("{GROUP}/prioritylevelconfigurations/{name}")).await.expect(200);
        assert_eq!(object["spec"]["limited"]["nominalConcurrencyShares"], shares, "{name}");
    }
}
