//! The forms of bodies and answers: protobuf, YAML, indentation, and what cannot be had.

use apimachinery::gvk::Gvk;
use apimachinery::protobuf::wire::{Entries, Wire};
use apimachinery::protobuf::{self, Encoder, envelope};
use apiserver::authentication::UserInfo;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Answer, TestServer};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What client-go sends.
const CLIENT_GO: [(&str, &str); 1] = [("accept", "application/vnd.kubernetes.protobuf,application/json")];

/// The tree of a protobuf body.
fn decode(body: &[u8]) -> Value {
    let mut envelope = protobuf::open(body).unwrap();
    let said = envelope.gvk.clone();
    if envelope.gvk.version.is_empty() {
        envelope.gvk.version = "v1".to_owned();
    }
    let schema = api::schema::schema_for(&envelope.gvk).unwrap();
    envelope.gvk = said;
    protobuf::decode(&schema, &envelope).unwrap()
}

/// An object as a protobuf body.
fn encode(object: &Value) -> Vec<u8> {
    let text = |field: &str| object[field].as_str().unwrap();
    let gvk = Gvk::from_api_version(text("apiVersion"), text("kind").to_owned());
    let schema = api::schema::schema_for(&gvk).unwrap();
    let raw = Encoder::default().message(schema.node(), object.to_string().as_bytes()).unwrap().to_vec();
    envelope::seal(text("apiVersion"), text("kind"), &raw)
}

trait AsProtobuf {
    fn protobuf(&self, code: u16) -> Value;
}

impl AsProtobuf for Answer {
    #[track_caller]
    fn protobuf(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text());
        assert_eq!(self.headers["content-type"], PROTOBUF);
        decode(&self.bytes)
    }
}

async fn get(server: &TestServer, uri: &str, accept: &str) -> Answer {
    server.request("GET", uri, &[("accept", accept)], &Value::Null).await
}

async fn send(server: &TestServer, method: &str, uri: &str, object: &Value) -> Answer {
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    server.request_as(Some(UserInfo::admin()), method, uri, &headers, encode(object)).await
}

