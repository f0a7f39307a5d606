//! Conversion between the versions of a custom resource by a webhook.

use super::{WIDGETS, define, definition, widget};
use crate::support::Events;
use futures::FutureExt;
use serde_json::{Value, json};
use testkit::{HttpsServer, TestServer, json_response};

/// Converts by renaming `spec.size` of v1 to `spec.weight` of v2 and back, and labels with the form; refuses objects of the name `stubborn`.
async fn converter() -> HttpsServer {
    HttpsServer::start(&[], |request| {
        async move {
            let review: Value = serde_json::from_slice(request.body()).unwrap();
            let to = review["request"]["desiredAPIVersion"].clone();
            let mut objects = review["request"]["objects"].as_array().unwrap().clone();
            let mut result = json!({"status": "Success"});
            for object in &mut objects {
                let (old, new) = if to == "example.com/v2" { ("size", "weight") } else { ("weight", "size") };
                if object["metadata"]["name"] == "stubborn" && to == "example.com/v2" {
                    result = json!({"status": "Failure", "message": "it does not want to"});
                }
                if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
                    && let Some(value) = spec.remove(old)
                {
                    spec.insert(new.to_owned(), value);
                }
                object["apiVersion"] = to.clone();
                object["metadata"]["generation"] = json!(99);
                object["metadata"]["labels"]["form"] = if new == "weight" { json!("v2") } else { json!("v1") };
            }
            json_response(&json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
                "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": objects}}))
        }
        .boxed()
    })
    .await
}

