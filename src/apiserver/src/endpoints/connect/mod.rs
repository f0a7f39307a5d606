//! Requests that end somewhere else: logs, exec, attach and port-forward at the kubelet, and proxies to nodes,
//! pods and Services.
//!
//! Nothing is translated: an upgraded connection (WebSocket or SPDY) is passed on as it is, bytes both ways.

mod dial;
mod kubelet;
mod log_options;
mod node;
mod options;
mod pod;
mod proxy;
mod service;
mod target;
pub(crate) mod tunnel;

use super::context::Context;
use crate::ApiServer;
use crate::admission::Operation;
use crate::body::Body;
use crate::registry::Served;
use crate::registry::writer::Writer;
use apimachinery::status::{Result, Status};
use http::Response;
use http::request::Parts;
use serde_json::Value;
use std::sync::Arc;

/// A request that is to be passed on.
pub(crate) struct Incoming {
    /// Its head; the headers are in the context.
    pub(crate) parts: Parts,
    /// Its body.
    pub(crate) body: Body,
}

/// Answers a request for `log`, `exec`, `attach`, `portforward` or `proxy`.
pub(crate) async fn connect(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    parts: Parts,
    body: Body,
) -> Result<Response<Body>> {
    let info = &context.info;
    if info.name.is_empty() || (served.namespaced && info.namespace.is_empty()) {
        return Err(Status::no_such_path());
    }
    if info.subresource != "log" {
        admit(server, context, served).await?;
    }
    let interactive = matches!(info.subresource.as_str(), "exec" | "attach" | "portforward");
    if interactive && info.verb == "get" {
        // A WebSocket begins with a GET; what it does is no reading (upstream from 1.35).
        server.authorize_verb(context, "create").await?;
    }
    let incoming = Incoming { parts, body };
    match (served.gvr.resource.as_str(), info.subresource.as_str()) {
        ("pods", "log") => pod::log(server, context).await,
        ("pods", "exec" | "attach" | "portforward") => pod::interact(server, context, incoming).await,
        ("pods", "proxy") => pod::proxy(server, context, incoming).await,
        ("nodes", "proxy") => node::proxy(server, context, incoming).await,
        ("services", "proxy") => service::proxy(server, context, incoming).await,
        _ => Err(Status::no_such_path()),
    }
}

async fn admit(server: &ApiServer, context: &Context, served: &Arc<Served>) -> Result<()> {
    let (kind, mut object) = options::of(context)?;
    let writer = Writer {
        registry: server.registry(),
        services: server.services(),
        served,
        subresource: &context.info.subresource,
        chain: server.admission(),
        user: &context.user,
        manager: "",
        warnings: &context.warnings,
        annotations: &context.annotations,
        options: &Value::Null,
        dry_run: false,
        now: context.now,
    };
    let mut request = writer.request(Operation::Connect, &context.info.namespace, &context.info.name, None);
    request.kind = &kind;
    writer.chain.admit(&request, &mut object).await?;
    writer.chain.validate(&request, &object).await
}
