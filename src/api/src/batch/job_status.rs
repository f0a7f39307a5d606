//! What is wrong with the status of a job, which finishes once and for all. Since others than the controller may manage
//! a job (KEP-4368), the rules hold for whoever writes it, but only for what changes.

use super::indexes;
use crate::validation::{Errors, invalid_unshown, non_negative};
use crate::value::{field, has, int, list, list_at, same, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::time;
use serde_json::Value;
use std::collections::HashSet;

/// A job's status before or after an update, and what of the spec it depends on.
struct Side<'a> {
    spec: &'a Value,
    status: &'a Value,
}

impl Side<'_> {
    fn of(object: &Value) -> Side<'_> {
        Side { spec: field(object, "spec"), status: field(object, "status") }
    }

    fn holds(&self, kind: &str) -> bool {
        list(self.status, "conditions").iter().any(|c| text(c, "type") == kind && text(c, "status") == "True")
    }

    fn finished(&self) -> bool {
        self.holds("Complete") || self.holds("Failed")
    }

    fn indexed(&self) -> bool {
        text(self.spec, "completionMode") == "Indexed"
    }

    fn number(&self, name: &str) -> i64 {
        int(self.status, name).unwrap_or(0)
    }
}

/// What is wrong with the status of `object` as it follows that of `old`.
pub fn validate(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let (new, old) = (Side::of(object), Side::of(old));
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(new.status, name, &path, &mut errors);
    }
    uncounted(new.status, &path, &mut errors);
    conditions(&new, &old, &path, &mut errors);
    times(&new, &old, &path, &mut errors);
    counters(&new, &old, &path, &mut errors);
    index_lists(&new, &old, &path, &mut errors);
    errors
}

/// Uids of pods that are on their way into the counters: each once.
fn uncounted(status: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for lists in ["succeeded", "failed"] {
        for (i, uid) in list_at(status, &["uncountedTerminatedPods", lists]).iter().enumerate() {
            let uid = uid.as_str().unwrap_or("");
            let own = || path.child("uncountedTerminatedPods").child(lists).index(i);
            if uid.is_empty() {
                errors.invalid(&own(), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&own(), uid);
            }
        }
    }
}

