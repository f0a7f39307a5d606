//! Events are served by two groups and stored once: as core/v1, as upstream stores them.

use serde_json::{Map, Value};

const CORE: &str = "v1";
const EVENTS: &str = "events.k8s.io/v1";

/// Fields by their names in events.k8s.io/v1 and in core/v1.
const RENAMED: [(&str, &str); 7] = [
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

/// Whether a conversion is between the two forms of events.
pub(crate) fn converts(from: &str, to: &str) -> bool {
    matches!((from, to), (CORE, EVENTS) | (EVENTS, CORE))
}

/// Turns one form into the other.
pub(crate) fn convert(object: &mut Value, to: &str) {
    let Some(map) = object.as_object_mut() else { return };
    let to_core = to == CORE;
    let mut out = Map::new();
    for (name, value) in std::mem::take(map) {
        let renamed = RENAMED.iter().find(|(new, core)| name == if to_core { *new } else { *core });
        let name = match renamed {
            Some((new, core)) => if to_core { *core } else { *new }.to_owned(),
            None => name,
        };
        out.insert(name, value);
    }
    out.insert("apiVersion".to_owned(), Value::from(to));
    *map = out;
}

/// The stored name of a field that a selector of events.k8s.io names.
pub(crate) fn stored_field<'a>(api_version: &str, field: &'a str) -> &'a str {
    if api_version != EVENTS {
        return field;
    }
    match field {
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        "reportingController" => "reportingComponent",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_survives_both_ways() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "count": 2,
            "involvedObject": {"kind": "Pod"}, "message": "m", "reportingComponent": "c", "action": "a"});
        let mut event = core.clone();
        convert(&mut event, EVENTS);
        assert_eq!(event["note"], "m");
        assert_eq!(event["regarding"]["kind"], "Pod");
        assert_eq!(event["deprecatedCount"], 2);
        convert(&mut event, CORE);
        assert_eq!(event, core);
    }
}
