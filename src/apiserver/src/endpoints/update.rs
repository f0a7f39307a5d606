//! `update` of an object, or of one of its subresources that take the whole object.

use super::body::{self, Expected};
use super::context::Context;
use super::create::{settle_namespace, to_stored, writer};
use super::present::Presenter;
use super::write_options::WriteOptions;
use crate::ApiServer;
use crate::body::Body;
use crate::registry::writer::Change;
use crate::registry::{self, Served};
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use http::Response;
use serde_json::Value;
use std::sync::Arc;

/// Answers an update.
pub(crate) async fn update(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let presenter = Presenter::new(context, served)?;
    let options = WriteOptions::parse(context, "UpdateOptions")?;
    let bytes = body::read(request_body).await?;
    let expected = Expected::of(served);
    let mut object = body::object(context, &bytes, &expected, options.validation)?;
    settle_namespace(context, served, &mut object)?;
    settle_name(context, &mut object)?;
    to_stored(served, &mut object)?;
    let writer = writer(server, context, served, &options);
    let namespace = if served.namespaced { context.info.namespace.as_str() } else { "" };
    let name = context.info.name.as_str();
    let result =
        writer.update(namespace, name, |_| Ok(Change { object: object.clone(), tracked: false })).await;
    let stored_as = served.stored_as();
    let creates = context.info.subresource.is_empty()
        && registry::creates_on_update(&stored_as.group, &stored_as.resource);
    match result {
        Err(e) if e.is_not_found() && creates => {
            if !meta::uid(&object).is_empty() || !meta::resource_version(&object).is_empty() {
                return Err(Status::modified(&served.group_resource(), name));
            }
            server.authorize_verb(context, "create").await?;
            let stored = writer.create(Change { object, tracked: false }).await?;
            presenter.object(201, &stored)
        }
        result => presenter.object(200, &result?),
    }
}

/// The name of an object is that of the request.
///
/// # Errors
/// 400 when it has another.
pub(crate) fn settle_name(context: &Context, object: &mut Value) -> Result<()> {
    let requested = context.info.name.as_str();
    match meta::name(object) {
        "" => meta::set(object, "name", requested),
        name if name == requested => {}
        name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({requested})"
            )));
        }
    }
    Ok(())
}
