//! Events are forgotten after an hour (upstream's `--event-ttl`).

use crate::registry::{Registry, decode};
use apimachinery::gvk::GroupResource;
use apimachinery::status::Result;
use apimachinery::{meta, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// Upstream's default.
const TIME_TO_LIVE: SignedDuration = SignedDuration::from_hours(1);
/// How often is looked. An event may live longer by as much.
pub(crate) const INTERVAL: Duration = Duration::from_secs(300);

/// Removes the events that nobody has renewed for an hour.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn expire(registry: &Registry, now: Timestamp) -> Result<()> {
    let events = GroupResource::new("", "events");
    for object in registry.list(&events, "").await?.items {
        let event = decode(&object)?;
        let Some(last) = last_seen(&event) else { continue };
        if now.duration_since(last) > TIME_TO_LIVE {
            // Renewed in the meantime, or gone already: both are fine.
            let _ = registry.storage().delete(&object.key, object.revision).await;
        }
    }
    Ok(())
}

/// The latest time that an event speaks of.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    [text("/lastTimestamp"), text("/series/lastObservedTime"), text("/eventTime")]
        .into_iter()
        .flatten()
        .chain([meta::string(event, "creationTimestamp")])
        .filter_map(time::parse)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_as_young_as_its_last_occurrence() {
        let event = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "lastTimestamp": "2026-01-01T02:00:00Z", "eventTime": null});
        assert_eq!(last_seen(&event), time::parse("2026-01-01T02:00:00Z"));
        assert_eq!(last_seen(&json!({})), None);
    }
}
