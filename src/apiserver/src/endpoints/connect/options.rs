//! The options of a connection as admission sees them: an object made of the query.

use crate::endpoints::context::Context;
use apimachinery::gvk::Gvk;
use apimachinery::status::Result;
use serde_json::{Map, Value};

/// The options of a request for `exec`, `attach`, `portforward` or `proxy`, and their kind.
///
/// # Errors
/// 400 when a number is none.
pub(super) fn of(context: &Context) -> Result<(Gvk, Value)> {
    let (query, info) = (&context.query, &context.info);
    let mut object = Map::new();
    let kind = match (info.resource.as_str(), info.subresource.as_str()) {
        (_, subresource @ ("exec" | "attach")) => {
            for name in ["stdin", "stdout", "stderr", "tty"] {
                if query.flag(name) {
                    object.insert(name.to_owned(), Value::Bool(true));
                }
            }
            if !query.text("container").is_empty() {
                object.insert("container".to_owned(), Value::from(query.text("container")));
            }
            if subresource == "exec" {
                let command: Vec<&str> = query.all("command").collect();
                object.insert("command".to_owned(), Value::from(command));
                "PodExecOptions"
            } else {
                "PodAttachOptions"
            }
        }
        (_, "portforward") => {
            let mut ports = Vec::new();
            for text in query.all("ports").flat_map(|list| list.split(',')).filter(|t| !t.is_empty()) {
                let parsed: std::result::Result<i32, _> = text.parse();
                let refused = |_| {
                    let message = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
                    apimachinery::status::Status::bad_request(message)
                };
                ports.push(parsed.map_err(refused)?);
            }
            if !ports.is_empty() {
                object.insert("ports".to_owned(), Value::from(ports));
            }
            "PodPortForwardOptions"
        }
        (resource, _) => {
            if !info.rest.is_empty() {
                object.insert("path".to_owned(), Value::from(info.rest.as_str()));
            }
            match resource {
                "nodes" => "NodeProxyOptions",
                "services" => "ServiceProxyOptions",
                _ => "PodProxyOptions",
            }
        }
    };
    object.insert("kind".to_owned(), Value::from(kind));
    object.insert("apiVersion".to_owned(), Value::from("v1"));
    Ok((Gvk::new("", "v1", kind), Value::Object(object)))
}
