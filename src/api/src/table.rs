//! The schema's table of resources in the form that the registry takes.

use crate::registry::{Row, Subresource};
use crate::schema;
use apimachinery::gvk::{Gvk, Gvr};

/// Every served resource.
pub fn rows() -> Vec<Row> {
    schema::resources()
        .iter()
        .filter_map(|row| {
            Some(Row {
                gvr: Gvr::new(row.group, row.version, row.plural),
                kind: row.kind.to_owned(),
                namespaced: row.namespaced,
                verbs: &row.verbs,
                subresources: row
                    .subresources
                    .iter()
                    .map(|sub| Subresource {
                        name: sub.name.to_owned(),
                        gvk: Gvk::new(sub.group, sub.version, sub.kind),
                        verbs: &sub.verbs,
                    })
                    .collect(),
                schema: schema::schema_for(&Gvk::new(row.group, row.version, row.kind))?,
            })
        })
        .collect()
}
