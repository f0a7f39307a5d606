//! What admission policies and their bindings share (KEP-3488, KEP-3962).

use crate::value::{self, list_mut, text};
use serde_json::{Value, json};

/// Fills in what a policy leaves out.
pub fn default_policy(policy: &mut Value) {
    let Some(spec) = value::object_mut(policy, "spec") else { return };
    value::default_text(spec, "failurePolicy", "Fail");
    default_match(spec, "matchConstraints");
}

/// Fills in what the match resources of a policy or a binding leave out.
pub fn default_match(spec: &mut Value, name: &str) {
    let Some(resources) = value::object_mut(spec, name) else { return };
    value::default_text(resources, "matchPolicy", "Equivalent");
    value::default(resources, "namespaceSelector", json!({}));
    value::default(resources, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in list_mut(resources, list) {
            value::default_text(rule, "scope", "*");
        }
    }
}

/// The kind of a policy's parameters as its table shows it.
pub fn param_kind_cell(policy: &Value) -> Value {
    let kind = value::at(policy, &["spec", "paramKind"]);
    if kind.is_null() {
        return Value::from("<unset>");
    }
    Value::from(format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")))
}

/// The parameters of a binding as its table shows them.
pub fn param_ref_cell(binding: &Value) -> Value {
    let reference = value::at(binding, &["spec", "paramRef"]);
    let name = text(reference, "name");
    match (text(reference, "namespace"), name.is_empty()) {
        (_, true) if value::has(reference, "selector") => {
            crate::columns::selector_text(value::field(reference, "selector"))
        }
        (_, true) => Value::from("<unset>"),
        ("", false) => Value::from(name),
        (namespace, false) => Value::from(format!("{namespace}/{name}")),
    }
}
