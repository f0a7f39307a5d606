//! Tests of server-side apply.

use serde_json::json;

use super::super::{fixture, update};
use super::*;

const NOW: &str = "2024-01-02T00:00:00Z";
const EARLIER: &str = "2024-01-01T00:00:00Z";

fn how<'a>(manager: &'a str, force: bool) -> Apply<'a> {
    Apply { manager, force, api_version: "example.com/v1", subresource: "", now: NOW }
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec})
}

fn applied(live: Option<&Value>, spec: Value, manager: &str) -> Value {
    apply(&fixture::schema(), live, config(spec), &how(manager, false)).unwrap()
}

fn forced(live: &Value, spec: Value, manager: &str) -> Value {
    apply(&fixture::schema(), Some(live), config(spec), &how(manager, true)).unwrap()
}

fn conflict(live: &Value, spec: Value, manager: &str) -> Status {
    apply(&fixture::schema(), Some(live), config(spec), &how(manager, false)).unwrap_err()
}

/// A write by other means: `spec` as a whole.
fn updated(live: &Value, spec: Value, manager: &str) -> Value {
    let mut new = live.clone();
    new["spec"] = spec;
    update(&fixture::schema(), Some(live), &mut new, manager, "example.com/v1", "", NOW);
    new
}

/// A manager's fields.
fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let own = entries.iter().find(|entry| entry["manager"] == manager);
    own.map_or(Value::Null, |entry| entry["fieldsV1"]["f:spec"].clone())
}

#[test]
fn an_object_comes_to_be_with_one_entry() {
    let object = applied(None, json!({"replicas": 3, "containers": [{"name": "c", "image": "i"}]}), "me");
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{"manager": "me", "operation": "Apply", "apiVersion": "example.com/v1", "time": NOW,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {},
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}])
    );
    assert_eq!(object["spec"]["replicas"], 3);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let first = applied(None, json!({"replicas": 3}), "me");
    let later = Apply { now: "2030-01-01T00:00:00Z", ..how("me", false) };
    let again = apply(&fixture::schema(), Some(&first), config(json!({"replicas": 3})), &later).unwrap();
    assert_eq!(again, first);
}

#[test]
fn a_field_that_is_no_longer_applied_goes_unless_somebody_owns_it() {
    let live = applied(None, json!({"replicas": 3, "paused": true, "strategy": {"type": "x"}}), "me");
    let live = applied(Some(&live), json!({"paused": true}), "other");
    let mut live = live;
    // Set by the server, owned by nobody.
    live["spec"]["strategy"]["surge"] = 1.into();
    let live = applied(Some(&live), json!({"args": ["x"]}), "me");
    assert_eq!(live["spec"], json!({"paused": true, "args": ["x"]}));
    assert_eq!(owned(&live, "me"), json!({"f:args": {}}));
}

#[test]
fn who_gives_up_his_last_metadata_takes_nothing_else_of_it_away() {
    let annotated = |annotations: Value| {
        json!({"apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": "a", "annotations": annotations}, "spec": {"replicas": 1}})
    };
    let mut live = apply(&fixture::schema(), None, annotated(json!({"x": "y"})), &how("me", false)).unwrap();
    live["metadata"]["uid"] = "u".into();
    live["metadata"]["resourceVersion"] = "7".into();
    live["metadata"]["finalizers"] = json!(["untracked"]);
    let mut live = applied(Some(&live), json!({"replicas": 1}), "me");
    meta::remove(&mut live, "managedFields");
    assert_eq!(
        live["metadata"],
        json!({"name": "a", "uid": "u", "resourceVersion": "7", "finalizers": ["untracked"]})
    );
}

#[test]
fn items_of_lists_and_sets_go_one_by_one() {
    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let live = applied(None, json!({"containers": [container("a", "1"), container("b", "1")]}), "me");
    let live = applied(Some(&live), json!({"containers": [container("c", "1")]}), "other");
    let live = applied(Some(&live), json!({"containers": [container("b", "2")]}), "me");
    assert_eq!(live["spec"]["containers"], json!([container("b", "2"), container("c", "1")]));
}

#[test]
fn fields_of_an_item_that_others_own_keep_only_what_is_owned() {
    let live = applied(None, json!({"containers": [{"name": "a", "image": "1"}]}), "me");
    let live = applied(
        Some(&live),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}]}]}),
        "other",
    );
    let live = applied(Some(&live), json!({"replicas": 1}), "me");
    assert_eq!(
        live["spec"],
        json!({"replicas": 1, "containers": [{"name": "a", "ports": [{"containerPort": 1}]}]})
    );
}

#[test]
fn a_conflict_names_the_manager_and_the_field() {
    let live = applied(None, json!({"replicas": 3}), "me");
    let status = conflict(&live, json!({"replicas": 4}), "other");
    assert_eq!((status.code, status.reason), (409, Reason::Conflict));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas");
    let causes = status.details.unwrap().causes;
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(causes[0].message, "conflict with \"me\"");
    assert_eq!(causes[0].field, ".spec.replicas");
}

