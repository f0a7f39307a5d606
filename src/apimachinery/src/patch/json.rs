//! JSON patch (RFC 6902).
//!
//! As Kubernetes has it: a negative index counts from the end, `add` of a missing parent and `remove` of a missing
//! target are errors, and nothing is changed unless every operation succeeds.

use serde_json::{Map, Value};

use super::unprocessable;
use crate::status::{Reason, Status};

/// Most operations in one patch: Kubernetes' own limit against patches that cost more than they weigh.
pub const MAX_OPERATIONS: usize = 10_000;

/// Most bytes that `copy` operations of one patch may add: Kubernetes allows what the body may have (3 MiB), so that
/// repeated doubling cannot exhaust memory.
pub const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// Applies a JSON patch. On an error the document is as it was.
///
/// # Errors
/// 400 if the patch is no list of operations, 413 if it has more than [`MAX_OPERATIONS`], 422 if an operation does
/// not fit the document or a `test` fails.
pub fn apply(doc: &mut Value, patch: &Value) -> Result<(), Status> {
    let Value::Array(operations) = patch else {
        let found = match patch {
            Value::Object(_) => "object",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            Value::Null | Value::Array(_) => "null",
        };
        return Err(Status::bad_request(format!(
            "json: cannot unmarshal {found} into Go value of type jsonpatch.Patch"
        )));
    };
    if operations.len() > MAX_OPERATIONS {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(Status::failure(413, Reason::RequestEntityTooLarge, message));
    }
    let mut changed = doc.clone();
    let mut copied = 0;
    for operation in operations {
        let Value::Object(operation) = operation else {
            return Err(Status::bad_request(
                "json: cannot unmarshal array into Go value of type jsonpatch.Operation",
            ));
        };
        perform(&mut changed, operation, &mut copied).map_err(unprocessable)?;
    }
    *doc = changed;
    Ok(())
}

/// Why a patch could not be applied: the status tells clients no more than that, but for its cause.
pub fn why(status: &Status) -> &str {
    let cause = status.details.as_ref().and_then(|details| details.causes.first());
    cause.map_or(status.message.as_str(), |cause| cause.message.as_str())
}

/// Whether a patch could not be applied because a `test` failed.
pub fn is_failed_test(status: &Status) -> bool {
    why(status).ends_with(TEST_FAILED)
}

/// How the cause of a failed `test` ends.
const TEST_FAILED: &str = "test failed";

fn perform(doc: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Result<(), String> {
    let text = |field: &str| {
        let value = operation.get(field).and_then(Value::as_str);
        value.ok_or_else(|| format!("operation is missing a valid {field:?} field"))
    };
    let value = || operation.get("value").cloned().ok_or_else(|| "operation is missing \"value\"".to_owned());
    let path = text("path")?;
    match text("op")? {
        "add" => add(doc, path, value()?),
        "remove" => remove(doc, path).map(drop),
        "replace" => replace(doc, path, value()?),
        "move" => {
            let from = text("from")?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(format!("cannot move {from} into itself"));
            }
            let moved = remove(doc, from)?;
            add(doc, path, moved)
        }
        "copy" => {
            let from = text("from")?;
            let value = find(doc, from).ok_or_else(|| missing("copy", from))?.clone();
            *copied += value.to_string().len();
            if *copied > MAX_COPIED_BYTES {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, \
                     exceeding the limit {MAX_COPIED_BYTES}"
                ));
            }
            add(doc, path, value)
        }
        "test" => {
            let found = find(doc, path).unwrap_or(&Value::Null);
            // A `test` without a value, or for null, holds where there is nothing.
            let wanted = operation.get("value").unwrap_or(&Value::Null);
            if same(found, wanted) {
                Ok(())
            } else {
                Err(format!("testing value {path} failed: {TEST_FAILED}"))
            }
        }
        op => Err(format!("Unexpected kind: {op}")),
    }
}

fn missing(op: &str, path: &str) -> String {
    format!("{op} operation does not apply: doc is missing path: {path:?}: missing value")
}

