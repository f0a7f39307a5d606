//! Tests of strategic merge patch.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::schema::text;

const TABLE: &str = "\
: api.Root
metadata api.Meta 1
spec api.Spec 2
: api.Meta
labels {}string 1
finalizers []string 2 merge
: api.Spec
containers [map:name]api.Container 1 merge=name
strategy api.Strategy 2 retainKeys
selector api.Strategy 3 replace
volumes [map:name]api.Volume 4 merge=name retainKeys
args []string 5
tolerations []api.Container 6
raw RawExtension 7
: api.Container
name string 1
image string 2
env [map:name]api.Env 3 merge=name
args []string 4
: api.Env
name string 1
value string 2
: api.Strategy
type string 1
rolling api.Env 2
: api.Volume
name string 1
a api.Env 2
b api.Env 3
";

fn run(mut doc: Value, patch: Value) -> std::result::Result<Value, Status> {
    let set = Arc::new(text::parse(TABLE).unwrap());
    let id = set.by_name("api.Root").unwrap();
    apply(&SchemaRef::new(set, id), &mut doc, &patch).map(|()| doc)
}

fn merged(doc: Value, patch: Value) -> Value {
    run(doc, patch).unwrap()
}

fn error(doc: Value, patch: Value) -> (u16, String) {
    let status = run(doc, patch).unwrap_err();
    let cause = status.details.and_then(|details| details.causes.into_iter().next());
    (status.code, cause.map_or(status.message, |cause| cause.message))
}

#[test]
fn objects_merge_and_null_removes() {
    assert_eq!(
        merged(
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": null, "c": "3", "d": null}}})
        ),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}}})
    );
}

#[test]
fn lists_merge_by_their_merge_key_and_new_items_come_first() {
    assert_eq!(
        merged(
            json!({"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "x"}]},
                {"name": "b", "image": "1"}]}}),
            json!({"spec": {"containers": [{"name": "c", "image": "2"},
                {"name": "a", "image": null, "env": [{"name": "Y", "value": "y"}]}]}})
        ),
        json!({"spec": {"containers": [{"name": "c", "image": "2"},
            {"name": "a", "env": [{"name": "Y", "value": "y"}, {"name": "X", "value": "x"}]},
            {"name": "b", "image": "1"}]}})
    );
}

#[test]
fn lists_without_a_strategy_are_replaced() {
    assert_eq!(
        merged(
            json!({"spec": {"args": ["a"], "tolerations": [{"name": "a"}]}}),
            json!({"spec": {"args": ["b"], "tolerations": [{"name": "b"}]}})
        ),
        json!({"spec": {"args": ["b"], "tolerations": [{"name": "b"}]}})
    );
}

#[test]
fn items_are_deleted_by_directive() {
    let doc = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    assert_eq!(
        merged(doc.clone(), json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}})),
        json!({"spec": {"containers": [{"name": "b"}]}})
    );
    assert_eq!(
        merged(doc, json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}})),
        json!({"spec": {"containers": [{"name": "z"}]}})
    );
}

#[test]
fn objects_are_replaced_and_deleted_by_directive() {
    let doc = json!({"spec": {"strategy": {"type": "a", "rolling": {"name": "x"}}}});
    assert_eq!(
        merged(doc.clone(), json!({"spec": {"strategy": {"$patch": "replace", "type": "b"}}})),
        json!({"spec": {"strategy": {"type": "b"}}})
    );
    assert_eq!(
        merged(doc.clone(), json!({"spec": {"strategy": {"$patch": "delete"}}})),
        json!({"spec": {"strategy": {}}})
    );
    assert_eq!(
        merged(doc, json!({"spec": {"strategy": {"$patch": "merge", "type": "b"}}})),
        json!({"spec": {"strategy": {"type": "b", "rolling": {"name": "x"}}}})
    );
}

#[test]
fn a_field_with_strategy_replace_is_replaced() {
    assert_eq!(
        merged(
            json!({"spec": {"selector": {"type": "a", "rolling": {"name": "x"}}}}),
            json!({"spec": {"selector": {"type": "b"}}})
        ),
        json!({"spec": {"selector": {"type": "b"}}})
    );
}

