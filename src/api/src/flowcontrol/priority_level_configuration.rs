//! PriorityLevelConfiguration (KEP-1040).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// PriorityLevelConfiguration.
pub struct PriorityLevelConfiguration;

impl Kind for PriorityLevelConfiguration {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration")
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = value::object_mut(object, "spec") else { return };
        if value::text(spec, "type") == "Exempt" {
            if let Some(exempt) = value::ensure_object(spec, "exempt") {
                value::default(exempt, "nominalConcurrencyShares", 0);
                value::default(exempt, "lendablePercent", 0);
            }
            return;
        }
        let Some(limited) = value::object_mut(spec, "limited") else { return };
        value::default(limited, "nominalConcurrencyShares", 30);
        value::default(limited, "lendablePercent", 0);
        if let Some(queuing) = value::at_mut(limited, &["limitResponse", "queuing"]) {
            value::default_int(queuing, "queues", 64);
            value::default_int(queuing, "handSize", 8);
            value::default_int(queuing, "queueLengthLimit", 50);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        validation::required_one_of(spec, "type", &path, &["Exempt", "Limited"], &mut errors);
        if value::text(spec, "type") == "Limited" && !value::has(spec, "limited") {
            errors.required(&path.child("limited"), "must not be empty when type is Limited");
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Type"),
            Column::new("NominalConcurrencyShares"),
            Column::new("Queues"),
            Column::new("HandSize"),
            Column::new("QueueLengthLimit"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let queuing = value::at(spec, &["limited", "limitResponse", "queuing"]);
        let shown = |number: Option<i64>| number.map_or_else(columns::none, |n| Value::from(n.to_string()));
        let shares = value::int_at(spec, &["limited", "nominalConcurrencyShares"])
            .or(value::int_at(spec, &["exempt", "nominalConcurrencyShares"]));
        vec![
            columns::name(object),
            columns::text_cell(spec, "type"),
            shown(shares),
            shown(value::int(queuing, "queues")),
            shown(value::int(queuing, "handSize")),
            shown(value::int(queuing, "queueLengthLimit")),
            columns::age(object, now),
        ]
    }
}
