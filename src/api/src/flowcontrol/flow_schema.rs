//! FlowSchema (KEP-1040).

use super::{mandatory, schema_rules};
use crate::validation::Errors;
use crate::{Kind, columns, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::Value;

/// The last that a schema can be in line.
const MAX_PRECEDENCE: i64 = 10_000;

/// FlowSchema.
pub struct FlowSchema;

impl Kind for FlowSchema {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("flowcontrol.apiserver.k8s.io", "FlowSchema")
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = value::object_mut(object, "spec") {
            value::default_int(spec, "matchingPrecedence", 1000);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        let name = meta::name(object);
        precedence(spec, name, &path, &mut errors);
        if value::has(spec, "distinguisherMethod") {
            let (method, path) =
                (value::field(spec, "distinguisherMethod"), path.child("distinguisherMethod"));
            if !matches!(value::text(method, "type"), "ByNamespace" | "ByUser") {
                errors.not_supported(&path.child("type"), method.clone(), &["ByNamespace", "ByUser"]);
            }
        }
        let level = value::text_at(spec, &["priorityLevelConfiguration", "name"]);
        let own = path.child("priorityLevelConfiguration");
        if level.is_empty() {
            errors.required(&own.child("name"), "must reference a priority level");
        } else {
            errors.check(&own, "name", level, forms::dns1123_subdomain(level));
        }
        schema_rules::validate(spec, &path, &mut errors);
        if let Some(wanted) = mandatory::flow_schema(name)
            && !value::equivalent(spec, &wanted)
        {
            errors.invalid(&path, spec.clone(), format!("spec of '{name}' must equal the fixed value"));
        }
        mandatory::conditions(value::field(object, "status"), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        mandatory::conditions(value::field(object, "status"), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("PriorityLevel"),
            Column::new("MatchingPrecedence").integer(),
            Column::new("DistinguisherMethod"),
            Column::age(),
            Column::new("MissingPL"),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let missing = columns::last_condition(object, "Dangling").map_or("?", |c| value::text(c, "status"));
        vec![
            columns::name(object),
            Value::from(value::text_at(spec, &["priorityLevelConfiguration", "name"])),
            columns::int_cell(spec, "matchingPrecedence"),
            columns::or_none(value::text_at(spec, &["distinguisherMethod", "type"])),
            columns::age(object, now),
            Value::from(missing),
        ]
    }
}

/// Where the schema is in line; the first place is taken.
fn precedence(spec: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let precedence = value::int(spec, "matchingPrecedence").unwrap_or(0);
    let problem = if precedence <= 0 {
        "must be a positive value".to_owned()
    } else if precedence > MAX_PRECEDENCE {
        format!("must not be greater than {MAX_PRECEDENCE}")
    } else if precedence == 1 && name != "exempt" {
        "only the schema named 'exempt' may have matchingPrecedence 1".to_owned()
    } else {
        return;
    };
    errors.invalid(&path.child("matchingPrecedence"), precedence, problem);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(name: &str, spec: &Value) -> Vec<String> {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        FlowSchema.validate(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_place_is_taken() {
        let at = |precedence: i64| {
            told("a", &json!({"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": "b"}}))
        };
        assert_eq!(at(2), Vec::<String>::new());
        for (precedence, problem) in [
            (-1, "must be a positive value"),
            (10_001, "must not be greater than 10000"),
            (1, "only the schema named 'exempt' may have matchingPrecedence 1"),
        ] {
            assert_eq!(
                at(precedence),
                [format!("spec.matchingPrecedence: Invalid value: {precedence}: {problem}")]
            );
        }
    }

    #[test]
    fn a_level_is_named_and_flows_are_told_apart() {
        assert_eq!(
            told("a", &json!({"matchingPrecedence": 2, "distinguisherMethod": {"type": "ByPod"}})),
            [
                "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByPod\"}: supported values: \"ByNamespace\", \"ByUser\"",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ]
        );
    }

    #[test]
    fn what_is_always_there_does_not_change() {
        for name in ["exempt", "catch-all"] {
            let mut spec = mandatory::flow_schema(name).unwrap();
            assert_eq!(told(name, &spec), Vec::<String>::new());
            spec["matchingPrecedence"] = json!(7);
            let found = told(name, &spec);
            assert!(found[0].ends_with(&format!("spec of '{name}' must equal the fixed value")), "{found:?}");
        }
    }

    #[test]
    fn conditions_are_there_once() {
        let object = json!({"status": {"conditions": [{"type": "Dangling"}, {"type": "Dangling"}, {}]}});
        let told: Vec<String> =
            FlowSchema.validate_status_update(&object, &object).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "status.conditions[1].type: Duplicate value: \"Dangling\"",
                "status.conditions[2].type: Required value: must not be empty",
            ]
        );
    }
}
