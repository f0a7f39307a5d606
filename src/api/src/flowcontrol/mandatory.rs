//! The flow schemas and priority levels that are always there and do not change, and the conditions of both kinds.

use crate::validation::Errors;
use crate::value::{list, text};
use apimachinery::field::{ErrorList, Path};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The spec of a flow schema that has to be there, where `name` is one's.
pub fn flow_schema(name: &str) -> Option<Value> {
    let (precedence, groups, method): (i64, &[&str], _) = match name {
        "exempt" => (1, &["system:masters"], Value::Null),
        "catch-all" => {
            (10_000, &["system:unauthenticated", "system:authenticated"], json!({"type": "ByUser"}))
        }
        _ => return None,
    };
    let subjects: Vec<Value> =
        groups.iter().map(|group| json!({"kind": "Group", "group": {"name": group}})).collect();
    let any = ["*"];
    Some(json!({
        "priorityLevelConfiguration": {"name": name},
        "matchingPrecedence": precedence,
        "distinguisherMethod": method,
        "rules": [{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": any, "apiGroups": any, "resources": any, "clusterScope": true, "namespaces": any,
            }],
            "nonResourceRules": [{"verbs": any, "nonResourceURLs": any}],
        }],
    }))
}

/// The spec of the level for what no schema matches.
pub fn catch_all_level() -> Value {
    json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
    }})
}

/// What is wrong with the conditions of a status: each type once.
pub fn conditions(status: &Value, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        let own = || Path::new("status").child("conditions").index(i).child("type");
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.duplicate(&own(), kind);
        }
        if kind.is_empty() {
            errors.required(&own(), "must not be empty");
        }
    }
}
