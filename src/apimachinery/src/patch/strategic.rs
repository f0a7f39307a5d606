//! Strategic merge patch: a merge patch that knows how lists of built-in kinds merge.
//!
//! Directives: `$patch` (`replace`, `delete`, `merge`) in an object or in an item of a list, `$retainKeys`,
//! `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`. What merges and by which key the schema says
//! ([`crate::schema::PatchStrategy`]).

use serde_json::{Map, Value};

use super::order::{Identity, arrange};
use super::unprocessable;
use crate::schema::{Field, Node, SchemaRef};
use crate::status::Status;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Why a patch cannot be applied.
#[derive(Debug, thiserror::Error)]
enum StrategicError {
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("invalid JSON document")]
    NoObject,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("patch content doesn't match retainKeys list")]
    NotRetained,
    #[error("unknown patch type: {0} in map: {1}")]
    UnknownDirective(Value, Value),
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(Value, String),
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    OrderMismatch(Value, Value),
    #[error("expected a list of items of one type in {0}")]
    Mixed(Value),
}

impl From<StrategicError> for Status {
    fn from(err: StrategicError) -> Self {
        match err {
            StrategicError::ListOfLists | StrategicError::NotRetained => unprocessable(err.to_string()),
            err => Status::bad_request(err.to_string()),
        }
    }
}

type Result<T> = std::result::Result<T, StrategicError>;

/// Applies a strategic merge patch. On an error the document is half changed: give a copy.
///
/// # Errors
/// 400 for a malformed patch, 422 for one that contradicts itself.
pub fn apply(schema: &SchemaRef, doc: &mut Value, patch: &Value) -> std::result::Result<(), Status> {
    let (Value::Object(original), Value::Object(changes)) = (doc, patch) else {
        return Err(StrategicError::NoObject.into());
    };
    Ok(merge_map(Some(schema.node()), original, changes.clone())?)
}

/// Merges an object. `node` is None where the schema knows nothing: objects merge and lists are replaced there.
fn merge_map(
    node: Option<Node<'_>>,
    original: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<()> {
    if let Some(directive) = patch.remove(PATCH) {
        match directive.as_str() {
            Some("merge") => {}
            Some("replace") => {
                *original = patch;
                return Ok(());
            }
            Some("delete") => {
                original.clear();
                return Ok(());
            }
            _ => return Err(StrategicError::UnknownDirective(directive, patch.into())),
        }
    }
    if let Some(keys) = patch.remove(RETAIN_KEYS) {
        retain_keys(original, &patch, &keys)?;
    }
    set_element_orders(node, original, &mut patch)?;
    for (key, change) in patch {
        if let Some(name) = key.strip_prefix(DELETE_FROM) {
            delete_from(original, name, &change)?;
            continue;
        }
        if change.is_null() {
            original.remove(&key);
            continue;
        }
        let field = node.and_then(|node| node.field(&key));
        let child = node.and_then(|node| node.child(&key));
        match (original.get_mut(&key), change) {
            (Some(Value::Object(map)), Value::Object(change)) if !field.is_some_and(|f| f.patch.replace) => {
                merge_map(child, map, change)?;
            }
            (Some(Value::Array(items)), Value::Array(change)) if merges(field) => {
                merge_list(child.and_then(Node::item), items, change, merge_key(field))?;
            }
            (_, change) => {
                if let Some(value) = plain(change) {
                    original.insert(key, value);
                } else {
                    original.remove(&key);
                }
            }
        }
    }
    Ok(())
}

fn merges(field: Option<&Field>) -> bool {
    field.is_some_and(|field| field.patch.merge)
}

fn merge_key(field: Option<&Field>) -> &str {
    field.and_then(|field| field.merge_key.as_deref()).unwrap_or_default()
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER)
}

/// A value that has no counterpart in the original: without directives and nulls. None if it says to be deleted.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(PATCH).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let kept = map.into_iter().filter(|(key, value)| !is_directive(key) && !value.is_null());
            Some(Value::Object(kept.filter_map(|(key, value)| Some((key, plain(value)?))).collect()))
        }
        Value::Array(items) => {
            // An item that only says `$patch: replace` stands for the list, not for an item.
            let is_marker =
                |item: &Value| item.as_object().is_some_and(|m| m.len() == 1 && m.contains_key(PATCH));
            Some(items.into_iter().filter(|item| !is_marker(item)).filter_map(plain).collect())
        }
        scalar => Some(scalar),
    }
}

