//! LeaseCandidate (KEP-4355).

use crate::Kind;
use crate::columns;
use crate::validation;
use crate::value;
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// LeaseCandidate.
pub struct LeaseCandidate;

impl Kind for LeaseCandidate {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("coordination.k8s.io", "LeaseCandidate")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (path, spec, mut errors) = (Path::new("spec"), value::field(object, "spec"), ErrorList::new());
        for name in ["leaseName", "binaryVersion", "strategy"] {
            validation::required_text(spec, name, &path, &mut errors);
        }
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.leaseName", value::text_at(object, &["spec", "leaseName"]).to_owned())]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("LeaseName"),
            Column::new("BinaryVersion"),
            Column::new("EmulationVersion"),
            Column::new("PingTime"),
            Column::new("RenewTime"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let at = |name: &str| Value::from(value::text(spec, name));
        vec![
            columns::name(object),
            at("leaseName"),
            at("binaryVersion"),
            at("emulationVersion"),
            at("pingTime"),
            at("renewTime"),
            columns::age(object, now),
        ]
    }
}
