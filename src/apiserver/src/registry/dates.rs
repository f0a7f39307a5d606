//! Times that the server writes where clients leave them to it.

use crate::registry::Served;
use api::value;
use apimachinery::time;
use jiff::Timestamp;
use serde_json::Value;

/// Dates a new object.
pub(crate) fn created(served: &Served, object: &mut Value, now: Timestamp) {
    match resource(served) {
        ("", "persistentvolumes") => {
            if let Some(status) = value::object_mut(object, "status") {
                value::set(status, PHASE_CHANGED, time::rfc3339(now));
            }
        }
        ("resource.k8s.io", "resourceslices") => date_taints(object, now),
        ("resource.k8s.io", "devicetaintrules") => {
            if let Some(taint) = value::at_mut(object, &["spec", "taint"]) {
                date_taint(taint, now);
            }
        }
        _ => {}
    }
}

/// Dates a changed object, or a changed part of it.
pub(crate) fn updated(served: &Served, subresource: &str, object: &mut Value, old: &Value, now: Timestamp) {
    match (resource(served), subresource) {
        (("certificates.k8s.io", "certificatesigningrequests"), "status" | "approval") => {
            date_conditions(object, old, now);
        }
        (("", "persistentvolumes"), "status") => date_phase(object, old, now),
        (("resource.k8s.io", "resourceslices"), "") => date_taints(object, now),
        (("resource.k8s.io", "devicetaintrules"), "") => {
            let old = value::at(old, &["spec", "taint"]);
            let Some(taint) = value::at_mut(object, &["spec", "taint"]) else { return };
            // A time that nobody changed is that of the former effect (KEP-5055).
            if value::text(taint, "effect") != value::text(old, "effect")
                && value::text(taint, TAINTED) == value::text(old, TAINTED)
            {
                value::remove(taint, TAINTED);
            }
            date_taint(taint, now);
        }
        _ => {}
    }
}

const PHASE_CHANGED: &str = "lastPhaseTransitionTime";
const TAINTED: &str = "timeAdded";

fn resource(served: &Served) -> (&str, &str) {
    let stored_as = served.stored_as();
    (&stored_as.group, &stored_as.resource)
}

/// When a volume's phase changed, unless whoever changed it says when (KEP-3762).
fn date_phase(object: &mut Value, old: &Value, now: Timestamp) {
    let old = value::field(old, "status");
    let Some(status) = value::object_mut(object, "status") else { return };
    let given = value::text(status, PHASE_CHANGED).to_owned();
    let before = value::text(old, PHASE_CHANGED);
    if value::text(status, "phase") != value::text(old, "phase") {
        if given.is_empty() || given == before {
            value::set(status, PHASE_CHANGED, time::rfc3339(now));
        }
    } else if given.is_empty() && !before.is_empty() {
        value::set(status, PHASE_CHANGED, before);
    }
}

/// When devices were tainted.
fn date_taints(object: &mut Value, now: Timestamp) {
    let Some(spec) = value::object_mut(object, "spec") else { return };
    for device in value::list_mut(spec, "devices") {
        value::list_mut(device, "taints").iter_mut().for_each(|taint| date_taint(taint, now));
    }
}

fn date_taint(taint: &mut Value, now: Timestamp) {
    if taint.is_object() && value::is_empty(taint, TAINTED) {
        value::set(taint, TAINTED, time::rfc3339(now));
    }
}

/// Dates the conditions of a signing request that have no dates.
fn date_conditions(object: &mut Value, old: &Value, now: Timestamp) {
    let before = value::list_at(old, &["status", "conditions"]);
    let Some(status) = value::object_mut(object, "status") else { return };
    for condition in value::list_mut(status, "conditions") {
        if value::is_empty(condition, "lastUpdateTime") {
            value::set(condition, "lastUpdateTime", time::rfc3339(now));
        }
        if value::is_empty(condition, "lastTransitionTime") {
            let same = |field| value::text(condition, field).to_owned();
            let (kind, status) = (same("type"), same("status"));
            let known = before
                .iter()
                .find(|c| value::text(c, "type") == kind && value::text(c, "status") == status)
                .map(|c| value::text(c, "lastTransitionTime").to_owned())
                .filter(|at| !at.is_empty());
            value::set(condition, "lastTransitionTime", known.unwrap_or_else(|| time::rfc3339(now)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_phase_is_dated_when_it_changes_and_nobody_says_when() {
        let old = json!({"status": {"phase": "Pending", "lastPhaseTransitionTime": "1970-01-01T00:00:01Z"}});
        let told = |mut status: Value| {
            let mut object = json!({"status": status.take()});
            date_phase(&mut object, &old, at(5));
            object["status"]["lastPhaseTransitionTime"].as_str().unwrap().to_owned()
        };
        assert_eq!(told(json!({"phase": "Pending"})), "1970-01-01T00:00:01Z");
        assert_eq!(told(json!({"phase": "Bound"})), "1970-01-01T00:00:05Z");
        let same = json!({"phase": "Bound", "lastPhaseTransitionTime": "1970-01-01T00:00:01Z"});
        assert_eq!(told(same), "1970-01-01T00:00:05Z");
        let given = json!({"phase": "Bound", "lastPhaseTransitionTime": "1970-01-01T00:00:03Z"});
        assert_eq!(told(given), "1970-01-01T00:00:03Z");
    }

    #[test]
    fn taints_without_a_time_get_one() {
        let mut slice = json!({"spec": {"devices": [{"name": "a"}, {"name": "b", "taints": [
            {"key": "k", "effect": "NoSchedule"},
            {"key": "l", "effect": "NoSchedule", "timeAdded": "1970-01-01T00:00:01Z"}]}]}});
        date_taints(&mut slice, at(5));
        let taints = &slice["spec"]["devices"][1]["taints"];
        assert_eq!(taints[0]["timeAdded"], "1970-01-01T00:00:05Z");
        assert_eq!(taints[1]["timeAdded"], "1970-01-01T00:00:01Z");
    }
}
