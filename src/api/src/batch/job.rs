//! Job: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use crate::apps::workload::{self, template_cells, template_columns};
use crate::columns::{age, last_condition, name, translate_timestamp_since};
use crate::core::pod::validation as pods;
use crate::kind::Kind;
use crate::validation::{Errors, immutable, label_selector, non_negative, one_of, required_one_of};
use crate::value::{
    at, at_mut, copy, default, default_text, entries, equivalent, field, has, int, is_empty, is_true, list,
    list_mut, text,
};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::labels::Selector;
use apimachinery::table::Column;
use apimachinery::{meta, time};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The label that ties pods to their job; its value is the job's uid.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// The label that names a pod's job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Pods that a job with an index for each may run at once (KEP-2214).
const MAX_INDEXED_PARALLELISM: i64 = 100_000;

/// The kind.
#[derive(Debug)]
pub struct Job;

impl Kind for Job {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("batch", "Job")
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn default(&self, object: &mut Value) {
        label_as_template(object);
        let Some(spec) = workload::spec_mut(object) else { return };
        if !has(spec, "completions") && !has(spec, "parallelism") {
            default(spec, "completions", 1);
        }
        default(spec, "parallelism", 1);
        let limit = if has(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
        default(spec, "backoffLimit", limit);
        default(spec, "completionMode", "NonIndexed");
        default(spec, "suspend", false);
        default(spec, "manualSelector", false);
        let replace = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        default(spec, "podReplacementPolicy", replace);
        if let Some(policy) = at_mut(spec, &["podFailurePolicy"]) {
            for rule in list_mut(policy, "rules") {
                for condition in list_mut(rule, "onPodConditions") {
                    default_text(condition, "status", "True");
                }
            }
        }
        workload::default_template(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        generate_selector(object);
        label_as_template(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        generated_labels(object, &mut errors);
        validate_spec(field(object, "spec"), &Path::new("spec"), true, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let (spec, old_spec) = (field(object, "spec"), field(old, "spec"));
        validate_spec(spec, &path, true, &mut errors);
        let elastic =
            text(spec, "completionMode") == "Indexed" && int(spec, "completions") == int(spec, "parallelism");
        if !elastic {
            immutable(spec, old_spec, "completions", &path, &mut errors);
        }
        for name in [
            "selector",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            immutable(spec, old_spec, name, &path, &mut errors);
        }
        template_update(spec, old, &path, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        super::job_status::validate(field(object, "status"), field(old, "status"))
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        crate::core::pod_warnings::of_template(object)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.successful", int(field(object, "status"), "succeeded").unwrap_or(0).to_string())]
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            Column::object_name(),
            Column::new("Status").describe("Status of the job."),
            Column::new("Completions"),
            Column::new("Duration").describe("Time required to complete the job."),
            Column::age(),
        ];
        columns.extend(template_columns());
        columns
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let mut row = vec![
            name(object),
            Value::from(shown_status(object)),
            Value::from(completions(spec, status)),
            Value::from(duration(status, now)),
            age(object, now),
        ];
        row.extend(template_cells(spec));
        row
    }
}

fn shown_status(object: &Value) -> &'static str {
    let holds = |kind| last_condition(object, kind).is_some_and(|c| text(c, "status") == "True");
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if meta::is_terminating(object) {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(spec: &Value, status: &Value) -> String {
    let succeeded = int(status, "succeeded").unwrap_or(0);
    match (int(spec, "completions"), int(spec, "parallelism").unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let (start, end) = (text(status, "startTime"), text(status, "completionTime"));
    if start.is_empty() {
        return String::new();
    }
    let end = if end.is_empty() { Some(now) } else { time::parse(end) };
    translate_timestamp_since(start, end.unwrap_or(now))
}

/// A job without labels has its template's.
fn label_as_template(object: &mut Value) {
    if !is_empty(field(object, "metadata"), "labels") {
        return;
    }
    if let Value::Object(labels) = at(object, &["spec", "template", "metadata", "labels"]).clone()
        && !labels.is_empty()
    {
        meta::set(object, "labels", Value::Object(labels));
    }
}

/// The labels by which a job finds its pods hold its uid, so that no two jobs share pods.
fn generate_selector(object: &mut Value) {
    if is_true(field(object, "spec"), "manualSelector") {
        return;
    }
    let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
    let Some(spec) = workload::spec_mut(object) else { return };
    if let Some(labels) = workload::ensure(spec, &["template", "metadata", "labels"]) {
        for (key, value) in
            [("controller-uid", &uid), (CONTROLLER_UID, &uid), ("job-name", &name), (JOB_NAME, &name)]
        {
            default(labels, key, value.clone());
        }
    }
    if let Some(matched) = workload::ensure(spec, &["selector", "matchLabels"]) {
        default(matched, CONTROLLER_UID, uid);
    }
}

/// A selector that was not generated is only for those who say that they know.
fn generated_labels(object: &Value, errors: &mut ErrorList) {
    let spec = field(object, "spec");
    if is_true(spec, "manualSelector") {
        return;
    }
    let uid = meta::uid(object);
    let labels = Path::new("spec").child("template").child("metadata").child("labels");
    for (key, wanted) in [(CONTROLLER_UID, uid), (JOB_NAME, meta::name(object))] {
        let given = at(spec, &["template", "metadata", "labels", key]).as_str();
        match given {
            None => errors.required(&labels.key(key), &format!("must be '{wanted}'")),
            Some(given) if given != wanted => {
                errors.invalid(&labels.key(key), given, format!("must be '{wanted}'"));
            }
            Some(_) => {}
        }
    }
    let matched = at(spec, &["selector", "matchLabels", CONTROLLER_UID]).as_str();
    let others = entries(field(spec, "selector"), "matchLabels")
        .any(|(k, _)| k != CONTROLLER_UID && k != "controller-uid");
    if matched != Some(uid) || others {
        errors.invalid(
            &Path::new("spec").child("selector"),
            field(spec, "selector").clone(),
            "`selector` not auto-generated",
        );
    }
}

/// The rules of a job's spec, also of the one in a CronJob, which has no selector.
pub fn validate_spec(spec: &Value, path: &Path, has_selector: bool, errors: &mut ErrorList) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(spec, name, path, errors);
    }
    if has_selector {
        if has(spec, "selector") {
            label_selector(spec, "selector", path, errors);
        } else {
            errors.required(&path.child("selector"), "");
        }
        let labels = at(spec, &["template", "metadata", "labels"]);
        let empty = Map::new();
        if let Ok(selector) = Selector::from_label_selector(field(spec, "selector"))
            && has(spec, "selector")
            && !selector.matches(labels.as_object().unwrap_or(&empty))
        {
            errors.invalid(
                &path.child("template").child("metadata").child("labels"),
                labels.clone(),
                "`selector` does not match template `labels`",
            );
        }
    }
    indexed(spec, path, errors);
    let managed_by = text(spec, "managedBy");
    if !managed_by.is_empty() && !managed_by.contains('/') {
        errors.invalid(
            &path.child("managedBy"),
            managed_by,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        );
    }
    pods::template(field(spec, "template"), &path.child("template"), errors);
    let policy = at(spec, &["template", "spec", "restartPolicy"]).as_str().unwrap_or("");
    if !matches!(policy, "OnFailure" | "Never") {
        errors.push(FieldError::required(
            &path.child("template").child("spec").child("restartPolicy"),
            "valid values: \"OnFailure\", \"Never\"",
        ));
    }
    if has(spec, "podFailurePolicy") {
        failure_policy(field(spec, "podFailurePolicy"), policy, &path.child("podFailurePolicy"), errors);
    }
    one_of(spec, "podReplacementPolicy", path, &["Failed", "TerminatingOrFailed"], errors);
    if has(spec, "podFailurePolicy") && text(spec, "podReplacementPolicy") == "TerminatingOrFailed" {
        errors.not_supported(&path.child("podReplacementPolicy"), "TerminatingOrFailed", &["Failed"]);
    }
}

fn indexed(spec: &Value, path: &Path, errors: &mut ErrorList) {
    one_of(spec, "completionMode", path, &["Indexed", "NonIndexed"], errors);
    if text(spec, "completionMode") == "Indexed" {
        if !has(spec, "completions") {
            errors.required(&path.child("completions"), "when completion mode is Indexed");
        }
        let parallelism = int(spec, "parallelism").unwrap_or(0);
        if parallelism > MAX_INDEXED_PARALLELISM {
            errors.invalid(
                &path.child("parallelism"),
                parallelism,
                format!(
                    "must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
                ),
            );
        }
    } else {
        if has(spec, "backoffLimitPerIndex") {
            errors.invalid(
                &path.child("backoffLimitPerIndex"),
                field(spec, "backoffLimitPerIndex").clone(),
                "requires indexed completion mode",
            );
        }
        if has(spec, "successPolicy") {
            errors.invalid(
                &path.child("successPolicy"),
                field(spec, "successPolicy").clone(),
                "requires indexed completion mode",
            );
        }
    }
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
}

fn failure_policy(policy: &Value, restart: &str, path: &Path, errors: &mut ErrorList) {
    if restart != "Never" {
        errors.invalid(
            path,
            policy.clone(),
            "only \"Never\" is supported for the pod template's restartPolicy",
        );
    }
    for (i, rule) in list(policy, "rules").iter().enumerate() {
        let path = path.child("rules").index(i);
        required_one_of(rule, "action", &path, &["Count", "FailIndex", "FailJob", "Ignore"], errors);
        let (codes, conditions) = (has(rule, "onExitCodes"), !list(rule, "onPodConditions").is_empty());
        if codes && conditions {
            errors.invalid(
                &path,
                rule.clone(),
                "specifying both OnExitCodes and OnPodConditions is not supported",
            );
        } else if !codes && !conditions {
            errors.invalid(
                &path,
                rule.clone(),
                "specifying one of OnExitCodes and OnPodConditions is required",
            );
        }
        if codes {
            let own = path.child("onExitCodes");
            let requirement = field(rule, "onExitCodes");
            required_one_of(requirement, "operator", &own, &["In", "NotIn"], errors);
            let values = list(requirement, "values");
            if values.is_empty() {
                errors.invalid(&own.child("values"), Vec::<Value>::new(), "at least one value is required");
            }
            for (j, value) in values.iter().enumerate() {
                if text(requirement, "operator") == "In" && value.as_i64() == Some(0) {
                    errors.invalid(&own.child("values").index(j), 0, "must not be 0 for the In operator");
                }
            }
        }
        for (j, pattern) in list(rule, "onPodConditions").iter().enumerate() {
            let own = path.child("onPodConditions").index(j);
            if text(pattern, "type").is_empty() {
                errors.required(&own.child("type"), "");
            }
            required_one_of(pattern, "status", &own, &["False", "True", "Unknown"], errors);
        }
    }
}

/// The template never changes, but for where pods may run while the job is suspended and has not begun.
fn template_update(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let old_spec = field(old, "spec");
    let mut template = field(spec, "template").clone();
    let old_template = field(old_spec, "template");
    let suspended = is_true(old_spec, "suspend") && !has(field(old, "status"), "startTime");
    if suspended {
        if let Some(pod) = at_mut(&mut template, &["spec"]) {
            for name in ["nodeSelector", "tolerations", "schedulingGates", "affinity"] {
                copy(pod, field(old_template, "spec"), name);
            }
        }
        if let Some(metadata) = at_mut(&mut template, &["metadata"]) {
            for name in ["annotations", "labels"] {
                copy(metadata, field(old_template, "metadata"), name);
            }
        }
    }
    if !equivalent(&template, old_template) {
        errors.invalid(&path.child("template"), field(spec, "template").clone(), "field is immutable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job() -> Value {
        let mut object = json!({
            "metadata": {"name": "j", "uid": "u1"},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}],
            }}},
        });
        Job.default(&mut object);
        Job.prepare_for_create(&mut object);
        object
    }

    #[test]
    fn a_job_gets_a_selector_of_its_own() {
        let object = job();
        assert_eq!(Job.validate(&object), vec![]);
        assert_eq!(object["spec"]["selector"]["matchLabels"][CONTROLLER_UID], "u1");
        assert_eq!(object["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
        assert_eq!(object["spec"]["backoffLimit"], 6);
    }

    #[test]
    fn pods_of_a_job_are_not_always_restarted() {
        let mut object = job();
        object["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        assert_eq!(
            Job.validate(&object)[0].to_string(),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
        );
    }

    #[test]
    fn the_template_is_immutable() {
        let mut new = job();
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        let errors = Job.validate_update(&new, &job());
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().ends_with("field is immutable"));
    }

    #[test]
    fn the_table_tells_how_long_it_took() {
        let mut object = job();
        object["status"] = json!({
            "succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:12Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        });
        let row = Job.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!((&row[1], &row[2], &row[3]), (&json!("Complete"), &json!("1/1"), &json!("12s")));
    }
}
