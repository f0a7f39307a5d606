//! What a `HelmChart` tells about its release. Pure.

use crate::conditions::{self, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Nobody has looked at what failed since, or it is done: what is written into the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// helm is at work.
    Applying,
    /// The release is as the object says.
    Deployed(String),
    /// It is not, and is tried again.
    Failing(&'static str, String),
    /// It is not, and stays so until something changes.
    Failed(&'static str, String),
}

impl Outcome {
    /// The conditions of k3s' controller, `JobCreated` and `Failed`, and `Ready`.
    fn conditions(&self) -> [(&'static str, &'static str, &'static str, &str); 3] {
        match self {
            Self::Applying => {
                let message = "helm is at work";
                [
                    ("JobCreated", "True", "Applying", message),
                    ("Failed", "False", "", ""),
                    ("Ready", "False", "Applying", message),
                ]
            }
            Self::Deployed(message) => [
                ("JobCreated", "True", "Applied", ""),
                ("Failed", "False", "", ""),
                ("Ready", "True", "Deployed", message),
            ],
            Self::Failing(reason, message) => [
                ("JobCreated", "True", "Retrying", ""),
                ("Failed", "False", "Retrying", message),
                ("Ready", "False", reason, message),
            ],
            Self::Failed(reason, message) => [
                ("JobCreated", "False", reason, ""),
                ("Failed", "True", reason, message),
                ("Ready", "False", reason, message),
            ],
        }
    }
}

/// The status of a chart after an outcome. A condition that stays as it is keeps the time of its last change.
pub fn status(chart: &Value, outcome: &Outcome, hash: &str, now: Timestamp) -> Value {
    let conditions = outcome.conditions().map(|(kind, status, reason, message)| {
        let old = conditions::find(chart, kind).filter(|old| text(old, "status") == status);
        let since = old.and_then(|old| old.get("lastTransitionTime")).cloned();
        let since = since.unwrap_or_else(|| Value::from(format!("{now:.0}")));
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    });
    json!({
        "observedGeneration": chart.pointer("/metadata/generation"),
        "configHash": hash,
        "conditions": conditions,
    })
}

/// Whether a chart's status says that this was done, or cannot be done as long as nothing changes.
pub fn is_settled(chart: &Value, hash: &str) -> bool {
    let same = chart.pointer("/status/configHash").and_then(Value::as_str) == Some(hash);
    same && (conditions::is_true(chart, "Ready") || conditions::is_true(chart, "Failed"))
}

/// Whether helm was at work when the status was written: then somebody stopped it.
pub fn was_interrupted(chart: &Value) -> bool {
    conditions::find(chart, "Ready").is_some_and(|ready| text(ready, "reason") == "Applying")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_not_done_again_and_times_are_those_of_changes() {
        let mut chart = json!({"metadata": {"generation": 3}});
        assert!(!is_settled(&chart, "h"));
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        chart["status"] = status(&chart, &Outcome::Applying, "h", at(1));
        assert!(!is_settled(&chart, "h") && was_interrupted(&chart));
        chart["status"] = status(&chart, &Outcome::Deployed("m".to_owned()), "h", at(2));
        assert!(is_settled(&chart, "h") && !is_settled(&chart, "other") && !was_interrupted(&chart));
        let time =
            |chart: &Value, kind: &str| conditions::find(chart, kind).unwrap()["lastTransitionTime"].clone();
        assert_eq!(
            (time(&chart, "Ready"), time(&chart, "JobCreated")),
            (json!("1970-01-01T00:00:02Z"), json!("1970-01-01T00:00:01Z"))
        );
        assert_eq!(chart["status"]["observedGeneration"], 3);
        chart["status"] = status(&chart, &Outcome::Failing("R", "m".to_owned()), "h", at(3));
        assert!(!is_settled(&chart, "h"));
        chart["status"] = status(&chart, &Outcome::Failed("R", "m".to_owned()), "h", at(3));
        assert!(is_settled(&chart, "h"));
    }
}
