//! Parameters: the objects that a binding gives a policy.

use super::Tools;
use super::binding::{Binding, ParamRef};
use crate::admission::chain::Request;
use crate::registry::{Served, decode};
use apimachinery::gvk::Gvk;
use apimachinery::meta;
use apimachinery::status::Status;
use serde_json::Value;
use std::sync::Arc;
use storage::Object;

/// The resource of a policy's parameters.
///
/// # Errors
/// A sentence, when nothing of that kind is served.
pub(super) fn resource(tools: &Tools, kind: &Gvk) -> Result<Arc<Served>, String> {
    let found = tools.matcher.resources().by_kind(&kind.group, &kind.version, &kind.kind).cloned();
    found.ok_or_else(|| {
        format!(
            "failed to find resource referenced by paramKind: '{}/{}, Kind={}'",
            kind.group, kind.version, kind.kind
        )
    })
}

/// The parameters of a binding, each to evaluate the policy with; one null where it has none.
///
/// # Errors
/// A sentence, when the binding cannot be used.
pub(super) async fn collect(
    tools: &Tools,
    served: Option<&Arc<Served>>,
    binding: &Binding,
    request: &Request<'_>,
) -> Result<Vec<Value>, String> {
    let (Some(served), Some(reference)) = (served, &binding.params) else { return Ok(vec![Value::Null]) };
    let namespace = namespace(served, reference, request)?;
    let words = |status: Status| status.message;
    let mut found: Vec<Value> = Vec::new();
    if !reference.name.is_empty() {
        let object = tools.registry.recent(served.stored_as(), namespace, &reference.name).await;
        if let Some(object) = object.map_err(words)? {
            found.push(seen(served, object).await.map_err(words)?);
        }
    } else {
        let selector = match &reference.selector {
            Some(selector) => selector.as_ref().map_err(Clone::clone)?,
            None => return Err("one of name or selector must be provided".to_owned()),
        };
        let list = tools.registry.list_recent(served.stored_as(), namespace).await.map_err(words)?;
        for object in list.items {
            let value = seen(served, object).await.map_err(words)?;
            let none = serde_json::Map::new();
            if selector.matches(meta::labels(&value).unwrap_or(&none)) {
                found.push(value);
            }
        }
    }
    if found.is_empty() && reference.denies_missing {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found)
}

/// A stored object in the version that the policy names.
async fn seen(served: &Served, object: Arc<Object>) -> Result<Value, Status> {
    let mut value = decode(&*served.show_one(object).await?)?;
    served.from_storage(&mut value)?;
    Ok(value)
}

fn namespace<'a>(
    served: &Served,
    reference: &'a ParamRef,
    request: &'a Request<'_>,
) -> Result<&'a str, String> {
    match (served.namespaced, reference.namespace.as_str(), request.namespace) {
        (false, "", _) => Ok(""),
        (false, ..) => {
            Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned())
        }
        (true, "", "") => {
            Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .to_owned())
        }
        (true, "", own) => Ok(own),
        (true, given, _) => Ok(given),
    }
}
