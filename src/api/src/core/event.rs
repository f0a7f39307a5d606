//! Event, of the core group and of `events.k8s.io`:
//! <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>.
//!
//! Both are one object, stored as the core group's (KEP-383).

use crate::columns::{name, translate_timestamp_since};
use crate::kind::Kind;
use crate::validation::{Errors, required_text};
use crate::value::{field, has, int, is_empty, remove, same, set, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::status::Status;
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

/// Longest reason, action and reporting instance.
const WORD_MAX_BYTES: usize = 128;
/// Longest message of an event of the new form.
const NOTE_MAX_BYTES: usize = 1024;
/// Names of fields: in the core group, in `events.k8s.io`.
const NAMES: [(&str, &str); 7] = [
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

/// The kind, in either of its groups.
#[derive(Debug)]
pub struct Event {
    /// API group.
    pub group: &'static str,
}

impl Kind for Event {
    fn group_kind(&self) -> (&'static str, &'static str) {
        (self.group, "Event")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ev"]
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = legacy(object, self.group);
        if !self.group.is_empty() {
            series(object, &mut errors);
            new_form_only(object, &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = legacy(object, self.group);
        if self.group.is_empty() {
            return errors;
        }
        if !same(field(object, "series"), field(old, "series")) {
            series(object, &mut errors);
        }
        for (name, shown) in [
            ("involvedObject", "involvedObject"),
            ("reason", "reason"),
            ("message", "message"),
            ("source", "source"),
            ("firstTimestamp", "firstTimestamp"),
            ("lastTimestamp", "lastTimestamp"),
            ("count", "count"),
            ("type", "type"),
            ("eventTime", "eventTime"),
            ("action", "action"),
            ("related", "related"),
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
        ] {
            let (new, old) = (field(object, name), field(old, name));
            if !same(new, old) {
                errors.invalid(&Path::new(shown), new.clone(), "field is immutable");
            }
        }
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let regarding = field(object, "involvedObject");
        let source = match text(field(object, "source"), "component") {
            "" => text(object, "reportingComponent"),
            component => component,
        };
        let of = |name: &str| text(regarding, name).to_owned();
        vec![
            ("involvedObject.kind", of("kind")),
            ("involvedObject.namespace", of("namespace")),
            ("involvedObject.name", of("name")),
            ("involvedObject.uid", of("uid")),
            ("involvedObject.apiVersion", of("apiVersion")),
            ("involvedObject.resourceVersion", of("resourceVersion")),
            ("involvedObject.fieldPath", of("fieldPath")),
            ("reason", text(object, "reason").to_owned()),
            ("reportingComponent", text(object, "reportingComponent").to_owned()),
            ("source", source.to_owned()),
            ("type", text(object, "type").to_owned()),
        ]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("Last Seen"),
            Column::new("Type"),
            Column::new("Reason"),
            Column::new("Object"),
            Column::new("Subobject").wide(),
            Column::new("Source").wide(),
            Column::new("Message"),
            Column::new("First Seen").wide(),
            Column::new("Count").wide(),
            Column { priority: 1, ..Column::object_name() },
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (first, last, count) = times(object, now);
        let regarding = field(object, "involvedObject");
        let kind = text(regarding, "kind").to_lowercase();
        let target = match text(regarding, "name") {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        let source = field(object, "source");
        let (component, host) = match text(source, "component") {
            "" => (text(object, "reportingComponent"), text(object, "reportingInstance")),
            component => (component, text(source, "host")),
        };
        let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
        vec![
            Value::from(last),
            Value::from(text(object, "type")),
            Value::from(text(object, "reason")),
            Value::from(target),
            Value::from(text(regarding, "fieldPath")),
            Value::from(source),
            Value::from(text(object, "message").trim()),
            Value::from(first),
            Value::from(count),
            name(object),
        ]
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
        let is_core = |version: &str| version == "v1";
        match (is_core(from), is_core(to)) {
            (true, false) => rename(object, |(core, events)| (core, events)),
            (false, true) => rename(object, |(core, events)| (events, core)),
            _ => {}
        }
        set(object, "apiVersion", to);
        Ok(())
    }
}

fn rename(object: &mut Value, direction: fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    for pair in NAMES {
        let (from, to) = direction(pair);
        if let Some(value) = remove(object, from) {
            set(object, to, value);
        }
    }
}

/// First seen, last seen and count: an event of the new form tells them in other fields.
fn times(object: &Value, now: Timestamp) -> (String, String, i64) {
    let since = |at: &str| translate_timestamp_since(at, now);
    let first = match text(object, "firstTimestamp") {
        "" => text(object, "eventTime"),
        at => at,
    };
    let series = field(object, "series");
    let last = match (text(series, "lastObservedTime"), text(object, "lastTimestamp")) {
        ("", "") => first,
        ("", at) | (at, _) => at,
    };
    let count = int(series, "count").or_else(|| int(object, "count")).unwrap_or(0).max(1);
    (since(first), since(last), count)
}

/// Whether the event was written by a client of `events.k8s.io`.
fn is_new_form(object: &Value) -> bool {
    has(object, "eventTime") && !text(object, "eventTime").is_empty()
}

/// Rules of events of both groups: those of the new form have more.
fn legacy(object: &Value, group: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let (namespace, is_new) = (meta::namespace(object), is_new_form(object));
    let involved = text(field(object, "involvedObject"), "namespace");
    // An event is where its object is; of objects without namespace, in `default`.
    let fits = match (involved, is_new) {
        ("", false) => matches!(namespace, "" | "default"),
        ("", true) => matches!(namespace, "default" | "kube-system"),
        (other, false) => other == namespace,
        (_, true) => true,
    };
    if !fits {
        errors.invalid(
            &Path::new("involvedObject").child("namespace"),
            involved,
            "does not match event.namespace",
        );
    }
    if is_new {
        new_form(object, group, &mut errors);
    }
    errors.check(&Path::default(), "namespace", namespace, forms::dns1123_subdomain(namespace));
    errors
}

fn new_form(object: &Value, group: &str, errors: &mut ErrorList) {
    let path = Path::default();
    let controller = if group.is_empty() { "reportingComponent" } else { "reportingController" };
    let component = text(object, "reportingComponent");
    if component.is_empty() {
        errors.required(&path.child(controller), "");
    }
    errors.check(&path, controller, component, forms::qualified_name(component));
    for (name, limit) in [
        ("reportingInstance", WORD_MAX_BYTES),
        ("action", WORD_MAX_BYTES),
        ("reason", WORD_MAX_BYTES),
        ("message", NOTE_MAX_BYTES),
    ] {
        if name != "message" {
            required_text(object, name, &path, errors);
        }
        if text(object, name).len() > limit {
            errors.invalid(&path.child(name), "", format!("can have at most {limit} characters"));
        }
    }
}

/// What only clients of `events.k8s.io` are held to.
fn new_form_only(object: &Value, errors: &mut ErrorList) {
    if !is_new_form(object) {
        errors.required(&Path::new("eventTime"), "");
    }
    let kind = text(object, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    let source = field(object, "source");
    for (name, unset) in [
        ("firstTimestamp", is_empty(object, "firstTimestamp")),
        ("lastTimestamp", is_empty(object, "lastTimestamp")),
        ("count", is_empty(object, "count")),
        ("source", is_empty(source, "component") && is_empty(source, "host")),
    ] {
        if !unset {
            errors.invalid(&Path::new(name), "", "needs to be unset");
        }
    }
}

/// A series is of two at least, and the last was seen some time.
fn series(object: &Value, errors: &mut ErrorList) {
    let Some(series) = object.get("series") else { return };
    let path = Path::new("series");
    if int(series, "count").unwrap_or(0) < 2 {
        errors.invalid(&path.child("count"), "", "should be at least 2");
    }
    if text(series, "lastObservedTime").is_empty() {
        errors.required(&path.child("lastObservedTime"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CORE: Event = Event { group: "" };

    #[test]
    fn the_table_shows_what_happened_to_what() {
        let object = json!({
            "metadata": {"name": "e", "namespace": "n"}, "type": "Warning", "reason": "Failed", "message": "no\n",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "count": 3,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:55:00Z",
            "source": {"component": "kubelet", "host": "h"},
        });
        let row = CORE.row(&object, "2026-01-01T01:00:00Z".parse().unwrap());
        assert_eq!(row.len(), CORE.columns().len());
        assert_eq!(
            row,
            [
                json!("5m"),
                json!("Warning"),
                json!("Failed"),
                json!("pod/p"),
                json!(""),
                json!("kubelet, h"),
                json!("no"),
                json!("60m"),
                json!(3),
                json!("e")
            ]
        );
        assert!(CORE.validate(&object).is_empty());
    }

    #[test]
    fn both_groups_tell_the_same() {
        let core = json!({"apiVersion": "v1", "message": "m", "involvedObject": {"kind": "Pod"}, "count": 1});
        let mut object = core.clone();
        CORE.convert(&mut object, "v1", "events.k8s.io/v1").unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "events.k8s.io/v1", "note": "m", "regarding": {"kind": "Pod"}, "deprecatedCount": 1})
        );
        CORE.convert(&mut object, "events.k8s.io/v1", "v1").unwrap();
        assert_eq!(object, core);
    }

    #[test]
    fn an_event_is_where_its_object_is() {
        let object = json!({"metadata": {"namespace": "n"}, "involvedObject": {"namespace": "m"}});
        assert_eq!(
            CORE.validate(&object)[0].to_string(),
            "involvedObject.namespace: Invalid value: \"m\": does not match event.namespace"
        );
    }

    #[test]
    fn new_events_say_more_than_old_ones() {
        let events = Event { group: "events.k8s.io" };
        let told = |kind: &Event, object: &Value| -> Vec<String> {
            kind.validate(object).iter().map(ToString::to_string).collect()
        };
        let mut object = json!({
            "metadata": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
            "reportingComponent": "example.com/c", "reportingInstance": "i", "action": "a", "reason": "r",
        });
        assert!(told(&events, &object).is_empty());
        object["count"] = json!(2);
        object["series"] = json!({"count": 1});
        object["reason"] = json!("r".repeat(129));
        assert_eq!(
            told(&events, &object),
            [
                "reason: Invalid value: \"\": can have at most 128 characters",
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
                "count: Invalid value: \"\": needs to be unset",
            ]
        );
        remove(&mut object, "eventTime");
        assert!(told(&CORE, &object).is_empty());
        assert!(told(&events, &object).contains(&"eventTime: Required value".to_owned()));
        let mut changed = object.clone();
        changed["reportingComponent"] = json!("other");
        assert!(CORE.validate_update(&changed, &object).is_empty());
        assert_eq!(
            events.validate_update(&changed, &object)[0].to_string(),
            "reportingController: Invalid value: \"other\": field is immutable"
        );
    }
}
