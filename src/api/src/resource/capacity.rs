//! How much of a device's capacity a claim may ask for (KEP-5075).

use super::lists::limited;
use crate::validation::{Errors, quantity, quantity_text};
use crate::value::{field, has, list};
use apimachinery::field::{ErrorList, Path};
use serde_json::Value;
use std::collections::HashSet;

const VALUES_MAX: usize = 10;

/// One capacity at `path` of a device that one claim or several can have.
pub fn validate(capacity: &Value, shared: bool, old: &Value, path: &Path, errors: &mut ErrorList) {
    if !has(capacity, "requestPolicy") {
        return;
    }
    let (policy, path) = (field(capacity, "requestPolicy"), path.child("requestPolicy"));
    if !shared {
        return errors.forbidden(&path, "allowMultipleAllocations must be true");
    }
    let (values, range) = (list(policy, "validValues"), field(policy, "validRange"));
    let (most, usual) = (field(capacity, "value"), field(policy, "default"));
    match (values.is_empty(), has(policy, "validRange")) {
        (false, true) => errors.forbidden(
            &path,
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ),
        (true, false) => {}
        (false, false) if usual.is_null() => {
            errors.required(&path.child("default"), "required when validValues is defined");
        }
        (true, true) if usual.is_null() => {
            errors.required(&path.child("default"), "required when validRange is defined");
        }
        (false, false) => valid_values(values, usual, most, &path.child("validValues"), errors),
        (true, true) => {
            if range != field(field(old, "requestPolicy"), "validRange") {
                valid_range(range, usual, most, &path.child("validRange"), errors);
            }
        }
    }
}

/// Whether one quantity is more than another; what is no quantity compares with nothing.
fn exceeds(a: &Value, b: &Value) -> bool {
    matches!((quantity(a), quantity(b)), (Some(a), Some(b)) if a > b)
}

fn equals(a: &Value, b: &Value) -> bool {
    matches!((quantity(a), quantity(b)), (Some(a), Some(b)) if a == b)
}

fn valid_values(values: &[Value], usual: &Value, most: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, pair) in values.windows(2).enumerate() {
        if let [before, after] = pair
            && exceeds(before, after)
        {
            errors.invalid(
                &path.index(i + 1),
                quantity_text(after).as_ref(),
                "values must be sorted in ascending order",
            );
        }
    }
    limited(values, VALUES_MAX, path, errors, |value, path, errors| {
        if exceeds(value, most) {
            let problem = format!("option is larger than capacity value: {}", quantity_text(most));
            errors.invalid(path, quantity_text(value).as_ref(), problem);
        }
    });
    if values.len() <= VALUES_MAX {
        let mut seen = HashSet::new();
        for (i, value) in values.iter().enumerate() {
            let text = quantity_text(value);
            if !seen.insert(quantity(value).map(|q| q.to_string())) {
                errors.duplicate(&path.index(i), text.as_ref());
            }
        }
    }
    if !values.iter().any(|value| equals(value, usual)) {
        errors.invalid(
            path,
            quantity_text(usual).as_ref(),
            "default value is not valid according to the requestPolicy",
        );
    }
}

