//! Lease (KEP-589).

use super::strategy;
use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// Lease.
pub struct Lease;

impl Kind for Lease {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("coordination.k8s.io", "Lease")
    }

    /// Choosing the leader for others (KEP-4355) is off by default.
    fn prepare_for_create(&self, object: &mut Value) {
        self.prepare_for_update(object, &Value::Null);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        let Some(spec) = value::object_mut(object, "spec") else { return };
        for name in ["strategy", "preferredHolder"] {
            if !value::has(value::field(old, "spec"), name) {
                value::remove(spec, name);
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        if let Some(seconds) = value::int(spec, "leaseDurationSeconds")
            && seconds <= 0
        {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        validation::non_negative(spec, "leaseTransitions", &path, &mut errors);
        let chosen = value::field(spec, "strategy").as_str();
        if let Some(chosen) = chosen {
            strategy::validate(chosen, &path.child("strategy"), &mut errors);
        }
        if !value::text(spec, "preferredHolder").is_empty() && chosen.is_none_or(str::is_empty) {
            errors
                .forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Holder"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::text_at(object, &["spec", "holderIdentity"])),
            columns::age(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nobody_is_chosen_unless_it_was_so() {
        let chosen = json!({"spec": {"strategy": "a.b/c", "preferredHolder": "x"}});
        let (mut new, mut kept) = (chosen.clone(), chosen.clone());
        Lease.prepare_for_create(&mut new);
        assert_eq!(new, json!({"spec": {}}));
        Lease.prepare_for_update(&mut kept, &chosen);
        assert_eq!(kept, chosen);
    }

    #[test]
    fn a_lease_lasts() {
        let told = |spec: Value| -> Vec<String> {
            Lease.validate(&json!({ "spec": spec })).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            told(json!({"leaseDurationSeconds": 1, "strategy": "example.com/mine"})),
            Vec::<String>::new()
        );
        assert_eq!(
            told(json!({"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "a"})),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
                "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
            ]
        );
        assert_eq!(
            told(json!({"strategy": "Newest"})),
            ["spec.strategy: Unsupported value: \"Newest\": supported values: \"OldestEmulationVersion\""]
        );
    }
}