#[test]
fn many_conflicts_are_listed_by_manager() {
    let live = applied(None, json!({"replicas": 3, "containers": [{"name": "a", "image": "1"}]}), "me");
    let live = updated(
        &live,
        json!({"replicas": 3, "paused": true, "containers": [{"name": "a", "image": "1"}]}),
        "editor",
    );
    let status = conflict(
        &live,
        json!({"replicas": 4, "paused": false, "containers": [{"name": "a", "image": "2"}]}),
        "other",
    );
    assert_eq!(
        status.message,
        "Apply failed with 3 conflicts: conflicts with \"editor\" using example.com/v1:\n- .spec.paused\n\
         conflicts with \"me\":\n- .spec.containers[name=\"a\"].image\n- .spec.replicas"
    );
}

#[test]
fn the_same_value_is_shared_and_force_takes_another() {
    let live = applied(None, json!({"replicas": 3}), "me");
    let shared = applied(Some(&live), json!({"replicas": 3}), "other");
    assert_eq!(owned(&shared, "me"), owned(&shared, "other"));
    let live = forced(&shared, json!({"replicas": 5}), "other");
    assert_eq!(live["spec"]["replicas"], 5);
    assert_eq!(owned(&live, "me"), Value::Null);
    assert_eq!(owned(&live, "other"), json!({"f:replicas": {}}));
}

#[test]
fn an_update_takes_what_it_changes_from_an_applier() {
    let live = applied(None, json!({"replicas": 3, "paused": true}), "me");
    let live = updated(&live, json!({"replicas": 4, "paused": true}), "scaler");
    assert_eq!(owned(&live, "me"), json!({"f:paused": {}}));
    let status = conflict(&live, json!({"replicas": 3, "paused": true}), "me");
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"scaler\" using example.com/v1: .spec.replicas"
    );
    // Giving the field up is how an applier leaves it to the other.
    let live = applied(Some(&live), json!({"paused": true}), "me");
    assert_eq!(live["spec"], json!({"replicas": 4, "paused": true}));
}

#[test]
fn an_object_without_managed_fields_belongs_to_before_first_apply() {
    let mut live = config(json!({"replicas": 3, "containers": [{"name": "a", "image": "1"}]}));
    live["metadata"]["uid"] = "u".into();
    let status = conflict(&live, json!({"replicas": 4}), "me");
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using example.com/v1: .spec.replicas"
    );
    let live = applied(Some(&live), json!({"replicas": 3}), "me");
    assert_eq!(
        owned(&live, "before-first-apply"),
        json!({"f:replicas": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}}}})
    );
}

#[test]
fn kubectl_takes_over_what_client_side_apply_left() {
    let last = config(json!({"replicas": 3, "paused": true}));
    let mut created = last.clone();
    created["metadata"]["annotations"] = json!({last_applied::ANNOTATION: last.to_string()});
    update(
        &fixture::schema(),
        None,
        &mut created,
        "kubectl-client-side-apply",
        "example.com/v1",
        "",
        EARLIER,
    );
    assert!(conflict(&created, json!({"replicas": 4}), "someone").is_conflict());
    let live = applied(Some(&created), json!({"replicas": 4}), "kubectl");
    assert_eq!(live["spec"], json!({"replicas": 4, "paused": true}));
    let annotation = meta::annotation(&live, last_applied::ANNOTATION).unwrap();
    let annotation: Value = serde_json::from_str(annotation).unwrap();
    assert_eq!(annotation, config(json!({"replicas": 4})));

    // What somebody changed since is a conflict for kubectl too.
    let live = updated(&created, json!({"replicas": 9, "paused": true}), "scaler");
    let status = conflict(&live, json!({"replicas": 4}), "kubectl");
    assert!(status.message.contains("\"scaler\""), "{}", status.message);
}

#[test]
fn bad_configurations_are_refused() {
    let schema = fixture::schema();
    let status = conflict(&config(json!({})), json!({"foo": 1}), "me");
    assert_eq!(status.code, 500);
    assert_eq!(
        status.message,
        "failed to create typed patch object (/a; example.com/v1, Kind=Thing): .spec.foo: field not declared in schema"
    );
    let mut other = config(json!({}));
    other["apiVersion"] = "example.com/v2".into();
    let status = apply(&schema, None, other, &how("me", false)).unwrap_err();
    assert_eq!(status.code, 400);
    assert!(status.message.starts_with("Incorrect version specified in apply patch."));
    let mut given = config(json!({}));
    given["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let status = apply(&schema, None, given, &how("me", false)).unwrap_err();
    assert_eq!(status.message, "metadata.managedFields must be nil");
}

#[test]
fn each_subresource_has_its_own_entry_and_its_own_fields() {
    let live = applied(None, json!({"replicas": 3}), "me");
    let mut status = config(json!({"replicas": 9}));
    status["status"] = json!({"ready": 1});
    let status_how = Apply { subresource: "status", force: true, ..how("me", false) };
    let live = apply(&fixture::schema(), Some(&live), status, &status_how).unwrap();
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "replicas was forced away from the first entry");
    assert_eq!(entries[0]["subresource"], "status");
    assert_eq!(entries[0]["fieldsV1"], json!({"f:status": {"f:ready": {}}}));
}

