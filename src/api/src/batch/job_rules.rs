//! What is wrong with the spec of a job, also of one in a CronJob.

use super::{failure_policy, indexes};
use crate::core::pod::validation as pods;
use crate::validation::{Errors, domain_prefixed_path, label_selector, non_negative};
use crate::value::{at, field, has, int, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::labels::Selector;
use serde_json::{Map, Value};

/// Pods that a job with an index for each may run at once (KEP-2214).
const MAX_INDEXED_PARALLELISM: i64 = 100_000;
/// Failed indexes that a status can list (KEP-3850).
const MAX_FAILED_INDEXES: i64 = 100_000;
/// Completions above which limits are lower, so that the lists of indexes in the status stay small (KEP-3850).
pub const MANY_COMPLETIONS: i64 = 100_000;
/// The limits that hold then.
pub const MANY_COMPLETIONS_LIMIT: i64 = 10_000;
/// The longest name of whoever manages a job instead of the controller (KEP-4368).
const MANAGED_BY_MAX_BYTES: usize = 63;
/// Rules of a success policy (KEP-3998).
const MAX_SUCCESS_RULES: usize = 20;
/// The longest list of indexes in such a rule.
const SUCCEEDED_INDEXES_MAX_BYTES: usize = 64 * 1024;
const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
const REPLACEMENTS: [&str; 2] = ["Failed", "TerminatingOrFailed"];

/// The rules of a job's spec, with those of its selector.
pub fn spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    template_spec(spec, path, errors);
    if !has(spec, "selector") {
        return errors.required(&path.child("selector"), "");
    }
    label_selector(spec, "selector", path, errors);
    let labels = at(spec, &["template", "metadata", "labels"]);
    let empty = Map::new();
    if let Ok(selector) = Selector::from_label_selector(field(spec, "selector"))
        && !selector.matches(labels.as_object().unwrap_or(&empty))
    {
        errors.invalid(
            &path.child("template").child("metadata").child("labels"),
            labels.clone(),
            "`selector` does not match template `labels`",
        );
    }
}

/// The rules of the spec of a job that has no selector yet.
pub fn template_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
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
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = field(spec, "managedBy").as_str() {
        let own = path.child("managedBy");
        domain_prefixed_path(manager, &own, errors);
        if manager.len() > MANAGED_BY_MAX_BYTES {
            errors.push(FieldError::too_long(&own, MANAGED_BY_MAX_BYTES));
        }
    }
    match field(spec, "completionMode").as_str() {
        Some("Indexed") => indexed(spec, path, errors),
        None | Some("NonIndexed") => not_indexed(spec, path, errors),
        Some(other) => errors.not_supported(&path.child("completionMode"), other, &MODES),
    }
    if has(spec, "podFailurePolicy") {
        failure_policy::validate(spec, &path.child("podFailurePolicy"), errors);
    }
    if has(spec, "successPolicy") {
        let own = path.child("successPolicy");
        if text(spec, "completionMode") == "Indexed" {
            success_policy(spec, &own, errors);
        } else {
            errors.invalid(&own, field(spec, "successPolicy").clone(), "requires indexed completion mode");
        }
    }
    replacement(spec, path, errors);
    pods::template(field(spec, "template"), &path.child("template"), errors);
    restart_policy(spec, path, errors);
}

