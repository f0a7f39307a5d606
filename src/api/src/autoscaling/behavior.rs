//! How fast a HorizontalPodAutoscaler goes up and down (KEP-853): defaults and what can be wrong.

use crate::validation::{Errors, non_negative_quantity, one_of};
use crate::value::{default, default_text, field, has, int, list, object_mut, set, text};
use apimachinery::field::{ErrorList, Path};
use serde_json::{Value, json};

/// The longest time that a policy looks back, in seconds.
const MAX_PERIOD_SECONDS: i64 = 1800;
/// The longest time that recommendations are remembered, in seconds.
const MAX_STABILIZATION_SECONDS: i64 = 3600;
/// A field for each direction.
const DIRECTIONS: [&str; 2] = ["scaleUp", "scaleDown"];

/// Fills in the rules of both directions, where there is any behaviour at all.
pub fn fill(spec: &mut Value) {
    let Some(behavior) = object_mut(spec, "behavior") else { return };
    let policies = |direction: &str| match direction {
        "scaleUp" => json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]),
        _ => json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
    };
    for direction in DIRECTIONS {
        default(behavior, direction, json!({}));
        let Some(rules) = object_mut(behavior, direction) else { continue };
        default_text(rules, "selectPolicy", "Max");
        if direction == "scaleUp" {
            default(rules, "stabilizationWindowSeconds", 0);
        }
        if !has(rules, "policies") {
            set(rules, "policies", policies(direction));
        }
    }
}

/// What is wrong with the behaviour of a spec.
pub fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let behavior = field(spec, "behavior");
    for direction in DIRECTIONS.into_iter().filter(|direction| has(behavior, direction)) {
        rules(field(behavior, direction), &path.child("behavior").child(direction), errors);
    }
}

fn rules(rules: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(window) = int(rules, "stabilizationWindowSeconds") {
        let own = || path.child("stabilizationWindowSeconds");
        if window < 0 {
            errors.invalid(&own(), window, "must be greater than or equal to zero");
        }
        if window > MAX_STABILIZATION_SECONDS {
            errors.invalid(
                &own(),
                window,
                format!("must be less than or equal to {MAX_STABILIZATION_SECONDS}"),
            );
        }
    }
    one_of(rules, "selectPolicy", path, &["Disabled", "Max", "Min"], errors);
    let policies = list(rules, "policies");
    if policies.is_empty() {
        errors.required(&path.child("policies"), "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        validate_policy(policy, &path.child("policies").index(i), errors);
    }
    if has(rules, "tolerance") {
        non_negative_quantity(field(rules, "tolerance"), &path.child("tolerance"), errors);
    }
}

fn validate_policy(policy: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = text(policy, "type");
    if !matches!(kind, "Pods" | "Percent") {
        errors.not_supported(&path.child("type"), kind, &["Percent", "Pods"]);
    }
    for name in ["value", "periodSeconds"] {
        let number = int(policy, name).unwrap_or(0);
        if number <= 0 {
            errors.invalid(&path.child(name), number, "must be greater than zero");
        }
    }
    if let Some(period) = int(policy, "periodSeconds")
        && period > MAX_PERIOD_SECONDS
    {
        errors.invalid(
            &path.child("periodSeconds"),
            period,
            format!("must be less than or equal to {MAX_PERIOD_SECONDS}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rules: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate(&json!({"behavior": {"scaleUp": rules}}), &Path::new("spec"), &mut errors);
        errors.iter().map(|e| e.to_string().replacen("spec.behavior.scaleUp.", "", 1)).collect()
    }

    #[test]
    fn policies_look_back_half_an_hour_at_most() {
        let good = json!([{"type": "Pods", "value": 1, "periodSeconds": 60}]);
        assert_eq!(told(&json!({"policies": good})), Vec::<String>::new());
        assert_eq!(
            told(&json!({
                "policies": [{"type": "All", "value": 0, "periodSeconds": 1801}],
                "selectPolicy": "Mean", "stabilizationWindowSeconds": 3601, "tolerance": "-1",
            })),
            [
                "stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                "selectPolicy: Unsupported value: \"Mean\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "policies[0].type: Unsupported value: \"All\": supported values: \"Percent\", \"Pods\"",
                "policies[0].value: Invalid value: 0: must be greater than zero",
                "policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
                "tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
            ]
        );
        assert_eq!(told(&json!({})), ["policies: Required value: must specify at least one Policy"]);
    }

    #[test]
    fn rules_are_filled_in_where_there_are_any() {
        let mut spec = json!({"behavior": {"scaleDown": {"selectPolicy": "Min"}}});
        fill(&mut spec);
        let mut errors = ErrorList::new();
        validate(&spec, &Path::new("spec"), &mut errors);
        assert_eq!(errors, vec![]);
        assert_eq!(spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"], 0);
        assert_eq!(spec["behavior"]["scaleUp"]["policies"].as_array().unwrap().len(), 2);
        assert_eq!(spec["behavior"]["scaleDown"]["selectPolicy"], "Min");
        assert!(spec["behavior"]["scaleDown"].get("stabilizationWindowSeconds").is_none());
        let mut empty = json!({"behavior": {}});
        fill(&mut empty);
        assert_eq!(empty["behavior"]["scaleDown"]["policies"][0]["value"], 100);
        let mut none = json!({});
        fill(&mut none);
        assert_eq!(none, json!({}));
    }
}
