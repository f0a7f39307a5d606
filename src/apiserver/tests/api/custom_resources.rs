//! Custom resources: from a definition to its objects, through everything that built-in resources have.

mod conversion;

use crate::support::Events;
use serde_json::{Value, json};
use testkit::{TestServer, eventually};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "minimum": 1},
            "color": {"type": "string", "default": "red"},
            "replicas": {"type": "integer"},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "port": {"type": "integer"}}}}}},
        "status": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "selector": {"type": "string"}, "phase": {"type": "string"}}}}})
}

fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema()},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1}],
        "selectableFields": [{"jsonPath": ".spec.color"}]})
}

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [version("v1", true)]}})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

fn condition(definition: &Value, kind: &str) -> Option<Value> {
    let conditions = definition["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind).cloned()
}

async fn established(server: &TestServer, name: &str) -> Value {
    eventually("the definition is established", async || {
        let definition = server.get(&format!("{DEFINITIONS}/{name}")).await.expect(200);
        (condition(&definition, "Established")?["status"] == "True").then_some(definition)
    })
    .await
}

async fn define(server: &TestServer, definition: &Value) -> Value {
    server.post(DEFINITIONS, definition).await.expect(201);
    established(server, definition["metadata"]["name"].as_str().unwrap()).await
}

async fn with_widgets() -> TestServer {
    let server = TestServer::start().await;
    define(&server, &definition()).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_established_and_discovered() {
    let server = TestServer::start().await;
    assert_eq!(server.get(WIDGETS).await.code, 404);
    let definition = define(&server, &definition()).await;
    assert_eq!(condition(&definition, "NamesAccepted").unwrap()["reason"], "NoConflicts");
    assert_eq!(definition["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(definition["status"]["acceptedNames"]["singular"], "widget");
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    let list = server.get("/apis/example.com/v1").await.expect(200);
    let resources = list["resources"].as_array().unwrap();
    let names: Vec<&str> = resources.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    assert_eq!(resources[0]["shortNames"], json!(["wd"]));
    assert_eq!(resources[0]["categories"], json!(["all"]));
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = server.request("GET", "/apis", &[("accept", accept)], &Value::Null).await.expect(200);
    assert!(all["items"].as_array().unwrap().iter().any(|group| group["metadata"]["name"] == "example.com"));
    assert_eq!(server.get(WIDGETS).await.expect(200)["kind"], "WidgetList");
    let server = server.restart().await;
    assert_eq!(server.get(WIDGETS).await.expect(200)["kind"], "WidgetList");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_through_the_pipeline() {
    let server = with_widgets().await;
    let sent = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"},
        "spec": {"size": 1, "unknown": 1}, "status": {"phase": "no"}});
    let answer = server.post(WIDGETS, &sent).await;
    assert!(answer.warnings()[0].contains("unknown field \\\"spec.unknown\\\""), "{:?}", answer.warnings());
    let made = answer.expect(201);
    assert_eq!(made["spec"], json!({"size": 1, "color": "red"}));
    assert_eq!(made["metadata"]["generation"], 1);
    assert!(made.get("status").is_none());
    let strict = server.post(&format!("{WIDGETS}?fieldValidation=Strict"), &sent).await;
    assert_eq!(strict.code, 400);
    assert!(
        strict.message().contains("strict decoding error: unknown field \"spec.unknown\""),
        "{}",
        strict.message()
    );
    let wrong = server.post(WIDGETS, &widget("b", json!({"size": "x"}))).await;
    assert_eq!(wrong.code, 422, "{}", wrong.text());
    assert!(wrong.message().contains("spec.size: Invalid value: \"string\""), "{}", wrong.message());
    let small = server.post(WIDGETS, &widget("b", json!({"size": 0}))).await;
    assert_eq!(small.code, 422, "{}", small.text());
    let unsaid = server.post(WIDGETS, &json!({"metadata": {"name": "b"}})).await;
    assert_eq!((unsaid.code, unsaid.message().contains("Object 'Kind' is missing")), (400, true));
    let unconditional = server.put(&format!("{WIDGETS}/a"), &widget("a", json!({"size": 2}))).await;
    assert_eq!(unconditional.code, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn generation_counts_the_spec_and_status_is_apart() {
    let server = with_widgets().await;
    let uri = format!("{WIDGETS}/a");
    server.post(WIDGETS, &widget("a", json!({"size": 1}))).await.expect(201);
    let labelled =
        server.patch("merge", &uri, &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(labelled["metadata"]["generation"], 1);
    let sized = server.patch("merge", &uri, &json!({"spec": {"size": 2}, "status": {"phase": "x"}})).await;
    let sized = sized.expect(200);
    assert_eq!(sized["metadata"]["generation"], 2);
    assert!(sized.get("status").is_none());
    let told = json!({"metadata": {"labels": {"c": "d"}}, "spec": {"size": 9}, "status": {"phase": "Ready"}});
    let status = server.patch("merge", &format!("{uri}/status"), &told).await.expect(200);
    assert_eq!(status["metadata"]["generation"], 2);
    assert_eq!(status["spec"]["size"], 2);
    assert_eq!(status["status"], json!({"phase": "Ready"}));
    assert_eq!(status["metadata"]["labels"], json!({"a": "b"}));
    let refused = server.patch("strategic-merge", &uri, &json!({"spec": {"size": 3}})).await;
    assert_eq!(refused.code, 415);
    assert!(!refused.message().contains("strategic"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_merges_by_keys() {
    let server = with_widgets().await;
    let apply = async |manager: &str, port: &str| {
        let config = widget("a", json!({"ports": [{"name": port, "port": 1}]}));
        server.patch("apply", &format!("{WIDGETS}/a?fieldManager={manager}"), &config).await
    };
    apply("one", "http").await.expect(201);
    let both = apply("two", "https").await.expect(200);
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 2);
    assert_eq!(both["metadata"]["managedFields"].as_array().unwrap().len(), 2);
    let taken = widget("a", json!({"ports": [{"name": "http", "port": 2}]}));
    let conflict = server.patch("apply", &format!("{WIDGETS}/a?fieldManager=two"), &taken).await;
    assert_eq!(conflict.code, 409);
    assert!(
        conflict.message().contains("conflict with \"one\": .spec.ports[name=\"http\"].port"),
        "{}",
        conflict.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_finds_its_numbers_by_paths() {
    let server = with_widgets().await;
    let scale = format!("{WIDGETS}/a/scale");
    server.post(WIDGETS, &widget("a", json!({"size": 1}))).await.expect(201);
    let missing = server.get(&scale).await;
    assert_eq!(missing.code, 500);
    assert!(missing.message().contains("the spec replicas field \".spec.replicas\" does not exist"));
    let status = json!({"status": {"replicas": 1, "selector": "app=a"}});
    server.patch("merge", &format!("{WIDGETS}/a/status"), &status).await.expect(200);
    server.patch("merge", &scale, &json!({"spec": {"replicas": 3}})).await.expect(200);
    let now = server.get(&scale).await.expect(200);
    assert_eq!(
        (&now["spec"]["replicas"], &now["status"]),
        (&json!(3), &json!({"replicas": 1, "selector": "app=a"}))
    );
    let widget = server.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!((&widget["spec"]["replicas"], &widget["metadata"]["generation"]), (&json!(3), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_metadata_and_selectors_are_those_of_the_definition() {
    let server = with_widgets().await;
    server.post(WIDGETS, &widget("a", json!({"size": 1, "color": "blue"}))).await.expect(201);
    server.post(WIDGETS, &widget("b", json!({"size": 2}))).await.expect(201);
    let get = async |accept: &str| server.request("GET", WIDGETS, &[("accept", accept)], &Value::Null).await;
    let table = get("application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Size", "Color"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 1, "blue"]));
    let partial = get("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await.expect(200);
    assert!(partial["items"][0].get("spec").is_none());
    assert_eq!(get("application/vnd.kubernetes.protobuf").await.code, 406);
    let blue = server.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue")).await.expect(200);
    assert_eq!(blue["items"].as_array().unwrap().len(), 1);
    let other = server.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D1")).await;
    assert_eq!((other.code, other.message()), (400, "field label not supported: spec.size".to_owned()));
    let gone = server.delete(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue"), &Value::Null).await;
    assert_eq!(gone.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.get(WIDGETS).await.expect(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_others_are_not_accepted_until_they_are_free() {
    let server = with_widgets().await;
    let mut other = definition();
    other["metadata"]["name"] = json!("gadgets.example.com");
    other["spec"]["names"] =
        json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["wd"]});
    server.post(DEFINITIONS, &other).await.expect(201);
    let refused = eventually("the names are refused", async || {
        let other = server.get(&format!("{DEFINITIONS}/gadgets.example.com")).await.expect(200);
        condition(&other, "NamesAccepted")
    });
    let refused = refused.await;
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("False"), &json!("ShortNamesConflict")));
    assert_eq!(refused["message"], "\"wd\" is already in use");
    assert_eq!(server.get("/apis/example.com/v1/gadgets").await.code, 404);
    server.delete(&format!("{DEFINITIONS}/widgets.example.com"), &Value::Null).await.expect(200);
    established(&server, "gadgets.example.com").await;
    assert_eq!(server.get("/apis/example.com/v1/gadgets").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_after_its_objects_and_ends_their_watches() {
    let server = with_widgets().await;
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.post(WIDGETS, &held).await.expect(201);
    server.post(WIDGETS, &widget("free", json!({"size": 1}))).await.expect(201);
    let list = server.get(WIDGETS).await.expect(200);
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let uri = format!("{DEFINITIONS}/widgets.example.com");
    let going = server.delete(&uri, &Value::Null).await.expect(200);
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(condition(&going, "Terminating").unwrap()["reason"], "InstanceDeletionPending");
    eventually("only what is held is left", async || {
        let left = server.get(WIDGETS).await.expect(200)["items"].as_array()?.len();
        (left == 1).then_some(())
    })
    .await;
    let refused = server.post(WIDGETS, &widget("late", json!({"size": 1}))).await;
    assert_eq!(refused.code, 405);
    assert_eq!(refused.message(), "create not allowed while custom resource definition is terminating");
    let apply = async |name: &str| {
        let uri = format!("{WIDGETS}/{name}?fieldManager=m");
        server.patch("apply", &uri, &widget(name, json!({"size": 1}))).await
    };
    let applied = apply("late").await;
    assert_eq!((applied.code, applied.message()), (405, refused.message()));
    apply("held").await.expect(200);
    let mut events = Events::open(&server, &format!("{WIDGETS}?watch=1&resourceVersion={from}"), &[]).await;
    let free = json!({"metadata": {"finalizers": null}});
    server.patch("merge", &format!("{WIDGETS}/held"), &free).await.expect(200);
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push((event["type"].as_str().unwrap().to_owned(), event["object"]["metadata"]["name"].clone()));
    }
    assert_eq!(seen.last().unwrap(), &("DELETED".to_owned(), json!("held")));
    eventually("the definition is gone", async || (server.get(&uri).await.code == 404).then_some(())).await;
    eventually("nothing is served", async || (server.get(WIDGETS).await.code == 404).then_some(())).await;
    define(&server, &definition()).await;
    assert_eq!(server.get(WIDGETS).await.expect(200)["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_without_a_webhook_differ_in_name_and_schema() {
    let server = with_widgets().await;
    server.post(WIDGETS, &widget("old", json!({"size": 1}))).await.expect(201);
    let uri = format!("{DEFINITIONS}/widgets.example.com");
    let mut changed = server.get(&uri).await.expect(200);
    let mut v2 = version("v2", true);
    v2["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["weight"] =
        json!({"type": "integer", "default": 7});
    changed["spec"]["versions"] = json!([version("v1", false), v2]);
    let from =
        server.get(WIDGETS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = Events::open(&server, &format!("{WIDGETS}?watch=1&resourceVersion={from}"), &[]).await;
    let changed = server.put(&uri, &changed).await.expect(200);
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    assert!(watch.next().await.is_none(), "the watch ends when the definition changes");
    let v2 = "/apis/example.com/v2/namespaces/default/widgets";
    let old = eventually("v2 is served", async || {
        let answer = server.get(&format!("{v2}/old")).await;
        (answer.code == 200).then(|| answer.json())
    })
    .await;
    assert_eq!((&old["apiVersion"], &old["spec"]["size"]), (&json!("example.com/v2"), &json!(1)));
    let mut new = widget("new", json!({"size": 2}));
    new["apiVersion"] = json!("example.com/v2");
    assert_eq!(server.post(v2, &new).await.expect(201)["spec"]["weight"], 7);
    let as_v1 = server.get(&format!("{WIDGETS}/new")).await.expect(200);
    assert_eq!(as_v1["apiVersion"], "example.com/v1");
    assert_eq!(as_v1["spec"], json!({"size": 2, "color": "red"}));
    let mut watch = Events::open(&server, &format!("{WIDGETS}?watch=1&resourceVersion={from}"), &[]).await;
    assert_eq!(watch.next().await.unwrap()["object"]["apiVersion"], "example.com/v1");
    // A write moves an object to the version that is stored now.
    let moved = server.patch("merge", &format!("{WIDGETS}/old"), &json!({})).await.expect(200);
    assert_eq!(
        (&moved["apiVersion"], &moved["metadata"]["generation"]),
        (&json!("example.com/v1"), &json!(1))
    );
    assert_ne!(moved["metadata"]["resourceVersion"], old["metadata"]["resourceVersion"]);
    let again = server.patch("merge", &format!("{WIDGETS}/old"), &json!({})).await.expect(200);
    assert_eq!(moved["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_defaults_show_on_old_objects() {
    let server = with_widgets().await;
    server.post(WIDGETS, &widget("old", json!({"size": 1}))).await.expect(201);
    let add = json!([{"op": "add",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/weight",
        "value": {"type": "integer", "default": 7}}]);
    server.patch("json", &format!("{DEFINITIONS}/widgets.example.com"), &add).await.expect(200);
    eventually("the default shows", async || {
        let list = server.get(WIDGETS).await.expect(200);
        (list["items"][0]["spec"]["weight"] == 7).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_tells_of_custom_resources() {
    let server = with_widgets().await;
    let document = server.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(
        widget["x-kubernetes-group-version-kind"],
        json!([{"group": "example.com", "version": "v1", "kind": "Widget"}])
    );
    assert_eq!(
        widget["properties"]["spec"]["properties"]["color"],
        json!({"type": "string", "default": "red"})
    );
    assert!(widget["properties"]["metadata"].to_string().contains("ObjectMeta"));
    assert!(document["components"]["schemas"].get("com.example.v1.WidgetList").is_some());
    assert!(
        document["paths"].get("/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/scale").is_some()
    );
    let v2 = server.get("/openapi/v2").await.expect(200);
    assert_eq!(v2["definitions"]["com.example.v1.Widget"]["type"], "object");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_what_a_field_selects_hold_what_they_may() {
    let server = with_widgets().await;
    for n in 0..7 {
        let color = if n % 2 == 0 { "blue" } else { "red" };
        let mut one = widget(&format!("w{n}"), json!({"size": 1, "color": color}));
        one["metadata"]["labels"] = json!({"part": if n < 6 { "a" } else { "b" }});
        server.post(WIDGETS, &one).await.expect(201);
    }
    let query = "fieldSelector=spec.color%3Dblue&labelSelector=part%3Da&limit=2";
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = server.get(&format!("{WIDGETS}?{query}")).await.expect(200);
    assert_eq!(names(&first), ["w0", "w2"]);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{WIDGETS}?{query}&continue={token}")).await.expect(200);
    assert_eq!((names(&second), second["metadata"].get("continue")), (vec!["w4".to_owned()], None));
    let mut events =
        Events::open(&server, &format!("{WIDGETS}?watch=1&fieldSelector=spec.color%3Dred"), &[]).await;
    for name in ["w1", "w3", "w5"] {
        assert_eq!(events.next().await.unwrap()["object"]["metadata"]["name"], name);
    }
}
