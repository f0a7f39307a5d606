//! FlowSchema (KEP-1040).

use crate::Kind;
use crate::columns;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

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
        validation::range(spec, "matchingPrecedence", &path, 1, 10_000, &mut errors);
        let level = value::field(spec, "priorityLevelConfiguration");
        validation::required_text(level, "name", &path.child("priorityLevelConfiguration"), &mut errors);
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
