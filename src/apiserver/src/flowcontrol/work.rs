//! How many seats a request takes: lists and watches that begin with a list take more the longer it is.

use crate::endpoints::{Query, RequestInfo};
use crate::registry::Served;
use std::time::Duration;
use storage::Storage;

/// What a list of unknown length takes at most (upstream's maximum).
const MAX_SEATS: u32 = 10;
/// Objects that one seat reads (upstream's figure).
const OBJECTS_PER_SEAT: u64 = 100;
/// The part of its level's seats that one request may take at most (upstream's 15%).
const MAX_PART_OF_LEVEL: f64 = 0.15;

/// Watchers that one seat serves at a time, and how long that takes: telling one of an event costs about 10 µs here,
/// since an event is encoded once for all. (Upstream charges for 10 watchers at a seat 5 ms.)
pub(crate) const WATCHERS_PER_SEAT: u32 = 100;
const EVENT_DURATION: Duration = Duration::from_millis(1);

/// What a request would like to have, if its level lets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Seats while it runs.
    pub(crate) seats: u32,
    /// Watches that are woken by what it writes, which takes seats when it has been answered.
    pub(crate) wakes: u32,
}

impl Work {
    /// Seats, and how long they are kept after the request is done, on a level with so many seats. What is too wide
    /// for its level takes longer instead.
    pub(super) fn on(self, level_seats: u32) -> (u32, Duration) {
        let most = at_most(level_seats);
        let seats = self.seats.min(most);
        // Where few watch, what they cost is lost in what the write costs.
        if self.wakes < WATCHERS_PER_SEAT {
            return (seats, Duration::ZERO);
        }
        let wanted = self.wakes.div_ceil(WATCHERS_PER_SEAT);
        let final_seats = wanted.min(most);
        (seats.max(final_seats), EVENT_DURATION * wanted / final_seats)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_wide_for_its_level_takes_longer() {
        let on = |seats, wakes, level| Work { seats, wakes }.on(level);
        let millis = Duration::from_millis;
        assert_eq!(on(1, 99, 100), (1, Duration::ZERO));
        assert_eq!(on(1, 100, 100), (1, millis(1)));
        assert_eq!(on(1, 250, 100), (3, millis(1)));
        assert_eq!(on(1, 2_000, 100), (10, millis(2)));
        assert_eq!(on(1, 1_000, 10), (2, millis(5)));
        assert_eq!(on(9, 0, 10), (2, Duration::ZERO));
    }
}
