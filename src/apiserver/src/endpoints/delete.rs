//! `delete` and `deletecollection`.

use super::body;
use super::context::Context;
use super::list;
use super::list_options::ListOptions;
use super::present::{ListMeta, Presenter};
use super::response;
use super::write_options::{self, DeleteRequest};
use crate::ApiServer;
use crate::body::Body;
use crate::registry::deletion::{Deleted, Propagation};
use crate::registry::writer::Writer;
use crate::registry::{self, Served};
use apimachinery::status::{Details, Result, Status};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::Response;
use serde_json::Value;
use std::sync::Arc;
use storage::Object;

/// Deletions of a collection that run at once: they share flushes of the store, and are not to crowd out others.
const COLLECTION_PARALLELISM: usize = 16;

/// Answers a delete.
pub(crate) async fn delete(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let presenter = Presenter::new(context, served)?;
    let bytes = body::read(request_body).await?;
    let request = write_options::delete_options(context, &bytes)?;
    warn_of_orphans(context, served, &request);
    let namespace = if served.namespaced { context.info.namespace.as_str() } else { "" };
    let name = context.info.name.as_str();
    let deleted = writer(server, context, served, &request).delete(namespace, name, &request.options).await?;
    let stored_as = served.stored_as();
    match deleted {
        Deleted::Gone(last) if registry::shows_deleted(&stored_as.group, &stored_as.resource) => {
            presenter.object(200, &last)
        }
        Deleted::Gone(last) => {
            let tree: Value = serde_json::from_slice(&last).map_err(Status::internal)?;
            let status = Status::success(Some(Details {
                name: name.to_owned(),
                group: served.gvr.group.clone(),
                kind: served.gvr.resource.clone(),
                uid: apimachinery::meta::uid(&tree).to_owned(),
                ..Details::default()
            }));
            Ok(response::status(&status, presenter.form.media))
        }
        Deleted::Pending(now) => {
            let waits = request.options.propagation == Some(Propagation::Foreground);
            presenter.object(if waits { 202 } else { 200 }, &now)
        }
    }
}

/// Answers a deletecollection.
pub(crate) async fn delete_collection(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let presenter = Presenter::new(context, served)?;
    let bytes = body::read(request_body).await?;
    let request = write_options::delete_options(context, &bytes)?;
    warn_of_orphans(context, served, &request);
    let options = ListOptions::parse(&context.query, false)?;
    let (items, meta) = list::select(server, context, served, &options).await?;
    let writer = writer(server, context, served, &request);
    let work: Vec<BoxFuture<'_, _>> =
        items.iter().map(|object| delete_item(&writer, served, object, &request).boxed()).collect();
    let mut results = futures::stream::iter(work).buffered(COLLECTION_PARALLELISM);
    let mut deleted: Vec<Arc<Object>> = Vec::with_capacity(items.len());
    while let Some(result) = results.next().await {
        if let Some(object) = result? {
            deleted.push(object);
        }
    }
    drop(results);
    let deleted = served.show(deleted).await?;
    presenter.list(&deleted, &ListMeta { revision: meta.revision, ..ListMeta::default() })
}

async fn delete_item(
    writer: &Writer<'_>,
    served: &Served,
    object: &Arc<Object>,
    request: &DeleteRequest,
) -> Result<Option<Arc<Object>>> {
    let mut parts = object.key.rsplit('/');
    let name = parts.next().unwrap_or("");
    let namespace = if served.namespaced { parts.next().unwrap_or("") } else { "" };
    let last: Bytes = match writer.delete(namespace, name, &request.options).await {
        Ok(Deleted::Gone(last) | Deleted::Pending(last)) => last,
        // Somebody else was faster.
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(Arc::new(Object { value: last, ..(**object).clone() })))
}

fn writer<'a>(
    server: &'a ApiServer,
    context: &'a Context,
    served: &'a Arc<Served>,
    request: &'a DeleteRequest,
) -> Writer<'a> {
    Writer {
        registry: server.registry(),
        services: server.services(),
        served,
        subresource: "",
        chain: server.admission(),
        user: &context.user,
        manager: "",
        warnings: &context.warnings,
        annotations: &context.annotations,
        options: &request.value,
        dry_run: request.dry_run,
        now: context.now,
    }
}

/// Whoever deletes a Job without saying so leaves its pods behind.
fn warn_of_orphans(context: &Context, served: &Served, request: &DeleteRequest) {
    if request.options.propagation.is_none() && served.gvr.group == "batch" && served.gvr.resource == "jobs" {
        context.warnings.add(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
             remove them or set propagationPolicy=Orphan to suppress this warning",
        );
    }
}
