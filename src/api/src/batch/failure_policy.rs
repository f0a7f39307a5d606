//! What is wrong with a job's `podFailurePolicy` (KEP-3329).

use crate::validation::{Errors, invalid_unshown};
use crate::value::{at, default_text, field, has, list, list_mut, object_mut, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// Rules of a policy.
const MAX_RULES: usize = 20;
/// Exit codes of a rule.
const MAX_EXIT_CODES: usize = 255;
/// Conditions of a rule.
const MAX_CONDITIONS: usize = 20;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Fills in the policy of the job with this spec: a condition that is asked for holds, unless something else is said.
pub fn fill(spec: &mut Value) {
    let Some(policy) = object_mut(spec, "podFailurePolicy") else { return };
    for rule in list_mut(policy, "rules") {
        for condition in list_mut(rule, "onPodConditions") {
            default_text(condition, "status", "True");
        }
    }
}

/// What is wrong with the policy of the job with this spec.
pub fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("rules");
    let rules = list(field(spec, "podFailurePolicy"), "rules");
    if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(rule, spec, &path.index(i), errors);
    }
}

fn validate_rule(rule: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    known(rule, "action", &ACTIONS, path, errors);
    if text(rule, "action") == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
        errors.invalid(&path.child("action"), "FailIndex", "requires the backoffLimitPerIndex to be set");
    }
    let (codes, conditions) = (has(rule, "onExitCodes"), !list(rule, "onPodConditions").is_empty());
    if codes {
        exit_codes(field(rule, "onExitCodes"), spec, &path.child("onExitCodes"), errors);
    }
    pod_conditions(rule, path, errors);
    if codes && conditions {
        invalid_unshown(path, "specifying both OnExitCodes and OnPodConditions is not supported", errors);
    } else if !codes && !conditions {
        invalid_unshown(path, "specifying one of OnExitCodes and OnPodConditions is required", errors);
    }
}

/// A text that must be one of the known ones, which are told also where it is not there at all.
fn known(object: &Value, name: &str, known: &[&str], path: &Path, errors: &mut ErrorList) {
    let value = text(object, name);
    if value.is_empty() {
        let quoted: Vec<String> = known.iter().map(|value| format!("\"{value}\"")).collect();
        errors.required(&path.child(name), &format!("valid values: [{}]", quoted.join(" ")));
    } else if !known.contains(&value) {
        errors.not_supported(&path.child(name), value, known);
    }
}

fn exit_codes(requirement: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    known(requirement, "operator", &OPERATORS, path, errors);
    let pod = at(spec, &["template", "spec"]);
    if let Some(container) = field(requirement, "containerName").as_str()
        && !["containers", "initContainers"]
            .iter()
            .any(|lists| list(pod, lists).iter().any(|c| text(c, "name") == container))
    {
        errors.invalid(
            &path.child("containerName"),
            container,
            "must be one of the container or initContainer names in the pod template",
        );
    }
    let (values, path) = (list(requirement, "values"), path.child("values"));
    if values.is_empty() {
        errors.invalid(&path, Vec::<Value>::new(), "at least one value is required");
    } else if values.len() > MAX_EXIT_CODES {
        errors.push(FieldError::too_many(&path, values.len(), MAX_EXIT_CODES));
    }
    let codes: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    for (i, code) in codes.iter().enumerate() {
        if *code == 0 && text(requirement, "operator") == "In" {
            errors.invalid(&path.index(i), 0, "must not be 0 for the In operator");
        }
        if codes.iter().take(i).any(|earlier| earlier == code) {
            errors.duplicate(&path.index(i), *code);
        }
    }
    if !codes.is_sorted() {
        errors.invalid(&path, values.to_vec(), "must be ordered");
    }
}

fn pod_conditions(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let patterns = list(rule, "onPodConditions");
    if patterns.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(&path.child("onPodConditions"), patterns.len(), MAX_CONDITIONS));
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let path = path.child("onPodConditions").index(i);
        let kind = text(pattern, "type");
        errors.check(&path, "type", kind, forms::qualified_name(kind));
        known(pattern, "status", &STATUSES, &path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(rules: &Value) -> Vec<String> {
        let spec = json!({
            "podFailurePolicy": {"rules": rules},
            "template": {"spec": {"containers": [{"name": "main"}], "initContainers": [{"name": "init"}]}},
        });
        let mut errors = ErrorList::new();
        validate(&spec, &Path::new("spec").child("podFailurePolicy"), &mut errors);
        errors.iter().map(|e| e.to_string().replacen("spec.podFailurePolicy.rules", "", 1)).collect()
    }

    #[test]
    fn rules_ask_for_codes_or_for_conditions() {
        let codes = json!({"operator": "In", "values": [1, 2], "containerName": "init"});
        let conditions = json!([{"type": "DisruptionTarget", "status": "True"}]);
        assert!(told(&json!([{"action": "FailJob", "onExitCodes": codes}])).is_empty());
        assert_eq!(
            told(&json!([
                {"action": "FailJob", "onExitCodes": codes, "onPodConditions": conditions}, {"action": "Ignore"},
            ])),
            [
                "[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
                "[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            ]
        );
    }

    #[test]
    fn actions_operators_and_statuses_are_known_ones() {
        let conditions = json!([{"type": "", "status": ""}]);
        assert_eq!(
            told(&json!([
                {"onPodConditions": conditions},
                {"action": "Retry", "onExitCodes": {"operator": "Is", "values": [1]}},
                {"action": "FailIndex", "onPodConditions": [{"type": "A", "status": "yes"}]},
            ])),
            [
                "[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                "[0].onPodConditions[0].type: Invalid value: \"\": name part must be non-empty",
                "[0].onPodConditions[0].type: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "[0].onPodConditions[0].status: Required value: valid values: [\"False\" \"True\" \"Unknown\"]",
                "[1].action: Unsupported value: \"Retry\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
                "[1].onExitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\"",
                "[2].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                "[2].onPodConditions[0].status: Unsupported value: \"yes\": supported values: \"False\", \"True\", \"Unknown\"",
            ]
        );
    }

    #[test]
    fn exit_codes_are_ordered_and_of_a_container() {
        let told = |codes: Value| told(&json!([{"action": "FailJob", "onExitCodes": codes}]));
        assert_eq!(
            told(json!({"operator": "In", "values": [2, 0, 2], "containerName": "other"})),
            [
                "[0].onExitCodes.containerName: Invalid value: \"other\": must be one of the container or initContainer names in the pod template",
                "[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                "[0].onExitCodes.values[2]: Duplicate value: 2",
                "[0].onExitCodes.values: Invalid value: [2,0,2]: must be ordered",
            ]
        );
        assert_eq!(
            told(json!({"operator": "NotIn", "values": []})),
            ["[0].onExitCodes.values: Invalid value: []: at least one value is required"]
        );
    }
}
