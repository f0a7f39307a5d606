//! `get`: one object, as its bytes are.

use super::context::Context;
use super::list_options::parse_revision;
use super::present::Presenter;
use crate::ApiServer;
use crate::body::Body;
use crate::registry::{self, Served};
use apimachinery::status::{Result, Status};
use http::Response;
use std::sync::Arc;
use storage::{ListOptions, ListRevision, Object};

/// Answers a get of an object or its status.
pub(crate) async fn get(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
) -> Result<Response<Body>> {
    let presenter = Presenter::new(context, served)?;
    if let Some(asked) = context.query.get("resourceVersion").filter(|text| !text.is_empty()) {
        reached(server, served, parse_revision(asked)?, &context.info.name).await?;
    }
    let object = find(server, context, served).await?;
    presenter.object(200, &object.value)
}

/// Waits a moment until the store is at a revision.
async fn reached(server: &ApiServer, served: &Served, revision: u64, name: &str) -> Result<()> {
    let storage = server.registry().storage();
    if storage.revision() >= revision {
        return Ok(());
    }
    let nothing =
        ListOptions { revision: ListRevision::NotOlderThan(revision), limit: 1, ..ListOptions::default() };
    let listed = storage.list(&registry::prefix(served.stored_as(), ""), nothing).await;
    listed.map(|_| ()).map_err(|e| registry::status_of(e, served.stored_as(), name))
}

/// The object that a request names, as presenters take it.
///
/// # Errors
/// 404 when there is none.
pub(crate) async fn find(server: &ApiServer, context: &Context, served: &Served) -> Result<Arc<Object>> {
    let namespace = if served.namespaced { context.info.namespace.as_str() } else { "" };
    let name = context.info.name.as_str();
    match server.registry().get(served.stored_as(), namespace, name).await? {
        Some(object) => served.show_one(object).await,
        None => Err(Status::not_found(&served.group_resource(), name)),
    }
}