/// Without what protobuf tells apart from JSON: items of lists do not say what they are.
fn without_item_types(mut list: Value) -> Value {
    for item in list["items"].as_array_mut().unwrap() {
        let item = item.as_object_mut().unwrap();
        item.remove("kind");
        item.remove("apiVersion");
    }
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_written_and_read_as_protobuf() {
    let server = TestServer::start().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"app": "x"}},
        "spec": {"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                "readinessProbe": {"httpGet": {"port": "http"}},
                "resources": {"limits": {"cpu": "100m"}, "requests": {"memory": "64Mi"}}}],
            "volumes": [{"name": "v", "emptyDir": {}}]}});
    let pods = "/api/v1/namespaces/default/pods";
    server
        .post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    let created = send(&server, "POST", pods, &pod).await.protobuf(201);
    let stored = server.get(&format!("{pods}/a")).await.expect(200);
    assert_eq!(created, stored);
    assert_eq!(stored["spec"]["terminationGracePeriodSeconds"], 0);
    assert_eq!(stored["spec"]["volumes"][0]["emptyDir"], json!({}));
    assert_eq!(get(&server, &format!("{pods}/a"), PROTOBUF).await.protobuf(200), stored);
    let mut changed = stored.clone();
    changed["metadata"]["labels"]["app"] = json!("y");
    let updated = send(&server, "PUT", &format!("{pods}/a"), &changed).await.protobuf(200);
    assert_eq!(updated["metadata"]["labels"]["app"], "y");
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
        "preconditions": {"uid": "another"}});
    let refused = send(&server, "DELETE", &format!("{pods}/a"), &options).await.protobuf(409);
    assert_eq!((&refused["kind"], &refused["reason"]), (&json!("Status"), &json!("Conflict")));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    send(&server, "DELETE", &format!("{pods}/a"), &options).await.protobuf(200);
    server.get(&format!("{pods}/a")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_the_same_in_both_forms() {
    let server = TestServer::start().await;
    for n in 0..40 {
        // Together they take many frames.
        let data = json!({"k": "x".repeat(5_000)});
        let object = json!({"metadata": {"name": format!("m-{n:02}")}, "data": data});
        server.post(MAPS, &object).await.expect(201);
    }
    for query in ["", "?limit=7", "?labelSelector=none"] {
        let uri = format!("{MAPS}{query}");
        let plain = server.get(&uri).await.expect(200);
        let answer = get(&server, &uri, CLIENT_GO[0].1).await;
        assert_eq!(answer.headers["content-length"], answer.bytes.len().to_string());
        let list = answer.protobuf(200);
        assert_eq!(list["kind"], "ConfigMapList");
        if plain["items"].as_array().is_some_and(|items| !items.is_empty()) {
            assert_eq!(list, without_item_types(plain));
        }
    }
    let headers = [CLIENT_GO[0], ("accept-encoding", "gzip")];
    let packed = server.request("GET", MAPS, &headers, &Value::Null).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_converted_on_the_way() {
    let server = TestServer::start().await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Why",
        "message": "because", "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}});
    server.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    let uri = "/apis/events.k8s.io/v1/namespaces/default/events/e";
    let event = get(&server, uri, PROTOBUF).await.protobuf(200);
    assert_eq!((&event["note"], &event["apiVersion"]), (&json!("because"), &json!("events.k8s.io/v1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_metadata_has_a_protobuf_form_and_tables_have_none() {
    let server = TestServer::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.expect(201);
    let bare = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let one = get(&server, &format!("{MAPS}/a"), &bare).await.protobuf(200);
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("a")));
    let list = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let list = get(&server, MAPS, &list).await.protobuf(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let refused = get(&server, MAPS, &table).await;
    refused.expect(406);
    assert_eq!(
        refused.message(),
        "only the following media types are accepted: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf"
    );
    let either = format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(get(&server, MAPS, &either).await.expect(200)["kind"], "Table");
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_and_reviews_speak_protobuf() {
    let server = TestServer::start().await;
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    server.post(deployments, &json!({"metadata": {"name": "web"}, "spec": spec})).await.expect(201);
    let uri = format!("{deployments}/web/scale");
    let mut scale = get(&server, &uri, PROTOBUF).await.protobuf(200);
    assert_eq!(scale["kind"], "Scale");
    scale["spec"] = json!({"replicas": 3});
    let scale = send(&server, "PUT", &uri, &scale).await.protobuf(200);
    assert_eq!(scale["spec"]["replicas"], 3);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(send(&server, "POST", uri, &review).await.protobuf(201)["status"]["allowed"], true);
    server.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "s"}})).await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 600}});
    let uri = "/api/v1/namespaces/default/serviceaccounts/s/token";
    let token = send(&server, "POST", uri, &request).await.protobuf(201);
    assert!(token["status"]["token"].as_str().is_some_and(|t| t.split('.').count() == 3), "{token}");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_speaks_protobuf() {
    let server = TestServer::start().await;
    let resources = get(&server, "/api/v1", PROTOBUF).await.protobuf(200);
    let pods = resources["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods").unwrap();
    assert!(pods["verbs"].as_array().unwrap().contains(&json!("watch")), "{pods}");
    assert_eq!(get(&server, "/apis", PROTOBUF).await.protobuf(200)["kind"], "APIGroupList");
    assert_eq!(get(&server, "/api", PROTOBUF).await.protobuf(200)["versions"], json!(["v1"]));
    assert_eq!(get(&server, "/version", PROTOBUF).await.headers["content-type"], "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_in_the_form_that_was_asked_for() {
    let server = TestServer::start().await;
    let missing = get(&server, &format!("{MAPS}/none"), PROTOBUF).await.protobuf(404);
    assert_eq!((&missing["reason"], &missing["details"]["name"]), (&json!("NotFound"), &json!("none")));
    let yaml = get(&server, &format!("{MAPS}/none"), "application/yaml").await;
    assert_eq!(yaml.code, 404);
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text().contains("reason: NotFound"), "{}", yaml.text());
    get(&server, &format!("{MAPS}/none"), "image/png").await.expect(406);
    get(&server, "/api/v1/nonsense", "image/png").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_unknown_types_are_refused() {
    let server = TestServer::start().await;
    let post = |media: &'static str, body: Vec<u8>| {
        let server = &server;
        async move {
            let headers = [("content-type", media)];
            server.request_as(Some(UserInfo::admin()), "POST", MAPS, &headers, body).await
        }
    };
    let odd = post("text/plain", b"x".to_vec()).await;
    odd.expect(415);
    assert_eq!(
        odd.message(),
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf"
    );
    let yaml = b"metadata:\n  name: a\ndata:\n  k: 'yes'\n".to_vec();
    assert_eq!(post("application/yaml", yaml).await.expect(201)["data"]["k"], "yes");
    post("application/json;charset=utf-8", br#"{"metadata":{"name":"b"}}"#.to_vec()).await.expect(201);
    let no_protobuf = post(PROTOBUF, br#"{"metadata":{"name":"b"}}"#.to_vec()).await;
    no_protobuf.expect(400);
    assert!(no_protobuf.message().ends_with("expected prefix [107 56 115 0]"), "{}", no_protobuf.message());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}});
    post(PROTOBUF, encode(&pod)).await.expect(400);
    // What does not say what it is, is what belongs there.
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}});
    let sealed = encode(&map);
    let raw = protobuf::open(&sealed).unwrap().raw.to_vec();
    assert_eq!(post(PROTOBUF, envelope::seal("", "", &raw)).await.expect(201)["kind"], "ConfigMap");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_indented_answers() {
    let server = TestServer::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let uri = format!("{MAPS}/a");
    let pretty = |answer: Answer| answer.text().starts_with("{\n  ");
    assert!(pretty(server.get(&format!("{uri}?pretty=true")).await));
    let curl = [("user-agent", "curl/8.0")];
    assert!(pretty(server.request("GET", &uri, &curl, &Value::Null).await));
    assert!(!pretty(server.request("GET", &format!("{uri}?pretty=0"), &curl, &Value::Null).await));
    assert!(pretty(server.request("GET", &format!("{uri}?pretty="), &curl, &Value::Null).await));
    assert!(!pretty(server.get(&uri).await));
    let yaml = get(&server, &uri, "application/yaml").await;
    assert!(yaml.text().starts_with("apiVersion: v1\n"), "{}", yaml.text());
}