fn valid_range(range: &Value, usual: &Value, most: &Value, path: &Path, errors: &mut ErrorList) {
    let (min, max, step) = (field(range, "min"), field(range, "max"), field(range, "step"));
    if min.is_null() {
        return errors.required(&path.child("min"), "required when validRange is defined");
    }
    let mut told = |name: &str, value: &Value, problem: &str, limit: &Value| {
        let limit = quantity_text(limit);
        errors.invalid(&path.child(name), quantity_text(value).as_ref(), format!("{problem}: {limit}"));
    };
    if exceeds(min, most) {
        told("min", min, "min is larger than capacity value", most);
    }
    if exceeds(min, usual) {
        told("min", usual, "default is less than min", min);
    }
    if exceeds(min, max) {
        told("max", min, "min is larger than max", max);
    }
    if exceeds(max, most) {
        told("max", max, "max is larger than capacity value", most);
    }
    if exceeds(usual, max) {
        told("max", usual, "default is more than max", max);
    }
    let Some(each) = quantity(step) else { return };
    let path = path.child("step");
    if each.sign() <= 0 {
        return errors.invalid(&path, quantity_text(step).as_ref(), "must be greater than zero");
    }
    let from = quantity(min);
    if let (Some(from), Some(limit)) = (&from, quantity(most)) {
        let added = *from + each;
        if added > limit {
            let problem = format!("one step {added} is larger than capacity value: {}", quantity_text(most));
            errors.invalid(&path, quantity_text(step).as_ref(), problem);
        }
    }
    for value in [usual, max] {
        let (Some(from), Some(to)) = (&from, quantity(value)) else { continue };
        let over = to.value().checked_sub(from.value()).and_then(|over| over.checked_rem(each.value()));
        if over.is_some_and(|over| over != 0) {
            let (step, min) = (quantity_text(step), quantity_text(min));
            let problem = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.invalid(&path, quantity_text(value).as_ref(), problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(policy: Value) -> Vec<String> {
        let capacity = json!({"value": "10Gi", "requestPolicy": policy});
        let mut errors = ErrorList::new();
        validate(&capacity, true, &Value::Null, &Path::new("c"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_policy_is_for_shared_devices() {
        let mut errors = ErrorList::new();
        let capacity = json!({"value": "1", "requestPolicy": {}});
        validate(&capacity, false, &Value::Null, &Path::new("c"), &mut errors);
        assert_eq!(
            errors[0].to_string(),
            "c.requestPolicy: Forbidden: allowMultipleAllocations must be true"
        );
    }

    #[test]
    fn values_are_sorted_and_one_is_the_default() {
        assert!(told(json!({"default": "1Gi", "validValues": ["1Gi", "2Gi"]})).is_empty());
        assert_eq!(
            told(json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "11Gi", "11Gi"]})),
            [
                "c.requestPolicy.validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order",
                "c.requestPolicy.validValues[2]: Invalid value: \"11Gi\": option is larger than capacity value: 10Gi",
                "c.requestPolicy.validValues[3]: Invalid value: \"11Gi\": option is larger than capacity value: 10Gi",
                "c.requestPolicy.validValues[3]: Duplicate value: \"11Gi\"",
                "c.requestPolicy.validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy",
            ]
        );
        assert_eq!(
            told(json!({"validValues": ["1Gi"]})),
            ["c.requestPolicy.default: Required value: required when validValues is defined"]
        );
    }

    #[test]
    fn ranges_hold_the_default_and_whole_steps() {
        assert!(
            told(json!({"default": "2Gi", "validRange": {"min": "1Gi", "max": "4Gi", "step": "1Gi"}}))
                .is_empty()
        );
        assert_eq!(
            told(json!({"default": "1", "validRange": {"min": "3", "max": "2", "step": "20Gi"}})),
            [
                "c.requestPolicy.validRange.min: Invalid value: \"1\": default is less than min: 3",
                "c.requestPolicy.validRange.max: Invalid value: \"3\": min is larger than max: 2",
                "c.requestPolicy.validRange.step: Invalid value: \"20Gi\": one step 21474836483 is larger than capacity value: 10Gi",
                "c.requestPolicy.validRange.step: Invalid value: \"1\": value is not a multiple of a given step (20Gi) from (3)",
                "c.requestPolicy.validRange.step: Invalid value: \"2\": value is not a multiple of a given step (20Gi) from (3)",
            ]
        );
        assert_eq!(
            told(json!({"default": "1", "validRange": {"min": "1", "step": "0"}})),
            ["c.requestPolicy.validRange.step: Invalid value: \"0\": must be greater than zero"]
        );
    }
}