fn conditions(new: &Side<'_>, old: &Side<'_>, path: &Path, errors: &mut ErrorList) {
    let changed = |kinds: &[&str]| kinds.iter().any(|kind| new.holds(kind) != old.holds(kind));
    let (complete, failed) = (new.holds("Complete"), new.holds("Failed"));
    let (criteria, target) = (new.holds("SuccessCriteriaMet"), new.holds("FailureTarget"));
    let mut refuse = |wrong: bool, detail: &str| {
        if wrong {
            invalid_unshown(&path.child("conditions"), detail, errors);
        }
    };
    refuse(
        complete && failed && changed(&["Complete", "Failed"]),
        "cannot set Complete=True and Failed=true conditions",
    );
    refuse(
        complete && target && changed(&["Complete", "FailureTarget"]),
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    refuse(
        failed && !target && changed(&["Failed", "FailureTarget"]),
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    refuse(
        complete && !criteria && changed(&["Complete", "SuccessCriteriaMet"]),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    refuse(criteria && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    refuse(criteria && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    refuse(
        has(new.spec, "successPolicy") && complete && !criteria,
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
    );
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if old.holds(kind) && !new.holds(kind) {
            refuse(true, &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    refuse(
        old.holds("SuccessCriteriaMet") && !criteria,
        "cannot disable the SuccessCriteriaMet=True condition",
    );
    refuse(
        old.holds("Complete") && !old.holds("SuccessCriteriaMet") && criteria,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
    );
}

fn times(new: &Side<'_>, old: &Side<'_>, path: &Path, errors: &mut ErrorList) {
    let (start, end) = (text(new.status, "startTime"), text(new.status, "completionTime"));
    let (old_start, old_end) = (text(old.status, "startTime"), text(old.status, "completionTime"));
    let complete = new.holds("Complete");
    let end_changed = end != old_end;
    let own = |name: &str| path.child(name);
    if complete != old.holds("Complete") || end_changed {
        if !end.is_empty() && !complete {
            errors.invalid(
                &own("completionTime"),
                end,
                "cannot set completionTime when there is no Complete=True condition",
            );
        }
        if end.is_empty() && complete {
            errors.required(&own("completionTime"), "completionTime is required for Complete jobs");
        }
    }
    if (start != old_start || end_changed)
        && let (Some(began), Some(ended)) = (time::parse(start), time::parse(end))
        && ended < began
    {
        errors.invalid(&own("completionTime"), end, "completionTime cannot be set before startTime");
    }
    if start.is_empty() && new.finished() && (new.finished() != old.finished() || start != old_start) {
        errors.required(&own("startTime"), "startTime is required for finished job");
    }
    if !end.is_empty() && !old_end.is_empty() && end_changed {
        errors.invalid(&own("completionTime"), end, "completionTime cannot be mutated");
    }
    if !old_start.is_empty() && start != old_start && !crate::value::is_true(new.spec, "suspend") {
        errors.required(&own("startTime"), "startTime cannot be removed for unsuspended job");
    }
}

fn counters(new: &Side<'_>, old: &Side<'_>, path: &Path, errors: &mut ErrorList) {
    let finished = new.finished();
    let finishes = finished != old.finished();
    for (name, detail) in [
        ("active", "active>0 is invalid for finished job"),
        ("terminating", "terminating>0 is invalid for finished job"),
    ] {
        let value = new.number(name);
        if finished && value > 0 && (finishes || value != old.number(name)) {
            errors.invalid(&path.child(name), value, detail);
        }
    }
    let uncounted = field(new.status, "uncountedTerminatedPods");
    if finished
        && ["succeeded", "failed"].iter().any(|lists| !list(uncounted, lists).is_empty())
        && (finishes || !same(uncounted, field(old.status, "uncountedTerminatedPods")))
    {
        errors.invalid(
            &path.child("uncountedTerminatedPods"),
            uncounted.clone(),
            "uncountedTerminatedPods needs to be empty for finished job",
        );
    }
    let (ready, active) = (new.number("ready"), new.number("active"));
    if ready > active && (ready != old.number("ready") || active != old.number("active")) {
        errors.invalid(&path.child("ready"), ready, "cannot set more ready pods than active");
    }
    if new.number("failed") < old.number("failed") {
        errors.invalid(&path.child("failed"), new.number("failed"), "cannot decrease the failed counter");
    }
    // Whoever shrinks an indexed job loses the indexes that were beyond.
    let elastic = new.indexed() && int(new.spec, "completions") == int(new.spec, "parallelism");
    if !elastic && new.number("succeeded") < old.number("succeeded") {
        errors.invalid(
            &path.child("succeeded"),
            new.number("succeeded"),
            "cannot decrease the succeeded counter",
        );
    }
}

fn index_lists(new: &Side<'_>, old: &Side<'_>, path: &Path, errors: &mut ErrorList) {
    let (completed, failed) = (text(new.status, "completedIndexes"), text(new.status, "failedIndexes"));
    let completed_changed = completed != text(old.status, "completedIndexes");
    let failed_changed = field(new.status, "failedIndexes") != field(old.status, "failedIndexes");
    let completions = int(new.spec, "completions");
    let per_index = has(new.spec, "backoffLimitPerIndex");
    let mut refuse =
        |name: &str, value: &str, detail: String| errors.invalid(&path.child(name), value, detail);
    if let Some(completions) = completions {
        if completed_changed && let Err(why) = indexes::count(completed, completions) {
            refuse("completedIndexes", completed, format!("error parsing completedIndexes: {why}"));
        }
        if failed_changed
            && per_index
            && let Err(why) = indexes::count(failed, completions)
        {
            refuse("failedIndexes", failed, format!("error parsing failedIndexes: {why}"));
        }
    }
    if completed_changed && !completed.is_empty() && !new.indexed() {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        refuse("completedIndexes", completed, detail.to_owned());
    }
    if failed_changed && has(new.status, "failedIndexes") && !per_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        refuse("failedIndexes", failed, detail.to_owned());
    }
    if let Some(completions) = completions
        && (failed_changed || completed_changed)
        && let Some(index) = indexes::overlap(completed, failed, completions)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        refuse("failedIndexes", failed, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const START: &str = "2026-01-01T00:00:00Z";
    const END: &str = "2026-01-01T00:01:00Z";

    fn job(status: &Value) -> Value {
        json!({"spec": {"completions": 3, "parallelism": 1}, "status": status})
    }

    fn told(new: &Value, old: &Value) -> Vec<String> {
        validate(&job(new), &job(old)).iter().map(ToString::to_string).collect()
    }

    fn conditions(kinds: &[&str]) -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    }

    #[test]
    fn a_job_completes_in_order() {
        let met = json!({"startTime": START, "conditions": conditions(&["SuccessCriteriaMet"])});
        let done = json!({"startTime": START, "completionTime": END,
            "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
        assert_eq!(told(&met, &json!({"startTime": START})), Vec::<String>::new());
        assert_eq!(told(&done, &met), Vec::<String>::new());
        assert_eq!(
            told(&met, &done),
            ["status.conditions: Invalid value: cannot disable the terminal Complete=True condition"]
        );
        assert_eq!(
            told(&json!({"conditions": conditions(&["Complete"]), "active": 1}), &json!({})),
            [
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.startTime: Required value: startTime is required for finished job",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
            ]
        );
    }

    #[test]
    fn a_job_does_not_fail_and_succeed() {
        let all = conditions(&["SuccessCriteriaMet", "Failed"]);
        assert_eq!(
            told(&json!({"startTime": START, "conditions": all}), &json!({"startTime": START})),
            [
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions",
            ]
        );
    }

    #[test]
    fn times_stay() {
        let done = json!({"startTime": START, "completionTime": END,
            "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
        let mut later = done.clone();
        later["completionTime"] = json!("2025-01-01T00:00:00Z");
        assert_eq!(
            told(&later, &done),
            [
                "status.completionTime: Invalid value: \"2025-01-01T00:00:00Z\": completionTime cannot be set before startTime",
                "status.completionTime: Invalid value: \"2025-01-01T00:00:00Z\": completionTime cannot be mutated",
            ]
        );
        assert_eq!(
            told(&json!({}), &json!({"startTime": START})),
            ["status.startTime: Required value: startTime cannot be removed for unsuspended job"]
        );
        assert_eq!(
            told(&json!({"completionTime": END}), &json!({})),
            [
                "status.completionTime: Invalid value: \"2026-01-01T00:01:00Z\": cannot set completionTime when there is no Complete=True condition"
            ]
        );
    }

    #[test]
    fn counters_do_not_fall() {
        assert_eq!(
            told(&json!({"ready": 2, "active": 1}), &json!({"failed": 1, "succeeded": 2})),
            [
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
                "status.failed: Invalid value: 0: cannot decrease the failed counter",
                "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            ]
        );
        assert_eq!(
            told(&json!({"uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}), &json!({})),
            [
                "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            ]
        );
    }

    #[test]
    fn indexes_are_those_of_an_indexed_job() {
        let check = |spec: &Value, status: Value| -> Vec<String> {
            let old = json!({"spec": spec, "status": {}});
            let new = json!({"spec": spec, "status": status});
            validate(&new, &old).iter().map(ToString::to_string).collect()
        };
        let indexed = json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1});
        assert!(check(&indexed, json!({"completedIndexes": "0,2", "failedIndexes": "1"})).is_empty());
        assert_eq!(
            check(&indexed, json!({"completedIndexes": "0-3", "failedIndexes": "2"})),
            [
                "status.completedIndexes: Invalid value: \"0-3\": error parsing completedIndexes: too large index: \"3\""
            ]
        );
        assert_eq!(
            check(&indexed, json!({"completedIndexes": "0-2", "failedIndexes": "2"})),
            [
                "status.failedIndexes: Invalid value: \"2\": failedIndexes and completedIndexes overlap at index: 2"
            ]
        );
        assert_eq!(
            check(&json!({"completions": 3}), json!({"completedIndexes": "0", "failedIndexes": ""})),
            [
                "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
                "status.failedIndexes: Invalid value: \"\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ]
        );
    }
}