/// The events of a watch in protobuf.
struct Events {
    body: apiserver::Body,
    buffer: Vec<u8>,
}

impl Events {
    async fn open(server: &TestServer, uri: &str, accept: &str) -> Self {
        let response = server.open(Some(UserInfo::admin()), "GET", uri, &[("accept", accept)], "").await;
        assert_eq!(response.status(), 200);
        let stream = "application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(response.headers()["content-type"], stream);
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((length, rest)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if let Some(event) = rest.get(..length) {
                    let event = event_of(event);
                    self.buffer.drain(..4 + length);
                    return Some(event);
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.unwrap()?;
            self.buffer.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    }
}

/// WatchEvent {type, object: RawExtension {raw: a body}}.
fn event_of(message: &[u8]) -> (String, Value) {
    let fields: Vec<_> = Entries(message).map(Result::unwrap).collect();
    let [(1, Wire::Bytes(kind)), (2, Wire::Bytes(object))] = fields.as_slice() else { panic!("{fields:?}") };
    let raw: Vec<_> = Entries(object).map(Result::unwrap).collect();
    let [(1, Wire::Bytes(body))] = raw.as_slice() else { panic!("{raw:?}") };
    (String::from_utf8(kind.to_vec()).unwrap(), decode(body))
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_come_as_protobuf_in_frames() {
    use storage::Storage;
    let server = TestServer::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a", "labels": {"l": "1"}}})).await.expect(201);
    let uri = format!(
        "{MAPS}?watch=1&labelSelector=l&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    let mut events = Events::open(&server, &uri, CLIENT_GO[0].1).await;
    let mut second = Events::open(&server, &uri, PROTOBUF).await;
    let (kind, object) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &object), ("ADDED", &server.get(&format!("{MAPS}/a")).await.json()));
    let (kind, bookmark) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), bookmark["kind"].as_str()), ("BOOKMARK", Some("ConfigMap")));
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    server.post(MAPS, &json!({"metadata": {"name": "b", "labels": {"l": "1"}}})).await.expect(201);
    server.patch("merge", &format!("{MAPS}/b"), &json!({"metadata": {"labels": null}})).await.expect(200);
    for watch in [&mut events, &mut second] {
        let mut kinds = Vec::new();
        while kinds.last().is_none_or(|(kind, _)| kind != "DELETED") {
            let (kind, object) = watch.next().await.unwrap();
            kinds.push((kind, object["metadata"]["name"].as_str().unwrap_or("").to_owned()));
        }
        let last: Vec<_> = kinds.iter().rev().take(2).collect();
        assert_eq!(last, [&("DELETED".to_owned(), "b".to_owned()), &("ADDED".to_owned(), "b".to_owned())]);
    }
    let bare = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let mut events = Events::open(&server, &format!("{MAPS}?watch=1&labelSelector=l"), &bare).await;
    assert_eq!(events.next().await.unwrap().1["kind"], "PartialObjectMetadata");
    server.datastore.compact(server.datastore.revision()).await.unwrap();
    let mut events = Events::open(&server, &format!("{MAPS}?watch=1&resourceVersion=2"), PROTOBUF).await;
    let (kind, status) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &status["kind"], &status["code"]), ("ERROR", &json!("Status"), &json!(410)));
    assert_eq!(events.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_cannot_be_had_as_yaml() {
    let server = TestServer::start().await;
    let refused = get(&server, &format!("{MAPS}?watch=1"), "application/yaml").await;
    assert_eq!(refused.code, 406);
    assert!(
        refused
            .text()
            .contains("application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch")
    );
}
