//! Lists of `metav1.Condition` (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).

use super::{Errors, label_name};
use crate::value::{int, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;
use std::collections::HashSet;

const REASON_MAX_BYTES: usize = 1024;
const MESSAGE_MAX_BYTES: usize = 32 * 1024;
const REASON_FORM: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// The conditions in field `name` of `object`: each type once, everything set that has to be.
pub fn conditions(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, condition) in list(object, name).iter().enumerate() {
        let path = path.child(name).index(i);
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if !seen.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        label_name(kind, &path.child("type"), errors);
        if !matches!(status, "True" | "False" | "Unknown") {
            errors.not_supported(&path.child("status"), status, &["False", "True", "Unknown"]);
        }
        if let Some(generation) = int(condition, "observedGeneration")
            && generation < 0
        {
            errors.invalid(
                &path.child("observedGeneration"),
                generation,
                "must be greater than or equal to zero",
            );
        }
        if text(condition, "lastTransitionTime").is_empty() {
            errors.required(&path.child("lastTransitionTime"), "must be set");
        }
        reason(text(condition, "reason"), &path.child("reason"), errors);
        if text(condition, "message").len() > MESSAGE_MAX_BYTES {
            errors.push(FieldError::too_long(&path.child("message"), MESSAGE_MAX_BYTES));
        }
    }
}

fn reason(reason: &str, path: &Path, errors: &mut ErrorList) {
    let bytes = reason.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':');
    let well_formed = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(inner)
        && bytes.last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if reason.is_empty() {
        errors.required(path, "must be set");
    } else if !well_formed {
        errors.invalid(path, reason, REASON_FORM);
    }
    if reason.len() > REASON_MAX_BYTES {
        errors.push(FieldError::too_long(path, REASON_MAX_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_says_everything_and_once() {
        let good = json!({"type": "Ready", "status": "True", "reason": "All", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let told = |conditions: Value| {
            let mut errors = ErrorList::new();
            conditions_of(&conditions, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        fn conditions_of(list: &Value, errors: &mut ErrorList) {
            super::conditions(&json!({"conditions": list}), "conditions", &Path::new("status"), errors);
        }
        assert!(told(json!([good])).is_empty());
        assert_eq!(told(json!([good, good])), ["status.conditions[1].type: Duplicate value: \"Ready\""]);
        assert_eq!(
            told(json!([{"type": "A", "status": "yes", "observedGeneration": -1}])),
            [
                "status.conditions[0].status: Unsupported value: \"yes\": supported values: \"False\", \"True\", \"Unknown\"",
                "status.conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "status.conditions[0].lastTransitionTime: Required value: must be set",
                "status.conditions[0].reason: Required value: must be set",
            ]
        );
    }
}
