//! Where volumes of a class may be: terms of required labels, no two terms the same.

use crate::validation::{Errors, label_name};
use crate::value::{list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with `allowedTopologies`.
pub fn validate(object: &Value, errors: &mut ErrorList) {
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (i, term) in list(object, "allowedTopologies").iter().enumerate() {
        let path = Path::new("allowedTopologies").index(i).child("matchLabelExpressions");
        let mut wanted = BTreeMap::new();
        for (j, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(j);
            let key = text(expression, "key");
            let values = values(expression, &path, errors);
            label_name(key, &path.child("key"), errors);
            if wanted.insert(key, values).is_some() {
                errors.duplicate(&path.child("key"), key);
            }
        }
        if seen.contains(&wanted) {
            errors.duplicate(&path, "");
        }
        seen.push(wanted);
    }
}

fn values<'a>(expression: &'a Value, path: &Path, errors: &mut ErrorList) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    if list(expression, "values").is_empty() {
        errors.required(&path.child("values"), "");
    }
    for (i, value) in texts(expression, "values").enumerate() {
        let own = || path.child("values").index(i);
        if !seen.insert(value) {
            errors.duplicate(&own(), value);
        }
        let problems = forms::label_value(value);
        if !problems.is_empty() {
            errors.check_at(&own(), value, problems);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(terms: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate(&json!({ "allowedTopologies": terms }), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn no_two_terms_are_the_same() {
        let term = |values: &[&str]| json!({"matchLabelExpressions": [{"key": "zone", "values": values}]});
        assert_eq!(told(&json!([term(&["a", "b"]), term(&["a"])])), Vec::<String>::new());
        assert_eq!(
            told(&json!([term(&["a", "b"]), term(&["b", "a"])])),
            ["allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\""]
        );
        assert_eq!(
            told(
                &json!([{"matchLabelExpressions": [{"key": "zone"}, {"key": "zone", "values": ["a", "a"]}]}])
            ),
            [
                "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
                "allowedTopologies[0].matchLabelExpressions[1].values[1]: Duplicate value: \"a\"",
                "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
            ]
        );
    }
}
