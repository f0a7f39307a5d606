//! What objects are told about themselves. Pure.
//!
//! Every node's proxy finds the same and writes it where it is not written yet. A write names the version that it was made
//! from, so that of two the second one fails, and what others have written since is not lost.

use super::GROUP;
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// A condition, as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

impl Condition {
    /// One that holds.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: true, reason, message: message.into() }
    }

    /// One that does not hold.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }
}

/// What is wrong with something, as a condition tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In one word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Problem {
    /// A problem.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// All types that the proxy writes: those of them that are not wanted go, those of others stay.
const OWNED: &[&str] =
    &["Accepted", "Programmed", "ResolvedRefs", "Conflicted", "OverlappingTLSConfig", "PartiallyInvalid"];

/// The conditions of an object that has some already. The time changes with the status only.
pub fn merged(old: Option<&Value>, wanted: &[Condition], generation: i64, now: &str) -> Value {
    let old: &[Value] = old.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let kind =
        |condition: &Value| condition.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut all: Vec<Value> =
        old.iter().filter(|one| !OWNED.contains(&kind(one).as_str())).cloned().collect();
    for condition in wanted {
        let status = if condition.holds { "True" } else { "False" };
        let before = old.iter().find(|one| kind(one) == condition.kind);
        let same = before.filter(|one| one.get("status").and_then(Value::as_str) == Some(status));
        let time = same.and_then(|one| one.get("lastTransitionTime")).cloned().unwrap_or_else(|| json!(now));
        all.push(json!({"type": condition.kind, "status": status, "reason": condition.reason,
            "message": condition.message, "observedGeneration": generation, "lastTransitionTime": time}));
    }
    Value::Array(all)
}

/// A status that should be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Path of the subresource.
    pub path: String,
    /// A merge patch.
    pub patch: Value,
}

impl Update {
    /// What has to be written so that the members of `status` are as they should be; nothing when they are.
    pub fn of(plural: &str, object: &DynamicObject, status: Value) -> Option<Self> {
        let old = object.data.get("status");
        let same = |(key, value): (&String, &Value)| old.and_then(|old| old.get(key)) == Some(value);
        if status.as_object()?.iter().all(same) {
            return None;
        }
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let namespace = object.metadata.namespace.as_deref();
        let within = namespace.map_or(String::new(), |namespace| format!("/namespaces/{namespace}"));
        Some(Self {
            path: format!("/apis/{GROUP}/v1{within}/{plural}/{name}/status"),
            patch: json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": status}),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_is_when_its_status_changed() {
        let accepted = [Condition::yes("Accepted", "Accepted", "")];
        let first = merged(None, &accepted, 1, "2026-01-01T00:00:00Z");
        let again = merged(Some(&first), &accepted, 2, "2026-01-02T00:00:00Z");
        assert_eq!(again[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(again[0]["observedGeneration"], 2);
        let refused =
            merged(Some(&again), &[Condition::no("Accepted", "Invalid", "x")], 2, "2026-01-03T00:00:00Z");
        assert_eq!(
            (&refused[0]["status"], &refused[0]["lastTransitionTime"]),
            (&json!("False"), &json!("2026-01-03T00:00:00Z"))
        );
    }

    #[test]
    fn conditions_of_others_stay_and_own_ones_that_are_over_go() {
        let old = json!([{"type": "example.com/Other", "status": "True"}, {"type": "PartiallyInvalid", "status": "True"}]);
        let all = merged(Some(&old), &[Condition::yes("Accepted", "Accepted", "")], 1, "t");
        let types: Vec<&str> = all.as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["example.com/Other", "Accepted"]);
    }

    #[test]
    fn what_is_written_already_is_not_written_again() {
        let object: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n",
            "resourceVersion": "7"}, "status": {"parents": [], "other": 1}}))
            .unwrap();
        assert_eq!(Update::of("httproutes", &object, json!({"parents": []})), None);
        let update = Update::of("httproutes", &object, json!({"parents": [1]})).unwrap();
        assert_eq!(update.path, "/apis/gateway.networking.k8s.io/v1/namespaces/n/httproutes/a/status");
        assert_eq!(update.patch["metadata"]["resourceVersion"], "7");
    }
}
