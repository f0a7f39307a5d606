//! IPAddress (KEP-1880).

use crate::Kind;
use crate::columns;
use crate::value;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// IPAddress.
pub struct IPAddress;

impl Kind for IPAddress {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "IPAddress")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ip"]
    }

    fn name_rule(&self) -> crate::NameRule {
        crate::NameRule::Custom(apimachinery::validation::ip_address)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("ParentRef"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let parent = value::at(object, &["spec", "parentRef"]);
        let names =
            [value::text(parent, "resource"), value::text(parent, "namespace"), value::text(parent, "name")];
        let shown = names.into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>().join("/");
        vec![columns::name(object), columns::or_none(&shown), columns::age(object, now)]
    }
}