fn indexed(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (completions, parallelism) = (int(spec, "completions"), int(spec, "parallelism").unwrap_or(0));
    let failed = int(spec, "maxFailedIndexes");
    if completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    if parallelism > MAX_INDEXED_PARALLELISM {
        errors.invalid(
            &path.child("parallelism"),
            parallelism,
            format!(
                "must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
            ),
        );
    }
    if let (Some(failed), Some(completions)) = (failed, completions)
        && failed > completions
    {
        errors.invalid(&path.child("maxFailedIndexes"), failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed
        && failed > MAX_FAILED_INDEXES
    {
        errors.invalid(
            &path.child("maxFailedIndexes"),
            failed,
            format!("must be less than or equal to {MAX_FAILED_INDEXES}"),
        );
    }
    if completions.is_some_and(|wanted| wanted > MANY_COMPLETIONS) && has(spec, "backoffLimitPerIndex") {
        if failed.is_none() {
            errors.required(
                &path.child("maxFailedIndexes"),
                &format!("must be specified when completions is above {MANY_COMPLETIONS}"),
            );
        }
        for (name, value) in [("parallelism", parallelism), ("maxFailedIndexes", failed.unwrap_or(0))] {
            if value > MANY_COMPLETIONS_LIMIT {
                errors.invalid(
                    &path.child(name),
                    value,
                    format!(
                        "must be less than or equal to {MANY_COMPLETIONS_LIMIT} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
                    ),
                );
            }
        }
    }
}

fn not_indexed(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if has(spec, name) {
            errors.invalid(&path.child(name), field(spec, name).clone(), "requires indexed completion mode");
        }
    }
}

fn success_policy(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = list(field(spec, "successPolicy"), "rules");
    let path = path.child("rules");
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MAX_SUCCESS_RULES {
        errors.push(FieldError::too_many(&path, rules.len(), MAX_SUCCESS_RULES));
    }
    let completions = int(spec, "completions").unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(i), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, path: &Path, errors: &mut ErrorList) {
    let (count, named) = (int(rule, "succeededCount"), field(rule, "succeededIndexes").as_str());
    if count.is_none() && named.is_none() {
        errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(named) = named {
        let own = path.child("succeededIndexes");
        if named.len() > SUCCEEDED_INDEXES_MAX_BYTES {
            errors.push(FieldError::too_long(&own, SUCCEEDED_INDEXES_MAX_BYTES));
        }
        match indexes::count(named, completions) {
            Ok(count) => total = count,
            Err(why) => errors.invalid(&own, named, format!("error parsing succeededIndexes: {why}")),
        }
    }
    let Some(count) = count else { return };
    non_negative(rule, "succeededCount", path, errors);
    let own = path.child("succeededCount");
    if count > completions {
        errors.invalid(
            &own,
            count,
            format!("must be less than or equal to {completions} (the number of specified completions)"),
        );
    }
    if named.is_some() && count > total {
        errors.invalid(
            &own,
            count,
            format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            ),
        );
    }
}

fn replacement(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(policy) = field(spec, "podReplacementPolicy").as_str() else { return };
    let known = if has(spec, "podFailurePolicy") { &REPLACEMENTS[..1] } else { &REPLACEMENTS[..] };
    if !known.contains(&policy) {
        errors.not_supported(&path.child("podReplacementPolicy"), policy, known);
    }
}

fn restart_policy(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let policy = at(spec, &["template", "spec", "restartPolicy"]).as_str().unwrap_or("");
    let own = || path.child("template").child("spec").child("restartPolicy");
    match policy {
        "" | "Always" => errors.required(&own(), "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if has(spec, "podFailurePolicy") => {
            errors.invalid(&own(), policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&own(), other, &["OnFailure", "Never"]),
    }
}

/// A warning about more indexes than the status may be able to hold.
pub fn size_warning(spec: &Value, path: &str) -> Option<String> {
    let above = |name: &str, limit: i64| int(spec, name).is_some_and(|value| value > limit);
    let large = text(spec, "completionMode") == "Indexed"
        && above("completions", MANY_COMPLETIONS)
        && above("parallelism", MANY_COMPLETIONS_LIMIT);
    large.then(|| {
        format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::batch::job::Job;
    use serde_json::json;

    /// What is wrong with a job with an index for each pod, with some fields set otherwise.
    fn told(changes: &Value) -> Vec<String> {
        let mut spec = json!({
            "completionMode": "Indexed", "completions": 5, "parallelism": 2,
            "template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}],
            }},
        });
        for (name, value) in changes.as_object().unwrap() {
            spec[name] = value.clone();
        }
        let mut object = json!({"metadata": {"name": "j", "uid": "u1"}, "spec": spec});
        Job.default(&mut object);
        Job.prepare_for_create(&mut object);
        Job.validate(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn indexes_have_limits() {
        assert_eq!(told(&json!({})), Vec::<String>::new());
        assert_eq!(
            told(&json!({"maxFailedIndexes": 6})),
            [
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions",
            ]
        );
        assert_eq!(
            told(&json!({"completions": 100_001, "parallelism": 10_001, "backoffLimitPerIndex": 1})),
            [
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
                "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
            ]
        );
        assert_eq!(
            told(&json!({"completionMode": "NonIndexed", "backoffLimitPerIndex": 1, "maxFailedIndexes": 1})),
            [
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
                "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
            ]
        );
    }

    #[test]
    fn a_success_policy_names_indexes_of_the_job() {
        assert_eq!(
            told(&json!({"successPolicy": {"rules": [
                {}, {"succeededIndexes": "0-9"}, {"succeededCount": 6}, {"succeededIndexes": "0,1", "succeededCount": 3},
            ]}})),
            [
                "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
                "spec.successPolicy.rules[1].succeededIndexes: Invalid value: \"0-9\": error parsing succeededIndexes: too large index: \"9\"",
                "spec.successPolicy.rules[2].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)",
                "spec.successPolicy.rules[3].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
            ]
        );
        assert_eq!(
            told(&json!({"successPolicy": {"rules": []}})),
            [
                "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"
            ]
        );
        assert_eq!(
            told(&json!({"completionMode": "NonIndexed", "successPolicy": {"rules": []}})),
            ["spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode"]
        );
    }

    #[test]
    fn whoever_manages_a_job_has_a_domain() {
        assert_eq!(
            told(&json!({"managedBy": "me"})),
            [
                "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")"
            ]
        );
        assert_eq!(
            told(&json!({"managedBy": format!("a.b/{}", "c".repeat(60))})),
            ["spec.managedBy: Too long: may not be more than 63 bytes"]
        );
    }

    #[test]
    fn what_replaces_pods_depends_on_the_failure_policy() {
        let rules = json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]);
        assert_eq!(
            told(
                &json!({"podFailurePolicy": {"rules": rules}, "podReplacementPolicy": "TerminatingOrFailed"})
            ),
            [
                "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\""
            ]
        );
        assert_eq!(
            told(&json!({"podReplacementPolicy": "Never"})),
            [
                "spec.podReplacementPolicy: Unsupported value: \"Never\": supported values: \"Failed\", \"TerminatingOrFailed\""
            ]
        );
    }

    #[test]
    fn huge_jobs_are_warned_of() {
        let spec = json!({"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001});
        assert!(size_warning(&spec, "spec").unwrap().starts_with("spec: In Indexed Jobs with a number of"));
        assert_eq!(size_warning(&json!({"completionMode": "Indexed", "completions": 5}), "spec"), None);
    }
}
