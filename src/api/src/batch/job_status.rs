//! What is wrong with the status of a job, which finishes once and for all.

use crate::validation::{Errors, non_negative};
use crate::value::{has, list, text};
use apimachinery::field::{ErrorList, Path};
use serde_json::Value;

/// What is wrong with a status that follows `old`.
pub fn validate(status: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(status, name, &path, &mut errors);
    }
    let holds = |s: &Value, kind: &str| {
        list(s, "conditions").iter().any(|c| text(c, "type") == kind && text(c, "status") == "True")
    };
    let (complete, failed) = (holds(status, "Complete"), holds(status, "Failed"));
    if complete && failed {
        errors.invalid(
            &path.child("conditions"),
            list(status, "conditions").to_vec(),
            "cannot set Complete=True and Failed=true conditions",
        );
    }
    for kind in ["Complete", "Failed"] {
        if holds(old, kind) && !holds(status, kind) {
            errors.invalid(
                &path.child("conditions"),
                list(status, "conditions").to_vec(),
                format!("cannot disable the terminal {kind}=True condition"),
            );
        }
    }
    if has(status, "completionTime") && !complete {
        errors.invalid(
            &path.child("completionTime"),
            text(status, "completionTime"),
            "cannot set completionTime when there is no Complete=True condition",
        );
    }
    if has(old, "completionTime") && text(old, "completionTime") != text(status, "completionTime") {
        errors.invalid(&path.child("completionTime"), text(status, "completionTime"), "field is immutable");
    }
    if !has(status, "startTime") && complete {
        errors.required(
            &path.child("startTime"),
            "startTime is required when there is Complete=True condition",
        );
    }
    errors
}