#[test]
fn retain_keys_drops_what_is_not_named() {
    let doc = json!({"spec": {"strategy": {"type": "a", "rolling": {"name": "x"}},
        "volumes": [{"name": "v", "a": {"name": "1"}}]}});
    assert_eq!(
        merged(
            doc.clone(),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "b"},
                "volumes": [{"name": "v", "$retainKeys": ["name", "b"], "b": {"name": "2"}}]}})
        ),
        json!({"spec": {"strategy": {"type": "b"}, "volumes": [{"name": "v", "b": {"name": "2"}}]}})
    );
    assert_eq!(
        error(doc, json!({"spec": {"strategy": {"$retainKeys": ["type"], "rolling": {"name": "y"}}}})),
        (422, "patch content doesn't match retainKeys list".to_owned())
    );
}

#[test]
fn scalars_merge_as_a_set_and_are_deleted_by_directive() {
    let doc = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    assert_eq!(
        merged(doc.clone(), json!({"metadata": {"finalizers": ["d", "a"]}})),
        json!({"metadata": {"finalizers": ["d", "a", "b", "c"]}})
    );
    assert_eq!(
        merged(doc.clone(), json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "c", "x"]}})),
        json!({"metadata": {"finalizers": ["b"]}})
    );
    assert_eq!(
        merged(
            doc,
            json!({"metadata": {"$setElementOrder/finalizers": ["c", "d", "b"], "finalizers": ["d"],
                "$deleteFromPrimitiveList/finalizers": ["a"]}})
        ),
        json!({"metadata": {"finalizers": ["c", "d", "b"]}})
    );
}

#[test]
fn an_order_arranges_named_items_and_keeps_the_others_in_place() {
    let doc = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "s"}]}});
    assert_eq!(
        merged(
            doc.clone(),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}],
                "containers": [{"name": "n", "image": "i"}]}})
        ),
        json!({"spec": {"containers": [{"name": "b"}, {"name": "n", "image": "i"}, {"name": "a"}, {"name": "s"}]}})
    );
    let (code, message) = error(
        doc,
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "n"}]}}),
    );
    assert_eq!(code, 400);
    assert!(message.contains("doesn't match $setElementOrder list"), "{message}");
}

#[test]
fn an_order_alone_arranges_what_is_there() {
    assert_eq!(
        merged(
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}})
        ),
        json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}})
    );
}

#[test]
fn new_values_come_without_directives_and_nulls() {
    assert_eq!(
        merged(
            json!({}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "a", "rolling": null},
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "args": ["x"]}, {"name": "b", "$patch": "delete"}]}})
        ),
        json!({"spec": {"strategy": {"type": "a"}, "containers": [{"name": "a", "args": ["x"]}]}})
    );
}

#[test]
fn bad_patches_are_told_as_kubernetes_tells_them() {
    let doc =
        json!({"metadata": {"finalizers": ["a"]}, "spec": {"containers": [{"name": "a"}], "strategy": {}}});
    assert_eq!(
        error(doc.clone(), json!({"spec": {"containers": [{"image": "x"}]}})),
        (400, "map: {\"image\":\"x\"} does not contain declared merge key: name".to_owned())
    );
    assert_eq!(
        error(doc.clone(), json!({"spec": {"strategy": {"$patch": "x"}}})),
        (400, "unknown patch type: \"x\" in map: {}".to_owned())
    );
    assert_eq!(
        error(doc.clone(), json!({"spec": {"strategy": {"$retainKeys": "type"}}})),
        (400, "invalid patch format of retainKeys".to_owned())
    );
    assert_eq!(
        error(doc.clone(), json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}})),
        (400, "invalid patch format of primitive list".to_owned())
    );
    assert_eq!(
        error(doc, json!({"metadata": {"finalizers": [["a"]]}})),
        (422, "lists of lists are not supported".to_owned())
    );
    assert_eq!(error(json!({}), json!([])).1, "invalid JSON document");
}
