//! `metav1.Table`: lists as `kubectl get` prints them (server-side printing, KEP-555).

use super::present::Presenter;
use crate::registry::Served;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use serde_json::{Value, json};

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads `includeObject`.
    ///
    /// # Errors
    /// 400 for an unknown value.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Status::bad_request(format!(
                "Invalid value: \"{other}\": includeObject must be one of \"None\", \"Metadata\", \"Object\""
            ))),
        }
    }
}

/// A table of stored objects.
pub(crate) fn table(
    served: &Served,
    version: &str,
    objects: &[Value],
    presenter: &Presenter,
    list_meta: Value,
    with_columns: bool,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(served, version, object, presenter)).collect();
    let columns = if with_columns {
        serde_json::to_value(served.rules().columns()).unwrap_or(Value::Null)
    } else {
        Value::Null
    };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": list_meta,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(served: &Served, version: &str, object: &Value, presenter: &Presenter) -> Value {
    let mut row = json!({"cells": served.rules().row(object, presenter.now)});
    let carried = match presenter.include {
        Include::None => Value::Null,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": meta::metadata(object),
        }),
        Include::Object => {
            let mut shown = object.clone();
            // What cannot be converted is shown as it is stored: a row is better than no table.
            let _ = served.from_storage(&mut shown);
            shown
        }
    };
    if let Some(map) = row.as_object_mut() {
        map.insert("object".to_owned(), carried);
    }
    row
}
