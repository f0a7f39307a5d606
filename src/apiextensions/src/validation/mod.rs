//! Validation of values against a schema, with the outcome and the words of `k8s.io/kube-openapi/pkg/validation` as
//! `apiextensions-apiserver` tells them.
//!
//! | module | what |
//! |---|---|
//! | [`walk`] | the walk over value and schema |
//! | [`scalar`] | types, numbers, texts, enumerations |
//! | [`composite`] | `allOf`, `anyOf`, `oneOf`, `not` |
//! | [`correlate`] | which part of the old value a part of the new one is compared with |

mod composite;
pub(crate) mod correlate;
mod scalar;
mod walk;

use apimachinery::field::{ErrorList, Path};
use serde_json::Value;

use crate::schema::StructuralSchema;

/// What is wrong with a value. `base` is the path of the value itself; names within it follow.
pub fn validate(schema: &StructuralSchema, value: &Value, base: &Path) -> ErrorList {
    walk::Walk::new(base).value(schema, value, None).errors
}

/// What is wrong with a value that replaces an old one: parts that are as they were are let pass (KEP-4008).
pub fn validate_update(schema: &StructuralSchema, value: &Value, old: &Value, base: &Path) -> ErrorList {
    let errors = validate(schema, value, base);
    // Most updates are valid: only those that are not need to be compared with what was.
    if errors.is_empty() {
        return errors;
    }
    walk::Walk::new(base).ratcheted(schema, value, Some(old)).errors
}

#[cfg(test)]
mod tests;
