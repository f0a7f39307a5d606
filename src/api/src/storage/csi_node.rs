//! CSINode (KEP-557).

use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;

/// The longest name that a driver gives a node (the CSI specification, NodeGetInfo).
const NODE_ID_MAX_BYTES: usize = 256;

/// CSINode.
pub struct CSINode;

impl Kind for CSINode {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "CSINode")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (drivers, path) = (drivers(object), Path::new("spec").child("drivers"));
        for (i, driver) in drivers.iter().enumerate() {
            let path = path.index(i);
            validation::csi_driver_name(driver, "name", &path, &mut errors);
            let id = value::text(driver, "nodeID");
            if id.is_empty() {
                errors.required(&path.child("nodeID"), "");
            }
            if id.len() > NODE_ID_MAX_BYTES {
                let detail = format!("must be {NODE_ID_MAX_BYTES} characters or less");
                errors.invalid(&path.child("nodeID"), id, detail);
            }
            let allocatable = value::field(driver, "allocatable");
            if value::int(allocatable, "count").is_some_and(|count| count < 0) {
                validation::non_negative(allocatable, "count", &path.child("allocatable"), &mut errors);
            }
            let name = value::text(driver, "name");
            if drivers.iter().take(i).any(|earlier| value::text(earlier, "name") == name) {
                errors.duplicate(&path.child("name"), name);
            }
            let mut keys = HashSet::new();
            for key in value::texts(driver, "topologyKeys") {
                if key.is_empty() {
                    errors.required(&path, "");
                }
                if !keys.insert(key) {
                    errors.duplicate(&path, key);
                }
                errors.check_at(&path, key, forms::qualified_name(key));
            }
        }
        errors
    }

    /// A driver comes and goes, and may count its volumes anew (KEP-4876).
    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        for old in drivers(old) {
            let name = value::text(old, "name");
            let same_name = |driver: &&Value| value::text(driver, "name") == name;
            for new in drivers(object).iter().filter(same_name) {
                if !validation::mutable_only(new, old, &["allocatable"]) {
                    errors.invalid(&Path::new("spec").child("drivers"), new.clone(), "field is immutable");
                }
            }
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Drivers").integer(), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            columns::name(object),
            Value::from(value::list_at(object, &["spec", "drivers"]).len()),
            columns::age(object, now),
        ]
    }
}

fn drivers(object: &Value) -> &[Value] {
    value::list_at(object, &["spec", "drivers"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_driver_is_there_once_and_knows_the_node() {
        let driver = json!({"name": "a.b", "nodeID": "n"});
        assert_eq!(told(&CSINode.validate(&json!({"spec": {"drivers": [driver]}}))), Vec::<String>::new());
        assert_eq!(
            told(&CSINode.validate(&json!({"spec": {"drivers": [
                driver, {"name": "a.b", "nodeID": "", "allocatable": {"count": -1}, "topologyKeys": ["k", "k"]},
            ]}}))),
            [
                "spec.drivers[1].nodeID: Required value",
                "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                "spec.drivers[1].name: Duplicate value: \"a.b\"",
                "spec.drivers[1]: Duplicate value: \"k\"",
            ]
        );
        let long = "n".repeat(257);
        assert_eq!(
            told(&CSINode.validate(&json!({"spec": {"drivers": [{"name": "a.b", "nodeID": long}]}}))),
            [format!("spec.drivers[0].nodeID: Invalid value: \"{long}\": must be 256 characters or less")]
        );
    }

    #[test]
    fn a_driver_counts_anew_but_stays() {
        let node = |id: &str, count: u32| json!({"spec": {"drivers": [{"name": "a.b", "nodeID": id, "allocatable": {"count": count}}]}});
        assert_eq!(told(&CSINode.validate_update(&node("n", 2), &node("n", 1))), Vec::<String>::new());
        let found = told(&CSINode.validate_update(&node("m", 1), &node("n", 1)));
        assert!(
            found[0].starts_with("spec.drivers: Invalid value: {")
                && found[0].ends_with("field is immutable")
        );
        assert_eq!(
            told(&CSINode.validate_update(&json!({"spec": {"drivers": []}}), &node("n", 1))),
            Vec::<String>::new()
        );
    }
}
