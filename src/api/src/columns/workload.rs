//! Cells about the containers of a pod template.

use crate::value::{list, text};
use serde_json::Value;

/// Names of the containers of a pod spec, joined by commas.
pub fn container_names(spec: &Value) -> Value {
    Value::from(super::joined(list(spec, "containers").iter().map(|c| text(c, "name"))))
}

/// Images of the containers of a pod spec, joined by commas.
pub fn images(spec: &Value) -> Value {
    Value::from(super::joined(list(spec, "containers").iter().map(|c| text(c, "image"))))
}
