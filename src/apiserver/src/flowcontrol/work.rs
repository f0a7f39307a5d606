//! How many seats a request takes: lists and watches that begin with a list take more the longer it is.

use crate::endpoints::{Query, RequestInfo};
use crate::registry::Served;
use storage::Storage;

/// What a list of unknown length takes at most (upstream's maximum).
const MAX_SEATS: u32 = 10;
/// Objects that one seat reads (upstream's figure).
const OBJECTS_PER_SEAT: u64 = 100;
/// The part of its level's seats that one request may take at most (upstream's 15%).
const MAX_PART_OF_LEVEL: f64 = 0.15;

/// The seats of a request for a resource. Other requests take one.
///
/// # Cost
/// Nothing but for lists; for those, counting, which the store does without looking at objects.
pub(crate) async fn seats(
    storage: &dyn Storage,
    served: Option<&Served>,
    info: &RequestInfo,
    query: &str,
) -> u32 {
    let Some(served) = served else { return 1 };
    if !info.name.is_empty() || !info.subresource.is_empty() {
        return 1;
    }
    match info.verb.as_str() {
        "list" => {}
        "watch" if query.contains("sendInitialEvents=") => {
            if !Query::parse(Some(query)).flag("sendInitialEvents") {
                return 1;
            }
        }
        _ => return 1,
    }
    let namespace = if served.namespaced { info.namespace.as_str() } else { "" };
    let Ok(stored) = storage.count(&crate::registry::prefix(served.stored_as(), namespace)).await else {
        return 1;
    };
    let limit = query.contains("limit=").then(|| Query::parse(Some(query)).number("limit").ok()?).flatten();
    let selects = !info.label_selector.is_empty() || !info.field_selector.is_empty();
    let looked_at = match limit.and_then(|limit| u64::try_from(limit).ok()) {
        // A page ends when it is full; with a selector, nobody knows when that is.
        Some(limit) if limit > 0 && !selects => stored.min(limit),
        _ => stored,
    };
    u32::try_from(looked_at.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(MAX_SEATS).clamp(1, MAX_SEATS)
}

/// No request is wider than this part of a level with so many seats.
pub(super) fn at_most(level_seats: u32) -> u32 {
    ((f64::from(level_seats) * MAX_PART_OF_LEVEL).ceil() as u32).clamp(1, MAX_SEATS)
}
