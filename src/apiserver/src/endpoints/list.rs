//! `list`: selecting, paging, and how recent the answer has to be.

use super::context::Context;
use super::continue_token::{self, Place};
use super::list_options::{ListOptions, Match};
use super::present::{ListMeta, Presenter};
use super::selection::Selection;
use crate::ApiServer;
use crate::body::Body;
use crate::registry::{self, Served};
use apimachinery::status::{Result, Status};
use http::Response;
use std::sync::Arc;
use storage::{ListRevision, Object, StorageError};

/// Answers a list.
pub(crate) async fn list(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
) -> Result<Response<Body>> {
    let presenter = Presenter::new(context, served)?;
    let options = ListOptions::parse(&context.query, false)?;
    let (items, meta) = select(server, context, served, &options).await?;
    let response = presenter.list(&served.show(items).await?, &meta)?;
    Ok(if super::compression::accepts_gzip(&context.headers) {
        super::compression::compress(response)
    } else {
        response
    })
}

/// Where the objects of a request are stored: a prefix, or the key of the only one that can match.
pub(crate) fn scope(context: &Context, served: &Served, selection: &Selection) -> String {
    let namespace = if served.namespaced { context.info.namespace.as_str() } else { "" };
    // `/watch/` before a path that names an object is the older way to select it.
    let named = Some(context.info.name.as_str()).filter(|name| context.info.watch_prefix && !name.is_empty());
    match selection.name().or(named) {
        Some(name) if !served.namespaced || !namespace.is_empty() => {
            registry::key(served.stored_as(), namespace, name)
        }
        _ => registry::prefix(served.stored_as(), namespace),
    }
}

/// The objects that a request selects.
///
/// # Errors
/// 410 when the revision is gone, 400 for a bad token.
pub(crate) async fn select(
    server: &ApiServer,
    context: &Context,
    served: &Served,
    options: &ListOptions,
) -> Result<(Vec<Arc<Object>>, ListMeta)> {
    let selection = Selection::new(options, served)?;
    let prefix = scope(context, served, &selection);
    let place = continued(options, &prefix)?;
    let shown = served.is_selected_when_shown() && !selection.is_everything();
    let (inside, limit) = (shown || selection.looks_into_objects(), limit(options));
    let request = storage::ListOptions {
        revision: revision(options, place.as_ref()),
        limit: if inside { 0 } else { limit },
        start_after: place.as_ref().map(|p| p.after.clone()),
        filter: selection.filter().filter(|_| !shown),
    };
    let mut list = match server.registry().storage().list(&prefix, request).await {
        Ok(list) => list,
        Err(StorageError::Compacted { .. }) => {
            return Err(match &place {
                Some(place) => continue_token::expired(place, &prefix),
                None => Status::expired("The resourceVersion for the provided list is too old."),
            });
        }
        Err(e) => return Err(registry::status_of(e, served.stored_as(), "")),
    };
    if shown {
        list.items = served.show(std::mem::take(&mut list.items)).await?;
    }
    if inside {
        selection.pick(&mut list, limit);
    }
    let mut meta = ListMeta { revision: list.revision, ..ListMeta::default() };
    if list.more
        && let Some(last) = list.items.last()
    {
        let place = Place { revision: Some(list.revision), after: last.key.to_string() };
        meta.continue_token = place.token(&prefix);
        meta.remaining = list.remaining.filter(|_| selection.is_everything());
    }
    Ok((list.items, meta))
}

fn continued(options: &ListOptions, prefix: &str) -> Result<Option<Place>> {
    if options.continue_token.is_empty() {
        return Ok(None);
    }
    if options.resource_version.is_some_and(|rv| rv > 0) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    Place::parse(&options.continue_token, prefix).map(Some)
}

/// The table in "Resource Versions" of the API concepts.
fn revision(options: &ListOptions, place: Option<&Place>) -> ListRevision {
    if let Some(place) = place {
        return place.revision.map_or(ListRevision::MostRecent, ListRevision::Exact);
    }
    match (options.resource_version, options.version_match) {
        (None, _) => ListRevision::MostRecent,
        (Some(0), _) => ListRevision::Any,
        (Some(rv), Some(Match::Exact)) => ListRevision::Exact(rv),
        (Some(rv), Some(Match::NotOlderThan)) => ListRevision::NotOlderThan(rv),
        // The legacy meaning: a page of a known state.
        (Some(rv), None) if options.limit > 0 => ListRevision::Exact(rv),
        (Some(rv), None) => ListRevision::NotOlderThan(rv),
    }
}

/// A list from whatever is at hand has no pages, as clients that ask for `resourceVersion=0` expect.
fn limit(options: &ListOptions) -> usize {
    let from_cache = options.resource_version == Some(0) && options.continue_token.is_empty();
    if from_cache { 0 } else { options.limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rv: Option<u64>, version_match: Option<Match>, limit: usize) -> ListOptions {
        ListOptions { resource_version: rv, version_match, limit, ..ListOptions::default() }
    }

    #[test]
    fn revisions_are_read_as_the_api_concepts_say() {
        for (rv, version_match, limit, expected) in [
            (None, None, 0, ListRevision::MostRecent),
            (None, None, 5, ListRevision::MostRecent),
            (Some(0), None, 5, ListRevision::Any),
            (Some(0), Some(Match::NotOlderThan), 0, ListRevision::Any),
            (Some(7), None, 0, ListRevision::NotOlderThan(7)),
            (Some(7), None, 5, ListRevision::Exact(7)),
            (Some(7), Some(Match::NotOlderThan), 5, ListRevision::NotOlderThan(7)),
            (Some(7), Some(Match::Exact), 0, ListRevision::Exact(7)),
        ] {
            assert_eq!(revision(&options(rv, version_match, limit), None), expected);
        }
    }
}
