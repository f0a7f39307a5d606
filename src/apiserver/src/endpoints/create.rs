//! `create`.

use super::body::{self, Expected};
use super::context::Context;
use super::present::Presenter;
use super::write_options::WriteOptions;
use crate::ApiServer;
use crate::body::Body;
use crate::registry::Served;
use crate::registry::writer::{Change, Writer};
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use http::Response;
use serde_json::Value;
use std::sync::Arc;

/// Answers a create.
pub(crate) async fn create(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    if served.namespaced && context.info.namespace.is_empty() {
        return Err(Status::method_not_allowed_path());
    }
    let presenter = Presenter::new(context, served)?;
    let options = WriteOptions::parse(context, "CreateOptions")?;
    let bytes = body::read(request_body).await?;
    let expected = Expected::of(served);
    let mut object = body::object(context, &bytes, &expected, options.validation)?;
    settle_namespace(context, served, &mut object)?;
    to_stored(served, &mut object)?;
    let writer = writer(server, context, served, &options);
    let stored = writer.create(Change { object, tracked: false }).await?;
    presenter.object(201, &stored)
}

/// A writer for a request.
pub(crate) fn writer<'a>(
    server: &'a ApiServer,
    context: &'a Context,
    served: &'a Arc<Served>,
    options: &'a WriteOptions,
) -> Writer<'a> {
    Writer {
        registry: server.registry(),
        services: server.services(),
        served,
        subresource: &context.info.subresource,
        chain: server.admission(),
        user: &context.user,
        manager: &options.manager,
        warnings: &context.warnings,
        annotations: &context.annotations,
        options: &options.value,
        dry_run: options.dry_run,
        now: context.now,
    }
}

/// Turns a decoded object into the form in which it is stored, with the kind's defaults.
///
/// # Errors
/// When it cannot be told in the stored version.
pub(crate) fn to_stored(served: &Served, object: &mut Value) -> Result<()> {
    served.to_storage(object)?;
    served.rules().default(object);
    Ok(())
}

/// The namespace of an object is that of the request.
///
/// # Errors
/// 400 when it names another.
pub(crate) fn settle_namespace(context: &Context, served: &Served, object: &mut Value) -> Result<()> {
    let requested = if served.namespaced { context.info.namespace.as_str() } else { "" };
    let given = meta::namespace(object);
    if given == requested {
        return Ok(());
    }
    if given.is_empty() {
        meta::set(object, "namespace", requested);
        return Ok(());
    }
    if !served.namespaced && given == "default" {
        // What some old clients send for everything.
        meta::remove(object, "namespace");
        return Ok(());
    }
    Err(Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}