/// `v1` has `replicas`; `v2` has twice as many `count`, so that a number tells where it was written.
struct TwoVersions;

impl super::super::versions::Versions for TwoVersions {
    fn differ(&self) -> bool {
        true
    }

    fn convert(&self, object: &Value, to: &str) -> Result<Option<(SchemaRef, Value)>, Pending> {
        const V2: &str = "example.com/v2";
        if !matches!(to, "example.com/v1" | V2) {
            return Ok(None);
        }
        let mut object = object.clone();
        let from = std::mem::replace(&mut object["apiVersion"], json!(to));
        if from != to {
            let (old, new) = if to == V2 { ("replicas", "count") } else { ("count", "replicas") };
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
                && let Some(number) = spec.remove(old).and_then(|number| number.as_i64())
            {
                let number = if to == V2 { number * 2 } else { number / 2 };
                spec.insert(new.to_owned(), json!(number));
            }
        }
        Ok(Some((fixture::schema(), object)))
    }
}

fn applied_to(live: Option<&Value>, version: &str, spec: Value, manager: &str) -> Result<Value, Unfinished> {
    let api_version = format!("example.com/{version}");
    let live = live.map(|live| TwoVersions.convert(live, &api_version).unwrap().unwrap().1);
    let mut config = config(spec);
    config["apiVersion"] = json!(api_version);
    let how = Apply { api_version: &api_version, ..how(manager, false) };
    apply_to_versions(&fixture::schema(), live.as_ref(), config, &how, &TwoVersions)
}

#[test]
fn what_managers_of_other_versions_own_is_compared_in_their_version() {
    let first = applied_to(None, "v1", json!({"replicas": 2, "paused": true}), "one").unwrap();
    // The same number, as the other version has it, is no conflict.
    let second = applied_to(Some(&first), "v2", json!({"count": 4}), "two").unwrap();
    assert_eq!(second["spec"], json!({"count": 4, "paused": true}));
    assert_eq!(owned(&second, "one"), json!({"f:replicas": {}, "f:paused": {}}));
    assert_eq!(owned(&second, "two"), json!({"f:count": {}}));
    // Another one is, with the field as its owner knows it.
    let refused = applied_to(Some(&second), "v2", json!({"count": 6}), "three").unwrap_err();
    let Unfinished::Refused(status) = refused else { panic!("{refused:?}") };
    let fields: Vec<String> = status.details.unwrap().causes.into_iter().map(|cause| cause.field).collect();
    assert_eq!(fields, [".spec.replicas", ".spec.count"]);
    // A write by other means takes it from both.
    let mut new = second.clone();
    new["spec"]["count"] = json!(8);
    let schema = fixture::schema();
    let version = "example.com/v2";
    super::super::update_versions(&schema, Some(&second), &mut new, "me", version, "", NOW, &TwoVersions)
        .unwrap();
    assert_eq!(owned(&new, "one"), json!({"f:paused": {}}));
    let entries = new["metadata"]["managedFields"].as_array().unwrap();
    let managers: Vec<&str> = entries.iter().map(|entry| entry["manager"].as_str().unwrap()).collect();
    assert_eq!(managers, ["one", "me"]);
}

#[test]
fn who_comes_back_with_another_version_leaves_behind_what_was_applied_in_the_last() {
    let first = applied_to(None, "v1", json!({"replicas": 2, "paused": true}), "one").unwrap();
    let moved = applied_to(Some(&first), "v2", json!({"paused": true}), "one").unwrap();
    assert_eq!(moved["spec"], json!({"paused": true}));
    assert_eq!(owned(&moved, "one"), json!({"f:paused": {}}));
    // Not what somebody else owns by then, by whichever name.
    let shared = applied_to(Some(&first), "v2", json!({"count": 4}), "two").unwrap();
    let left = applied_to(Some(&shared), "v1", json!({"paused": true}), "one").unwrap();
    assert_eq!(left["spec"], json!({"replicas": 2, "paused": true}));
    assert_eq!(owned(&left, "two"), json!({"f:count": {}}));
}

#[test]
fn what_was_owned_in_a_version_that_is_gone_is_nobodys() {
    let mut first = applied_to(None, "v1", json!({"replicas": 2}), "one").unwrap();
    first["metadata"]["managedFields"][0]["apiVersion"] = json!("example.com/v0");
    let second = applied_to(Some(&first), "v1", json!({"replicas": 3}), "two").unwrap();
    assert_eq!(second["metadata"]["managedFields"].as_array().unwrap().len(), 1);
}
