//! Changes to objects: patches, and who manages which field.

use super::{JSON_WORDS, body, deployment, schema};
use apimachinery::managedfields::Apply;
use apimachinery::{decode, managedfields, patch};
use serde_json::{Value, json};
use testkit::fuzz::fuzz;

/// `{"doc": ..., "patch": ...}`.
fn patched(bytes: &[u8], apply: impl Fn(&mut Value, &Value) -> bool) -> bool {
    let Ok(decoded) = decode::json(bytes) else { return false };
    let (Some(doc), Some(patch)) = (decoded.value.get("doc"), decoded.value.get("patch")) else {
        return false;
    };
    let mut doc = doc.clone();
    apply(&mut doc, patch)
}

fn pair(patch: &Value) -> String {
    json!({"doc": deployment(), "patch": patch}).to_string()
}

#[test]
fn json_patches() {
    let corpus = [
        pair(&json!([{"op": "test", "path": "/spec/replicas", "value": 2},
            {"op": "add", "path": "/spec/template/spec/containers/-", "value": {}},
            {"op": "move", "from": "/metadata/labels/l", "path": "/metadata/labels/m~1n"}])),
        pair(
            &json!([{"op": "copy", "from": "", "path": "/a"}, {"op": "remove", "path": "/spec/template/spec/containers/0"},
            {"op": "replace", "path": "/metadata", "value": null}]),
        ),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(String::as_bytes).collect();
    let words = ["\"op\":\"copy\"", "/-", "/0", "~0", "~1", "/18446744073709551616", "\"from\":\"\"", "/-1"];
    fuzz(&corpus, &words, |bytes| patched(bytes, |doc, patch| patch::json::apply(doc, patch).is_ok()));
}

#[test]
fn merge_patches() {
    let corpus = pair(&json!({"metadata": {"labels": null}, "spec": {"replicas": 3}, "x": [1]}));
    fuzz(&[corpus.as_bytes()], &JSON_WORDS, |bytes| {
        patched(bytes, |doc, patch| {
            patch::merge::apply(doc, patch);
            let once = doc.clone();
            patch::merge::apply(doc, patch);
            assert_eq!(*doc, once, "a merge patch applied twice is the same as once (RFC 7386)");
            true
        })
    });
}

#[test]
fn strategic_merge_patches() {
    let schema = schema("apps", "v1", "Deployment");
    let corpus = [
        pair(
            &json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}, {"$patch": "delete", "name": "d"}],
            "$setElementOrder/containers": [{"name": "c"}]}}}}),
        ),
        pair(&json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "template": {"spec": {"volumes": [{"$patch": "replace"}, {"name": "w"}]}}}})),
        pair(
            &json!({"metadata": {"finalizers": ["a"], "$deleteFromPrimitiveList/finalizers": ["b"], "labels": {"$patch": "replace"}}}),
        ),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(String::as_bytes).collect();
    fuzz(&corpus, &JSON_WORDS, |bytes| {
        patched(bytes, |doc, patch| patch::strategic::apply(&schema, doc, patch).is_ok())
    });
}

#[test]
fn managed_fields() {
    let schema = schema("apps", "v1", "Deployment");
    let mut corpus = deployment();
    corpus["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}, "f:x": {"v:1": {}, "i:0": {}}}}}]);
    let words = ["\"f:", "\"k:{\\\"name\\\":\\\"c\\\"}\":{", "\"v:", "\"i:-1\":{}", "\".\":{}"];
    let corpus = corpus.to_string();
    fuzz(&[corpus.as_bytes()], &words, |bytes| {
        let Some(live) = body(bytes) else { return false };
        let mut changed = live.clone();
        if !changed.is_object() {
            return false;
        }
        changed["spec"] = deployment()["spec"].clone();
        let now = "2026-01-01T00:00:00Z";
        managedfields::update(&schema, Some(&live), &mut changed, "fuzz", "apps/v1", "", now);
        let how = Apply { manager: "n", force: false, api_version: "apps/v1", subresource: "", now };
        let _ = managedfields::apply(&schema, Some(&changed), live, &how);
        true
    });
}
