//! Who made the changes that the store still keeps, and when: a list with the parameter `knarr.io/authors`. Kubernetes
//! knows nothing like it; `knarr history` asks for it.
//!
//! It is a list of the resource to authorization, flow control and the audit log, so who may not list the objects is told
//! of nobody who changed them. Objects are chosen by namespace and name, and by nothing else: what has been deleted has
//! no labels any more.
//!
//! `resourceVersion` is the revision after which to begin, and `limit` how many changes to tell at once. The answer tells
//! all up to its own `resourceVersion`, from where to go on if that is not far enough.

use super::context::Context;
use super::list;
use super::list_options::ListOptions;
use super::negotiation::Media;
use super::response;
use super::selection::Selection;
use crate::ApiServer;
use crate::body::Body;
use crate::registry::{self, Served};
use apimachinery::status::{Result, Status};
use apimachinery::time;
use http::Response;
use serde_json::{Value, json};
use storage::{Authored, Made};

/// Asks for authors in place of objects.
pub(crate) const PARAMETER: &str = "knarr.io/authors";

/// Changes that are told at once, at most: some hundred bytes each.
const MOST: usize = 10_000;

/// Answers who made changes.
pub(crate) async fn list(server: &ApiServer, context: &Context, served: &Served) -> Result<Response<Body>> {
    let options = ListOptions::parse(&context.query, false)?;
    let by_name = options.fields.terms.iter().all(|term| term.equal && term.field == "metadata.name");
    if !options.labels.is_everything() || !by_name {
        return Err(Status::bad_request(format!("{PARAMETER} can be asked for by metadata.name only")));
    }
    let selection = Selection::new(&options, served)?;
    let scope = list::scope(context, served, &selection);
    let storage = server.registry().storage();
    let after = options.resource_version.unwrap_or(0);
    let limit = if options.limit == 0 { MOST } else { options.limit.min(MOST) };
    let found = storage.authors(&scope, after, storage.revision(), limit).await;
    let found = found.map_err(|error| registry::status_of(error, served.stored_as(), ""))?;
    // A name alone is no scope: objects of all namespaces may have it.
    let is_meant = |change: &&Authored| {
        options.fields.terms.iter().all(|term| change.key.rsplit('/').next() == Some(term.value.as_str()))
    };
    let items: Vec<Value> = found.changes.iter().filter(is_meant).map(item).collect();
    let answer = json!({
        "kind": "AuthorList",
        "apiVersion": "knarr.io/v1",
        "metadata": {"resourceVersion": found.up_to.to_string()},
        "items": items,
    });
    response::value(200, &answer, Media::Json)
}

fn item(change: &Authored) -> Value {
    let Authored { revision, made: Made { by, at_millis }, .. } = change;
    let mut item = json!({
        "resourceVersion": revision.to_string(),
        "time": time::rfc3339_millis(*at_millis),
        "user": &*by.user,
    });
    if let (Some(impersonator), Some(fields)) = (&by.impersonator, item.as_object_mut()) {
        fields.insert("impersonator".to_owned(), json!(&**impersonator));
    }
    item
}
