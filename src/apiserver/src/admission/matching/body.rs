//! A request as webhooks and expressions see it.

use super::versions::Invocation;
use crate::admission::chain::Request;
use apimachinery::gvk::{Gvk, Gvr};
use serde_json::{Map, Value, json};

/// An AdmissionRequest (`admission.k8s.io`) without its uid and its objects.
pub(crate) fn request_body(request: &Request<'_>, seen: &Invocation) -> Map<String, Value> {
    let requested = Invocation::requested(request);
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("kind", kind(&seen.kind));
    set("resource", resource(&seen.resource));
    set("requestKind", kind(&requested.kind));
    set("requestResource", resource(&requested.resource));
    set("operation", json!(request.operation.as_str()));
    set("userInfo", request.user.to_value());
    set("dryRun", json!(request.dry_run));
    set("options", request.options.clone());
    // Left out where they are empty.
    let texts = [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", request.namespace),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        set(name, json!(text));
    }
    body
}

fn kind(kind: &Gvk) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn resource(resource: &Gvr) -> Value {
    json!({"group": resource.group, "version": resource.version, "resource": resource.resource})
}
