//! The protobuf form of every kind, held against what Kubernetes' own library writes for the same manifests.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use apimachinery::decode;
use apimachinery::gvk::Gvk;
use apimachinery::protobuf::{self, Encoder, Envelope, envelope};
use apimachinery::schema::{self, SchemaRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;

/// Every golden manifest as it is written, with its schema.
fn manifests() -> Vec<(String, Value, SchemaRef)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/fixtures");
    let mut manifests: Vec<_> = std::fs::read_dir(fixtures)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let object = decode::yaml(&std::fs::read(&path).unwrap()).unwrap().value;
            let schema = api::schema::schema_for(&identity(&object)).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), object, schema)
        })
        .collect();
    manifests.sort_by(|a, b| a.0.cmp(&b.0));
    manifests
}

fn identity(object: &Value) -> Gvk {
    let text = |field: &str| object[field].as_str().unwrap();
    Gvk::from_api_version(text("apiVersion"), text("kind").to_owned())
}

fn encode(object: &Value, schema: &SchemaRef) -> Vec<u8> {
    let json = serde_json::to_vec(object).unwrap();
    Encoder::default().message(schema.node(), &json).unwrap().to_vec()
}

#[test]
fn every_manifest_is_encoded_as_kubernetes_encodes_it() {
    let golden = include_str!("protobuf.txt");
    let golden: Vec<(&str, &str)> = golden.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut compared = 0;
    for (name, object, schema) in manifests() {
        let Some((_, expected)) = golden.iter().find(|(of, _)| *of == name) else {
            // That library does not hold the aggregator's kinds.
            assert_eq!(name, "apiregistration.k8s.io_apiservice");
            continue;
        };
        let gvk = identity(&object);
        let body = envelope::seal(&gvk.api_version(), &gvk.kind, &encode(&object, &schema));
        assert_eq!(STANDARD.encode(body), *expected, "{name}");
        compared += 1;
    }
    assert_eq!(compared, golden.iter().filter(|(name, _)| *name != "#").count());
}

#[test]
fn every_manifest_comes_back_from_its_message() {
    for (name, mut object, schema) in manifests() {
        schema::prune(&schema, &mut object).unwrap();
        let raw = encode(&object, &schema);
        let mut back = protobuf::decode(&schema, &Envelope { gvk: identity(&object), raw: &raw }).unwrap();
        schema::prune(&schema, &mut back).unwrap();
        let bytes = encode(&back, &schema);
        assert_eq!(bytes, raw, "{name}");
        assert_eq!(without_nothing(back), without_nothing(object), "{name}");
    }
}

/// Without what JSON can leave out or say as zero, which is the same.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, without_nothing(value)));
            Value::Object(kept.filter(|(_, value)| !is_nothing(value)).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nothing).collect(),
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty() || s == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[test]
fn a_zero_that_is_meant_is_told_from_one_that_is_not() {
    let schema = api::schema::schema_for(&Gvk::new("apps", "v1", "Deployment")).unwrap();
    let said = json!({"spec": {"replicas": 0, "minReadySeconds": 0, "paused": false,
        "template": {"spec": {"containers": [{"name": "a", "stdin": false, "securityContext": {"privileged": false}}]}}}});
    let raw = encode(&said, &schema);
    let back = protobuf::decode(&schema, &Envelope { gvk: Gvk::default(), raw: &raw }).unwrap();
    assert_eq!(back["spec"]["replicas"], 0);
    assert_eq!(back["spec"].get("minReadySeconds"), None);
    assert_eq!(back["spec"].get("paused"), None);
    let container = &back["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container.get("stdin"), None);
    assert_eq!(container["securityContext"]["privileged"], false);
}

#[test]
fn the_order_of_the_json_does_not_show() {
    let schema = api::schema::schema_for(&Gvk::new("", "v1", "Pod")).unwrap();
    let encode = |json: &str| Encoder::default().message(schema.node(), json.as_bytes()).unwrap().to_vec();
    let one = encode(
        r#"{"metadata":{"name":"a","uid":"u"},"spec":{"nodeName":"n","hostNetwork":true},"unknown":[{}]}"#,
    );
    let other =
        encode(r#" {"spec" : {"hostNetwork":true, "nodeName":"n"}, "metadata":{"uid":"u","name":"a"} } "#);
    assert_eq!(one, other);
}

#[test]
fn json_that_does_not_fit_is_an_error() {
    let schema = api::schema::schema_for(&Gvk::new("", "v1", "Pod")).unwrap();
    for json in [
        "",
        "[]",
        r#"{"spec":1}"#,
        r#"{"spec":{"nodeName":1}}"#,
        r#"{"spec":{"containers":{}}}"#,
        r#"{"spec":{"priority":"x"}}"#,
        r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
        r#"{"metadata":{"name":"a"}"#,
        r#"{"metadata":{"name":"a"}}}"#,
    ] {
        assert!(Encoder::default().message(schema.node(), json.as_bytes()).is_err(), "{json}");
    }
}