fn retain_keys(original: &mut Map<String, Value>, patch: &Map<String, Value>, keys: &Value) -> Result<()> {
    let Value::Array(keys) = keys else { return Err(StrategicError::RetainKeys) };
    let retained = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    if !keys.iter().all(Value::is_string) {
        return Err(StrategicError::RetainKeys);
    }
    let named = |key: &str| {
        let name = key.strip_prefix(DELETE_FROM).or_else(|| key.strip_prefix(SET_ORDER));
        name.unwrap_or(key).to_owned()
    };
    if patch.iter().any(|(key, value)| !value.is_null() && !retained(&named(key))) {
        return Err(StrategicError::NotRetained);
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

fn delete_from(original: &mut Map<String, Value>, name: &str, items: &Value) -> Result<()> {
    let Value::Array(gone) = items else { return Err(StrategicError::PrimitiveList) };
    match original.get_mut(name) {
        Some(Value::Array(items)) => {
            items.retain(|item| !gone.contains(item));
            Ok(())
        }
        None => Ok(()),
        Some(_) => Err(StrategicError::PrimitiveList),
    }
}

/// Merges every list for which the patch sets an order, and arranges it so.
fn set_element_orders(
    node: Option<Node<'_>>,
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<()> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(StrategicError::SetElementOrder);
        };
        let name = directive.strip_prefix(SET_ORDER).unwrap_or_default();
        let field = node.and_then(|node| node.field(name));
        // Items of a list of scalars are told apart by themselves, whatever the schema says.
        let key = if order.iter().any(Value::is_object) { merge_key(field) } else { "" };
        if let Some(item) = order.iter().find(|item| Identity(key).of(item).is_none()) {
            return Err(StrategicError::NoMergeKey(item.clone(), key.to_owned()));
        }
        if let Some(gone) = patch.remove(&format!("{DELETE_FROM}{name}")) {
            delete_from(original, name, &gone)?;
        }
        let change = match patch.remove(name) {
            None => None,
            Some(Value::Array(change)) => Some(change),
            // Null, or a value of another type: the list is removed or replaced, there is nothing to order.
            Some(other) => {
                patch.insert(name.to_owned(), other);
                continue;
            }
        };
        if let Some(change) = &change {
            check_order(change, &order, key)?;
        }
        let server = match original.get(name) {
            Some(Value::Array(items)) => items.clone(),
            _ => Vec::new(),
        };
        let mut merged = server.clone();
        match change {
            Some(change) if merges(field) => {
                let item = node.and_then(|node| node.child(name)).and_then(Node::item);
                merge_list(item, &mut merged, change, merge_key(field))?;
            }
            Some(change) => merged = change,
            None if !original.contains_key(name) => continue,
            None => {}
        }
        original.insert(name.to_owned(), arrange(merged, &order, &server, Identity(key)).into());
    }
    Ok(())
}

/// The items of a patch come in the order that it sets, and the order names every one that is not deleted.
fn check_order(change: &[Value], order: &[Value], key: &str) -> Result<()> {
    let mut last = None;
    for item in change.iter().filter(|item| item.get(PATCH).is_none()) {
        let at = Identity(key).position(order, item);
        if at.is_none() || at < last {
            return Err(StrategicError::OrderMismatch(change.to_vec().into(), order.to_vec().into()));
        }
        last = at;
    }
    Ok(())
}

/// Merges a list item by item.
fn merge_list(
    node: Option<Node<'_>>,
    original: &mut Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<()> {
    if original.is_empty() && patch.is_empty() {
        return Ok(());
    }
    let all = || original.iter().chain(&patch);
    if all().any(Value::is_array) {
        return Err(StrategicError::ListOfLists);
    }
    let objects = all().filter(|item| item.is_object()).count();
    if objects == 0 {
        return merge_scalars(original, patch);
    }
    if objects != all().count() {
        return Err(StrategicError::Mixed(patch.into()));
    }
    let identity = Identity(merge_key);
    let (special, patch): (Vec<Value>, Vec<Value>) =
        patch.into_iter().partition(|item| item.get(PATCH).is_some());
    let mut replace = false;
    for item in special {
        match item.get(PATCH).and_then(Value::as_str) {
            Some("delete") => {
                let wanted = item.get(merge_key).filter(|_| !merge_key.is_empty());
                let wanted =
                    wanted.ok_or_else(|| StrategicError::NoMergeKey(item.clone(), merge_key.to_owned()))?;
                original.retain(|candidate| candidate.get(merge_key) != Some(wanted));
            }
            Some("replace") => replace = true,
            _ => {
                let directive = item.get(PATCH).cloned().unwrap_or_default();
                return Err(StrategicError::UnknownDirective(directive, item));
            }
        }
    }
    if replace {
        *original = patch.into_iter().filter_map(plain).collect();
        return Ok(());
    }
    let server = original.clone();
    for item in &patch {
        if merge_key.is_empty() || item.get(merge_key).is_none() {
            return Err(StrategicError::NoMergeKey(item.clone(), merge_key.to_owned()));
        }
        match identity.position(original, item).and_then(|at| original.get_mut(at)) {
            Some(Value::Object(known)) => {
                if let Value::Object(change) = item.clone() {
                    merge_map(node, known, change)?;
                }
            }
            _ => original.extend(plain(item.clone())),
        }
    }
    *original = arrange(std::mem::take(original), &patch, &server, identity);
    Ok(())
}

fn merge_scalars(original: &mut Vec<Value>, patch: Vec<Value>) -> Result<()> {
    let server = original.clone();
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for item in original.drain(..).chain(patch.iter().cloned()) {
        if !merged.contains(&item) {
            merged.push(item);
        }
    }
    *original = arrange(merged, &patch, &server, Identity(""));
    Ok(())
}

#[cfg(test)]
#[path = "strategic_test.rs"]
mod tests;