fn converted_definition(converter: &HttpsServer) -> Value {
    let spec = |field: &str| json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {field: {"type": "integer"}}}}});
    let version = |name: &str, storage: bool, field: &str| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": spec(field)}});
    let mut definition = definition();
    definition["spec"]["versions"] = json!([version("v1", true, "size"), version("v2", false, "weight")]);
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {"url": converter.url("/convert"), "caBundle": converter.bundle()}}});
    definition
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_converts_reads_writes_lists_and_watches() {
    let (server, converter) = (TestServer::start().await, converter().await);
    define(&server, &converted_definition(&converter)).await;
    let v2 = "/apis/example.com/v2/namespaces/default/widgets";
    let from = server.get(v2).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = Events::open(&server, &format!("{v2}?watch=1&resourceVersion={from}"), &[]).await;
    server.post(WIDGETS, &widget("a", json!({"size": 1}))).await.expect(201);
    let seen = watch.next().await.unwrap();
    assert_eq!((&seen["type"], &seen["object"]["spec"]), (&json!("ADDED"), &json!({"weight": 1})));
    let read = server.get(&format!("{v2}/a")).await.expect(200);
    assert_eq!((&read["spec"], &read["metadata"]["generation"]), (&json!({"weight": 1}), &json!(1)));
    let mut new = widget("b", json!({"weight": 2}));
    new["apiVersion"] = json!("example.com/v2");
    assert_eq!(server.post(v2, &new).await.expect(201)["spec"], json!({"weight": 2}));
    assert_eq!(server.get(&format!("{WIDGETS}/b")).await.expect(200)["spec"], json!({"size": 2}));
    let patched =
        server.patch("merge", &format!("{v2}/a"), &json!({"spec": {"weight": 5}})).await.expect(200);
    assert_eq!((&patched["spec"], &patched["metadata"]["generation"]), (&json!({"weight": 5}), &json!(2)));
    let list = server.get(v2).await.expect(200);
    let weights: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|o| &o["spec"]["weight"]).collect();
    assert_eq!(weights, [&json!(5), &json!(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_manages_a_field_of_another_version_is_found_by_converting() {
    let (server, converter) = (TestServer::start().await, converter().await);
    define(&server, &converted_definition(&converter)).await;
    let apply = async |manager: &str, version: &str, spec: Value| {
        let mut config = widget("a", spec);
        config["apiVersion"] = json!(format!("example.com/{version}"));
        let uri = format!("/apis/example.com/{version}/namespaces/default/widgets/a?fieldManager={manager}");
        server.patch("apply", &uri, &config).await
    };
    let fields = |object: &Value, manager: &str| {
        let entries = object["metadata"]["managedFields"].as_array().unwrap().clone();
        entries
            .into_iter()
            .find(|entry| entry["manager"] == manager)
            .map(|entry| entry["fieldsV1"]["f:spec"].clone())
    };
    apply("one", "v1", json!({"size": 1})).await.expect(201);
    // The same value by its other name is no conflict, another one is.
    let both = apply("two", "v2", json!({"weight": 1})).await.expect(200);
    assert_eq!(fields(&both, "one"), Some(json!({"f:size": {}})));
    assert_eq!(fields(&both, "two"), Some(json!({"f:weight": {}})));
    let refused = apply("three", "v2", json!({"weight": 2})).await;
    assert_eq!(refused.code, 409);
    let causes = refused.json()["details"]["causes"].as_array().unwrap().clone();
    let named: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(named, [".spec.size", ".spec.weight"]);
    // A write by other means takes the field from managers of both versions.
    let v2 = "/apis/example.com/v2/namespaces/default/widgets/a?fieldManager=editor";
    let patched = server.patch("merge", v2, &json!({"spec": {"weight": 5}})).await.expect(200);
    assert_eq!((fields(&patched, "one"), fields(&patched, "two")), (None, None));
    assert_eq!(fields(&patched, "editor"), Some(json!({"f:weight": {}})));
    // Who changes the version leaves behind nothing of the last one.
    let forced = format!("{WIDGETS}/a?fieldManager=one&force=true");
    server.patch("apply", &forced, &widget("a", json!({"size": 7}))).await.expect(200);
    let left = apply("one", "v2", json!({})).await.expect(200);
    assert!(left.pointer("/spec/weight").is_none(), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_converted_is_selected_as_it_is_shown() {
    let (server, converter) = (TestServer::start().await, converter().await);
    let mut definition = converted_definition(&converter);
    definition["spec"]["versions"][1]["selectableFields"] = json!([{"jsonPath": ".spec.weight"}]);
    define(&server, &definition).await;
    let v2 = "/apis/example.com/v2/namespaces/default/widgets";
    for (name, size) in [("a", 1), ("b", 2), ("c", 2)] {
        let mut one = widget(name, json!({"size": size}));
        one["metadata"]["labels"] = json!({"form": "stored"});
        server.post(WIDGETS, &one).await.expect(201);
    }
    let names = |list: Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    for (uri, expected) in [
        (format!("{v2}?fieldSelector=spec.weight%3D2"), &["b", "c"][..]),
        (format!("{v2}?labelSelector=form%3Dv2"), &["a", "b", "c"]),
        (format!("{v2}?labelSelector=form%3Dstored"), &[]),
        (format!("{WIDGETS}?labelSelector=form%3Dstored"), &["a", "b", "c"]),
    ] {
        assert_eq!(names(server.get(&uri).await.expect(200)), expected, "{uri}");
    }
    let page = server.get(&format!("{v2}?fieldSelector=spec.weight%3D2&limit=1")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(names(page), ["b"]);
    let rest = format!("{v2}?fieldSelector=spec.weight%3D2&limit=1&continue={token}");
    assert_eq!(names(server.get(&rest).await.expect(200)), ["c"]);
    let mut events = Events::open(
        &server,
        &format!("{v2}?watch=1&fieldSelector=spec.weight%3D1&labelSelector=form%3Dv2"),
        &[],
    )
    .await;
    assert_eq!(events.next().await.unwrap()["object"]["metadata"]["name"], "a");
    let grown = json!({"spec": {"size": 3}});
    server.patch("merge", &format!("{WIDGETS}/a"), &grown).await.expect(200);
    assert_eq!(events.next().await.unwrap()["type"], "DELETED");
    server.patch("merge", &format!("{WIDGETS}/b"), &json!({"spec": {"size": 1}})).await.expect(200);
    let seen = events.next().await.unwrap();
    assert_eq!((&seen["type"], &seen["object"]["spec"]), (&json!("ADDED"), &json!({"weight": 1})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_fails_is_told() {
    let (server, converter) = (TestServer::start().await, converter().await);
    define(&server, &converted_definition(&converter)).await;
    server.post(WIDGETS, &widget("stubborn", json!({"size": 1}))).await.expect(201);
    let refused = server.get("/apis/example.com/v2/namespaces/default/widgets/stubborn").await;
    assert_eq!(refused.code, 500);
    let why = "conversion webhook for example.com/v1, Kind=Widget failed: it does not want to";
    assert!(refused.message().contains(why), "{}", refused.message());
}
