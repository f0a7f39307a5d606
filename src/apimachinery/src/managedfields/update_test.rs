//! Tests of tracking writes that are no applies.

use super::super::fixture;
use super::*;

const FIRST: &str = "2024-01-01T00:00:00Z";
const SECOND: &str = "2024-01-02T00:00:00Z";

fn thing(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a", "uid": "u", "labels": {"l": "1"}},
        "spec": spec, "status": {}})
}

fn track(old: Option<&Value>, mut new: Value, manager: &str, subresource: &str, now: &str) -> Value {
    update(&fixture::schema(), old, &mut new, manager, "example.com/v1", subresource, now);
    new
}

fn entries(object: &Value) -> Vec<Value> {
    object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_create_owns_all_but_identity() {
    let object = track(
        None,
        thing(json!({"replicas": 1, "containers": [{"name": "c"}]})),
        "kubectl-create",
        "",
        FIRST,
    );
    assert_eq!(
        entries(&object),
        [
            json!({"manager": "kubectl-create", "operation": "Update", "apiVersion": "example.com/v1", "time": FIRST,
            "fieldsType": "FieldsV1", "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
                "f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}}}})
        ]
    );
}

#[test]
fn a_write_that_changes_nothing_moves_no_time() {
    let object = track(None, thing(json!({"replicas": 1})), "a", "", FIRST);
    assert_eq!(track(Some(&object), object.clone(), "b", "", SECOND), object);
    let mut without = object.clone();
    meta::remove(&mut without, "managedFields");
    assert_eq!(
        track(Some(&object), without, "b", "", SECOND),
        object,
        "a client that forgets them loses nothing"
    );
}

#[test]
fn a_changed_field_passes_to_the_writer() {
    let old = track(None, thing(json!({"replicas": 1, "paused": true})), "a", "", FIRST);
    let mut new = old.clone();
    new["spec"] = json!({"replicas": 2});
    let new = track(Some(&old), new, "b", "", SECOND);
    let entries = entries(&new);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["fieldsV1"], json!({"f:metadata": {"f:labels": {".": {}, "f:l": {}}}}));
    assert_eq!(entries[0]["time"], FIRST);
    assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(entries[1]["time"], SECOND);
}

#[test]
fn a_subresource_has_an_entry_of_its_own() {
    let old = track(None, thing(json!({"replicas": 1})), "a", "", FIRST);
    let mut new = old.clone();
    new["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    new["metadata"]["managedFields"] = json!([{}]);
    let new = track(Some(&old), new, "a", "status", SECOND);
    let entries = entries(&new);
    assert_eq!(entries.len(), 2, "managed fields given to a subresource do not count");
    assert_eq!(entries[1]["subresource"], "status");
    assert_eq!(
        entries[1]["fieldsV1"],
        json!({"f:status": {"f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:type": {}, "f:status": {}}}}})
    );
}

#[test]
fn managed_fields_may_be_edited_and_reset() {
    let old = track(None, thing(json!({"replicas": 1})), "a", "", FIRST);
    let mut edited = old.clone();
    edited["metadata"]["managedFields"][0]["manager"] = "z".into();
    assert_eq!(entries(&track(Some(&old), edited, "b", "", SECOND))[0]["manager"], "z");

    let mut reset = old.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    let reset = track(Some(&old), reset, "b", "", SECOND);
    assert!(entries(&reset).is_empty());
    let mut later = reset.clone();
    later["spec"]["replicas"] = 5.into();
    assert!(entries(&track(Some(&reset), later, "b", "", SECOND)).is_empty());

    let mut broken = old.clone();
    broken["metadata"]["managedFields"] = json!([{"operation": "Guess"}]);
    assert_eq!(entries(&track(Some(&old), broken, "b", "", SECOND)), entries(&old));
}

#[test]
fn an_update_of_another_version_has_an_entry_of_its_own() {
    let old = track(None, thing(json!({"replicas": 1})), "a", "", FIRST);
    let mut new = old.clone();
    new["spec"]["paused"] = true.into();
    update(&fixture::schema(), Some(&old), &mut new, "a", "example.com/v2", "", SECOND);
    assert_eq!(entries(&new).len(), 2);
}