/// Splits a JSON pointer into the pointer to the parent and the unescaped last key. None for the root.
fn split(path: &str) -> Result<Option<(&str, String)>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    match path.rsplit_once('/') {
        Some((parent, key)) if path.starts_with('/') => Ok(Some((parent, unescape(key)))),
        _ => Err(format!("path {path:?} does not start with a slash")),
    }
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// The position that an index names in a list of this length; `-3` counts from the end.
fn position(index: &str, length: usize) -> Option<usize> {
    if let Some(back) = index.strip_prefix('-') {
        return length.checked_sub(back.parse().ok()?);
    }
    let canonical = index == "0" || !index.starts_with(['0', '+']);
    index.parse().ok().filter(|_| canonical)
}

fn find<'a>(doc: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = doc;
    for key in keys(path)? {
        at = match at {
            Value::Object(map) => map.get(&unescape(key))?,
            Value::Array(items) => items.get(position(key, items.len())?)?,
            _ => return None,
        };
    }
    Some(at)
}

fn find_mut<'a>(doc: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut at = doc;
    for key in keys(path)? {
        at = match at {
            Value::Object(map) => map.get_mut(&unescape(key))?,
            Value::Array(items) => {
                let position = position(key, items.len())?;
                items.get_mut(position)?
            }
            _ => return None,
        };
    }
    Some(at)
}

/// The still escaped keys of a pointer. None if it is none.
fn keys(path: &str) -> Option<impl Iterator<Item = &str>> {
    let valid = path.is_empty() || path.starts_with('/');
    valid.then(|| path.split('/').skip(1))
}

fn add(doc: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, key)) = split(path)? else {
        *doc = value;
        return Ok(());
    };
    match find_mut(doc, parent) {
        Some(Value::Object(map)) => {
            map.insert(key, value);
            Ok(())
        }
        Some(Value::Array(items)) if key == "-" => {
            items.push(value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            // The position after the last is one too: from the end, -1 is "after the last".
            let length = items.len() + usize::from(key.starts_with('-'));
            match position(&key, length).filter(|at| *at <= items.len()) {
                Some(at) => {
                    items.insert(at, value);
                    Ok(())
                }
                None => Err(format!("Unable to access invalid index: {key}: invalid index referenced")),
            }
        }
        _ => Err(missing("add", path)),
    }
}

fn remove(doc: &mut Value, path: &str) -> Result<Value, String> {
    let Some((parent, key)) = split(path)? else {
        return Ok(std::mem::take(doc));
    };
    match find_mut(doc, parent) {
        Some(Value::Object(map)) => map.remove(&key).ok_or_else(|| missing("remove", path)),
        Some(Value::Array(items)) => match position(&key, items.len()).filter(|at| *at < items.len()) {
            Some(at) => Ok(items.remove(at)),
            None => Err(format!("Unable to access invalid index: {key}: invalid index referenced")),
        },
        _ => Err(missing("remove", path)),
    }
}

fn replace(doc: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let slot = find_mut(doc, path).ok_or_else(|| missing("replace", path))?;
    *slot = value;
    Ok(())
}

