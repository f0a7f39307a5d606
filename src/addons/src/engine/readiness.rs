//! When an object is ready. Pure.

use crate::conditions::{self, text};
use serde_json::Value;

/// Whether an object works as its spec says; else what is missing.
pub fn readiness(object: &Value) -> Result<(), String> {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let (wanted, ready, updated) = match object.get("kind").and_then(Value::as_str) {
        Some("DaemonSet") => (
            number("/status/desiredNumberScheduled"),
            number("/status/numberReady"),
            number("/status/updatedNumberScheduled"),
        ),
        Some("Deployment" | "StatefulSet") => (
            object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            number("/status/readyReplicas"),
            number("/status/updatedReplicas"),
        ),
        _ => return condition(object),
    };
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Err("not looked at by its controller yet".to_owned());
    }
    if ready < wanted || updated < wanted {
        return Err(format!("{ready} of {wanted} pods are ready"));
    }
    Ok(())
}

/// Whether a status is of an earlier spec, if it says of which.
fn is_behind(object: &Value) -> bool {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
    number("/status/observedGeneration").is_some_and(|seen| Some(seen) < number("/metadata/generation"))
}

/// Whether the condition that tells of an APIService, a definition or anything else is true.
fn condition(object: &Value) -> Result<(), String> {
    if is_behind(object) {
        return Err("not looked at by its controller yet".to_owned());
    }
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|c| matches!(text(c, "type"), "Available" | "Established" | "Ready"));
    match found {
        None => Err("not looked at by its controller yet".to_owned()),
        Some(condition) if text(condition, "status") == "True" => Ok(()),
        Some(condition) => Err(format!("{}: {}", text(condition, "reason"), text(condition, "message"))),
    }
}

/// Whether waiting alone will not help: the reason that its condition gives asks for somebody's hands.
pub fn is_hopeless(object: &Value) -> bool {
    let reasons =
        ["Refused", "HelmMissing", "ChartUnreachable", "Aborted", "UpgradeFailed", "BackoffLimitExceeded"];
    object.get("kind").is_some_and(|kind| kind == "HelmChart")
        && !is_behind(object)
        && conditions::find(object, "Ready").is_some_and(|ready| reasons.contains(&text(ready, "reason")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_is_ready_when_all_pods_of_this_generation_are() {
        let deployment = |observed: i64, ready: i64, updated: i64| {
            json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2},
                   "status": {"observedGeneration": observed, "readyReplicas": ready, "updatedReplicas": updated}})
        };
        assert!(readiness(&deployment(2, 2, 2)).is_ok());
        assert!(readiness(&deployment(1, 2, 2)).is_err());
        assert!(readiness(&deployment(2, 1, 2)).is_err());
        assert!(readiness(&deployment(2, 2, 1)).is_err());
    }

    #[test]
    fn anything_else_is_ready_when_its_condition_says_so() {
        let service = |status: &str| {
            json!({"kind": "APIService", "status": {"conditions": [
                {"type": "Available", "status": status, "reason": "R", "message": "m"}]}})
        };
        assert!(readiness(&service("True")).is_ok());
        assert_eq!(readiness(&service("False")), Err("R: m".to_owned()));
        assert!(readiness(&json!({"kind": "APIService"})).is_err());
    }

    #[test]
    fn what_asks_for_hands_is_not_waited_for() {
        let chart = |reason: &str| json!({"kind": "HelmChart", "status": {"conditions": [{"type": "Ready", "status": "False", "reason": reason}]}});
        assert!(is_hopeless(&chart("HelmMissing")) && !is_hopeless(&chart("HelmFailed")));
    }

    #[test]
    fn what_a_chart_says_of_an_earlier_spec_does_not_count() {
        let chart = |seen: i64, status: &str, reason: &str| {
            json!({"kind": "HelmChart", "metadata": {"generation": 2}, "status": {"observedGeneration": seen,
                "conditions": [{"type": "Ready", "status": status, "reason": reason}]}})
        };
        assert!(readiness(&chart(1, "True", "Deployed")).is_err());
        assert!(readiness(&chart(2, "True", "Deployed")).is_ok());
        assert!(!is_hopeless(&chart(1, "False", "ChartUnreachable")));
        assert!(is_hopeless(&chart(2, "False", "ChartUnreachable")));
    }
}
