//! Events are forgotten after a while (`--event-ttl`).

use crate::registry::{Registry, decode};
use apimachinery::gvk::GroupResource;
use apimachinery::status::Result;
use apimachinery::{meta, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// How long they are kept that nobody renews, unless something else is said (upstream's default).
pub(crate) const TIME_TO_LIVE: Duration = Duration::from_secs(60 * 60);
/// How often is looked. An event may live longer by as much.
pub(crate) const INTERVAL: Duration = Duration::from_secs(300);

/// Removes the events that nobody has renewed for so long.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn expire(registry: &Registry, time_to_live: Duration, now: Timestamp) -> Result<()> {
    let time_to_live = SignedDuration::try_from(time_to_live).unwrap_or(SignedDuration::MAX);
    let events = GroupResource::new("", "events");
    for object in registry.list(&events, "").await?.items {
        let event = decode(&object)?;
        let Some(last) = last_seen(&event) else { continue };
        if now.duration_since(last) > time_to_live {
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

    #[tokio::test]
    async fn events_live_as_long_as_is_said() {
        let registry = crate::cached::testing::registry().await;
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"},
            "lastTimestamp": "2026-01-01T00:00:00Z"});
        registry.create(&GroupResource::new("", "events"), event).await.unwrap();
        let left = async |seconds: i64| {
            let now = Timestamp::now() + SignedDuration::from_secs(seconds);
            expire(&registry, Duration::from_secs(120), now).await.unwrap();
            registry.list(&GroupResource::new("", "events"), "").await.unwrap().items.len()
        };
        assert_eq!((left(60).await, left(180).await), (1, 0));
    }

    #[test]
    fn an_event_is_as_young_as_its_last_occurrence() {
        let event = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "lastTimestamp": "2026-01-01T02:00:00Z", "eventTime": null});
        assert_eq!(last_seen(&event), time::parse("2026-01-01T02:00:00Z"));
        assert_eq!(last_seen(&json!({})), None);
    }
}