/// Equality of RFC 6902, section 4.6: numbers by value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(mut doc: Value, patch: Value) -> Result<Value, Status> {
        let before = doc.clone();
        let outcome = apply(&mut doc, &patch);
        if outcome.is_err() {
            assert_eq!(doc, before, "a failed patch leaves the document alone");
        }
        outcome.map(|()| doc)
    }

    fn cause(doc: Value, patch: Value) -> String {
        let status = run(doc, patch).unwrap_err();
        assert_eq!((status.code, &status.reason), (422, &Reason::Invalid));
        status.details.unwrap().causes.remove(0).message
    }

    #[test]
    fn every_operation_does_what_the_rfc_says() {
        let cases = [
            (json!({"a": 1}), json!([{"op": "add", "path": "/b", "value": 2}]), json!({"a": 1, "b": 2})),
            (
                json!({"a": [1, 3]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                json!({"a": [1, 2, 3]}),
            ),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": 2}]), json!({"a": [1, 2]})),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/1", "value": 2}]), json!({"a": [1, 2]})),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "add", "path": "/a/-1", "value": 3}]),
                json!({"a": [1, 2, 3]}),
            ),
            (json!({"a": 1, "b": 2}), json!([{"op": "remove", "path": "/a"}]), json!({"b": 2})),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1]})),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "replace", "path": "/a/0", "value": 9}]),
                json!({"a": [9, 2]}),
            ),
            (json!({"a": 1}), json!([{"op": "replace", "path": "", "value": {"c": 1}}]), json!({"c": 1})),
            (json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/b"}]), json!({"b": 1})),
            (
                json!({"a": {"x": 1}}),
                json!([{"op": "copy", "from": "/a/x", "path": "/b"}]),
                json!({"a": {"x": 1}, "b": 1}),
            ),
            (
                json!({"a/b": {"m~n": 1}}),
                json!([{"op": "replace", "path": "/a~1b/m~0n", "value": 2}]),
                json!({"a/b": {"m~n": 2}}),
            ),
            (
                json!({"a": {"b": [1.0]}}),
                json!([{"op": "test", "path": "/a", "value": {"b": [1]}}]),
                json!({"a": {"b": [1.0]}}),
            ),
            (json!({}), json!([{"op": "test", "path": "/a", "value": null}]), json!({})),
        ];
        for (doc, patch, outcome) in cases {
            assert_eq!(run(doc, patch.clone()).unwrap(), outcome, "{patch}");
        }
    }

    #[test]
    fn an_operation_that_does_not_fit_is_a_422_with_the_cause() {
        assert_eq!(
            cause(json!({}), json!([{"op": "add", "path": "/a/b", "value": 1}])),
            "add operation does not apply: doc is missing path: \"/a/b\": missing value"
        );
        assert_eq!(
            cause(json!({}), json!([{"op": "remove", "path": "/a"}])),
            "remove operation does not apply: doc is missing path: \"/a\": missing value"
        );
        assert_eq!(
            cause(json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 2}])),
            "testing value /a failed: test failed"
        );
        assert_eq!(cause(json!({}), json!([{"op": "grow", "path": "/a"}])), "Unexpected kind: grow");
        assert!(
            cause(json!({"a": []}), json!([{"op": "add", "path": "/a/1", "value": 1}]))
                .contains("invalid index")
        );
        assert!(
            cause(json!({"a": [1]}), json!([{"op": "remove", "path": "/a/01"}])).contains("invalid index")
        );
        assert!(
            cause(json!({"a": {}}), json!([{"op": "move", "from": "/a", "path": "/a/b"}])).contains("itself")
        );
        assert!(cause(json!({}), json!([{"op": "add", "path": "a", "value": 1}])).contains("slash"));
        assert!(cause(json!({}), json!([{"op": "add", "value": 1}])).contains("\"path\""));
    }

    #[test]
    fn a_later_failure_undoes_what_came_before() {
        run(
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b", "value": 1}, {"op": "test", "path": "/b", "value": 2}]),
        )
        .unwrap_err();
    }

    #[test]
    fn what_is_no_patch_is_a_400() {
        let status = run(json!({}), json!({"op": "add"})).unwrap_err();
        assert_eq!(status.code, 400);
        assert_eq!(status.message, "json: cannot unmarshal object into Go value of type jsonpatch.Patch");
    }

    #[test]
    fn too_many_operations_are_a_413() {
        let operations = vec![json!({"op": "test", "path": "/a"}); MAX_OPERATIONS + 1];
        let status = run(json!({}), Value::Array(operations)).unwrap_err();
        assert_eq!(status.code, 413);
        assert!(status.message.ends_with("is 10000, got 10001"), "{}", status.message);
    }

    #[test]
    fn copies_cannot_grow_without_bound() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let patch = Value::Array(vec![double; 64]);
        assert!(cause(json!({"a": ["x"]}), patch).contains("exceeding the limit"));
    }
}
